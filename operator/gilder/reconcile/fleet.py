"""All AWS accounts together: reconciles go to the engine of the account that a resource is in.

The reconcile of an ImageShare is one straight line here: who is declared, observe and plan each
account, apply, look from the consumers' side, report.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from gilder.api import GoldenImage, GoldenImageStatus, ImageShare, ImageShareStatus
from gilder.api.access import AccessFile
from gilder.api.imageshare import AccountList
from gilder.aws import errors, organizations
from gilder.aws.accounts import Accounts
from gilder.aws.sessions import Sessions
from gilder.core import tenancy
from gilder.core.declared import declare
from gilder.core.needs import RegionNeeds
from gilder.core.observed import Image, Observed, Problem
from gilder.core.plan import sooner
from gilder.core.report import action_events
from gilder.core.report_share import claims, is_drift, report_share
from gilder.core.results import Result
from gilder.core.shares import Gilded, Share
from gilder.core.sharing import SharePlan, together
from gilder.reconcile.consumers import Consumers
from gilder.reconcile.engine import Engine, SaveImage, passing, unplanned
from gilder.reconcile.inventory import ImageScope, ShareScope
from gilder.reconcile.lists import Lists
from gilder.reconcile.outcome import Abroad, Outcome
from gilder.reconcile.ports import ConfigMaps, NoConfigMaps
from gilder.reconcile.published import ConsumerParameters

T = TypeVar("T")
R = TypeVar("R")

Save = Callable[[ImageShareStatus], None]
Overlay = Callable[[str, Observed], Observed]
MakeEngine = Callable[..., Engine]

PARALLEL = 8  # accounts at once
IMAGE_ACCOUNT = "spec.imageRef.account"
LIST_AGE = 60.0  # most seconds that what AWS Organizations said is used, unless drift is looked for


class Fleet:
    """Engines by account; "" is the account of the operator's own credentials."""

    def __init__(
        self,
        accounts: Accounts,
        make: MakeEngine,
        *,
        maps: ConfigMaps | None = None,
    ) -> None:
        self.accounts = accounts
        self._make = make
        self._lock = threading.Lock()
        self.own = make(accounts.own)
        self._engines: dict[str, Engine] = {"": self.own}
        self.lists = Lists(
            maps if maps is not None else NoConfigMaps(),
            self.own.views.parameters,
            self._expand,
            self.own.views.now,
        )
        self.consumers = Consumers(self._consumer, self._has_consumer, self.own.now)
        self.published = ConsumerParameters(self._consumer, self.own.now, self.own.pace)
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="account")
        self._stopping = False

    @property
    def file(self) -> AccessFile | None:
        """The operator's access file; None: there is none, and its own account is all there is."""
        return self.accounts.file

    @property
    def others(self) -> frozenset[str]:
        """Ids of the accounts besides the own."""
        return frozenset(a.id for a in self.file.accounts) if self.file is not None else frozenset()

    def engine(self, account: str) -> Engine:
        """The engine of an account of the access file, or the own for "".

        Raises UnknownAccountError for an account that the file has no more.
        """
        with self._lock:
            found = self._engines.get(account)
            if found is None:
                found = self._make(self.accounts.of(account))
                if self._stopping:
                    found.applier.stop()
                self._engines[account] = found
        return found

    def engines(self) -> list[Engine]:
        with self._lock:
            return list(self._engines.values())

    def replace(self, file: AccessFile | None) -> None:
        """Go on with another access file; accounts that did not change keep what was read."""
        self.accounts.replace(file)
        with self._lock:
            gone = [a for a in self._engines if a and a not in self.others]
            changed = [
                a
                for a, e in self._engines.items()
                if a and a in self.others and e.sessions is not self.accounts.of(a)
            ]
            for account in (*gone, *changed):
                # It ends with the calls that use it now: to cut these off would end their callers.
                self._engines.pop(account).applier.stop()
        self.lists.forget_organizations()

    # GoldenImages

    def reconcile_image(
        self,
        image: GoldenImage,
        scope: ImageScope,
        since: float,
        save: SaveImage | None = None,
    ) -> Outcome[GoldenImageStatus]:
        """One pass over a GoldenImage, in the account it lives in."""
        wish = image.metadata.reconcile_request
        asked = wish is not None and wish != image.status.last_handled_reconcile_at

        def abroad(served: Mapping[str, Image], leaving: bool) -> Abroad:
            return self.published.look(scope.want, served, asked=asked, leaving=leaving)

        admitted = self.admitted(image, scope)
        if asked:
            admitted = replace(admitted, want=admitted.want.anew())
        return self._of(image).reconcile_image(image, admitted, since, save, abroad)

    def stop_work(
        self, image: GoldenImage, scope: ImageScope, since: float
    ) -> Outcome[GoldenImageStatus] | None:
        return self._of(image).stop_work(image, scope, since)

    def admitted(self, image: GoldenImage, scope: ImageScope) -> ImageScope:
        """The scope with why the namespace may not use the account, if so."""
        rule = tenancy.rule_of(self.file, image.metadata.namespace)
        account = image.spec.account if image.spec.account in self.others else None
        barred = tenancy.may_use_account(rule, account, image.metadata.namespace)
        return replace(scope, barred=barred) if barred else scope

    def _of(self, image: GoldenImage) -> Engine:
        account = image.spec.account
        return self.engine(account if account and account in self.others else "")

    def leave(self, key: str) -> None:
        """A GoldenImage is gone, and its place among the builds is free."""
        self.own.places.leave(key)

    def hold(self, key: str) -> None:
        self.own.places.hold(key)

    def end_strays(self, regions: Iterable[str], known: Callable[[str], bool]) -> None:
        some = tuple(regions)
        for engine in self.engines():
            engine.end_strays(some, known)

    # ImageShares

    def reconcile_share(
        self,
        share: ImageShare,
        scope: ShareScope,
        since: float,
        save: Save,
        access_since: float | None = None,
    ) -> Outcome[ImageShareStatus]:
        """One pass over an ImageShare. `save` writes a status before anything is given.

        `access_since` is the `since` of launch permissions, grants and key policies.
        """
        if share.metadata.abandoned:
            return Outcome(share.status, release=True)
        if scope.mine.leaving and scope.mine.passive:
            # Deleting what is suspended or only observed lets go of it as it is.
            return Outcome(share.status, release=True)
        scope = self.declared(scope, since)
        mine = scope.mine
        full = share.spec.management_policy == "Full"
        parts = self.plan_share(scope, since, access_since=access_since)
        plan = together([p for _, p in parts.values()])
        results: tuple[Result, ...] = ()
        if full:
            before = None if mine.leaving else claims(share, mine, plan)
            if before is not None:
                save(before)
            results = self._apply({a: p for a, (_, p) in parts.items()})
        wish = share.metadata.reconcile_request
        asked = wish is not None and wish != share.status.last_handled_reconcile_at
        view = self.consumers.look(share, plan, tagging=full, asked=asked)
        consumers = (view.seen, view.asked)
        now = self.own.now()
        status, events = report_share(share, mine, plan, results, now, consumers)
        events += action_events(view.results, drift=False)
        problems = [*plan.plan.problems, *(r.problem for r in results)]
        again = sooner(self.own.again(plan.plan.retry_after, results), view.again)
        return Outcome(
            status,
            tuple(events),
            (*results, *view.results),
            drift=is_drift(share, plan),
            again=again,
            failed=passing(*problems),
            release=mine.leaving and plan.plan.settled,
        )

    def plan_share(
        self,
        scope: ShareScope,
        since: float,
        overlay: Overlay | None = None,
        access_since: float | None = None,
    ) -> dict[str, tuple[Observed, SharePlan]]:
        """Observe and plan each account of a share whose principals are declared."""

        def one(account: str) -> tuple[Observed, SharePlan]:
            laid = None if overlay is None else lambda seen: overlay(account, seen)
            part = scope.part(account)
            try:
                engine = self.engine(account)
            except errors.AWS_ERRORS as error:
                # Its images are on record, and nothing is known of them any more.
                lack = errors.problem(error, f"looking at images of account {account}")
                return Observed("", {}), unplanned(lack)
            return engine.plan_share(part, since, laid, access_since)

        accounts = scope.accounts
        return dict(zip(accounts, self._each(one, accounts), strict=True))

    def declared(self, scope: ShareScope, since: float) -> ShareScope:
        """The scope with who is declared now: by lists, by time, and as the access file allows."""
        return replace(
            scope,
            mine=self._declared(scope.mine, since),
            others=tuple(self._declared(o, since) for o in scope.others),
            goldens=tuple(self._allowed(g) for g in scope.goldens),
        )

    def _allowed(self, golden: Gilded) -> Gilded:
        """With why its namespace may not use the account that it is in, if so."""
        rule = tenancy.rule_of(self.file, golden.namespace)
        barred = tenancy.may_use_account(rule, golden.account or None, golden.namespace)
        if barred is None or golden.unreadable:
            return golden
        told = f"GoldenImage {golden.key}: {barred.message}"
        return replace(golden, barred=replace(barred, message=told))

    def _declared(self, share: Share, since: float) -> Share:
        spec = share.spec
        plain = not (spec.changes_by_itself or spec.ignore_accounts or spec.kms.grantee_principals)
        if share.leaving or (self.file is None and (share.unreadable or plain)):
            return share
        rule = tenancy.rule_of(self.file, share.namespace)
        if share.unreadable:
            # What it has stays, but for what it may not have.
            kept, _ = tenancy.judge(rule, share.principals, share.namespace)
            return replace(share, declared=kept)
        read = self.lists.read(share, since - LIST_AGE, self._permit)
        share = replace(
            share, may_edit_policies=rule.key_policies, may_share_plain=rule.plain_images
        )
        if spec.image_ref.images:
            account = share.plain_account or None
            barred = tenancy.may_use_account(rule, account, share.namespace, IMAGE_ACCOUNT)
            share = replace(share, barred=barred)
        namespace = share.namespace
        now = self.own.now()
        return declare(share, read, now, lambda who: tenancy.judge(rule, who, namespace))

    def _permit(self, namespace: str, one: AccountList) -> Problem | None:
        rule = tenancy.rule_of(self.file, namespace)
        return tenancy.may_read_list(rule, one, namespace)

    def _apply(self, plans: Mapping[str, SharePlan]) -> tuple[Result, ...]:
        def one(account: str) -> tuple[Result, ...]:
            return self.engine(account).applier.apply(plans[account].plan.actions)

        busy = [a for a, p in plans.items() if p.plan.actions]
        return tuple(r for some in self._each(one, busy) for r in some)

    def _each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Accounts side by side: one that does not answer holds up no other."""
        some = list(items)
        if len(some) < 2:
            return [work(i) for i in some]
        return list(self._pool.map(work, some))

    def _expand(self, arn: str) -> frozenset[str]:
        return organizations.expand(self.accounts.organizations().organizations(), arn)

    def _has_consumer(self, namespace: str, account: str) -> bool:
        rule = tenancy.rule_of(self.file, namespace)
        allowed = tenancy.may_use_consumer(rule, account)
        return allowed and tenancy.consumer_roles(self.file, account) is not None

    def _consumer(self, namespace: str, account: str) -> Sessions | None:
        allowed = self._has_consumer(namespace, account)
        return self.accounts.consumer(account) if allowed else None

    # Views

    def prefetch(self, needed: Mapping[str, Mapping[str, RegionNeeds]], since: float) -> None:
        """Read what a whole sweep will look at, in as few calls as it takes."""

        def one(account: str) -> None:
            try:
                engine = self.engine(account)
            except errors.AWS_ERRORS:
                return  # it left the access file; who needs it is told
            engine.prefetch(needed[account], since)

        with self._lock:
            known = dict(self._engines)
        for account, engine in known.items():
            engine.views.watch(needed.get(account, ()))

        self._each(one, [a for a in needed if not a or a in self.others])

    def ages(self) -> dict[tuple[str, str], float]:
        """Seconds since AMIs were read well last, by account ("" for the own) and Region."""
        with self._lock:
            known = dict(self._engines)
        return {
            (account, region): age
            for account, engine in known.items()
            for region, age in engine.views.ages().items()
        }

    def forget(
        self,
        region: str,
        *,
        images: Iterable[str] = (),
        keys: Iterable[str] = (),
        volumes: Iterable[str] = (),
        whole: Iterable[str] = (),
    ) -> None:
        """Somebody else changed this, in whatever account; `whole` names accounts whose AMIs and
        snapshots of the Region are read anew."""
        images, keys, volumes, accounts = tuple(images), tuple(keys), tuple(volumes), set(whole)
        with self._lock:
            engines = dict(self._engines)
        for name, engine in engines.items():
            engine.views.forget(
                region,
                images=images,
                keys=keys,
                volumes=volumes,
                whole=bool(accounts) and (name or self._own_account()) in accounts,
            )

    def images_of(self, region: str, snapshots: Iterable[str]) -> frozenset[str]:
        """Ids of the AMIs of these snapshots, in whatever account, as last read."""
        some = tuple(snapshots)
        return frozenset().union(*(e.views.images_of(region, some) for e in self.engines()))

    def forget_parameters(self, region: str, names: Iterable[str]) -> None:
        """Somebody changed these SSM parameters, in whatever account."""
        names = tuple(names)
        for engine in self.engines():
            engine.views.forget_parameters(region, names)

    def forget_work(self, region: str) -> None:
        for engine in self.engines():
            engine.work.forget(region)

    def knows(self, account: str) -> bool:
        """Whether the operator acts in an account, be it with a role of a consumer."""
        if account in self.others or account == self._own_account():
            return True
        return tenancy.consumer_roles(self.file, account) is not None

    def _own_account(self) -> str:
        try:
            return self.own.sessions.account()
        except errors.AWS_ERRORS:
            return ""

    # The end

    def stop(self) -> None:
        """Begin no further action anywhere."""
        self._stopping = True
        for engine in self.engines():
            engine.applier.stop()

    def close(self) -> None:
        for engine in self.engines():
            engine.close()
        self.consumers.close()
        self.published.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
