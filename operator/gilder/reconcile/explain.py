"""Reads what an explanation needs: AMIs, launch permissions, keys, grants, and the membership."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gilder.api import GoldenImage, ImageShare
from gilder.api.goldenimage import LatestVersion
from gilder.api.names import TAG_IMAGE
from gilder.aws import consumers, errors
from gilder.aws.membership import membership
from gilder.aws.sessions import Sessions
from gilder.core.explain import Explanation, Facts, Seen, Target, explain, nothing
from gilder.core.gating import shut
from gilder.core.membership import Membership
from gilder.core.needs import AccessNeeds, RegionNeeds
from gilder.core.observed import Image, Key, Observed, Principals, Problem
from gilder.core.question import Declared, Question
from gilder.core.shares import Place, Share, resolve, selects
from gilder.reconcile.fleet import Fleet
from gilder.reconcile.inventory import Inventory


class Consumer(Protocol):
    """The account that is asked about, asking AWS itself. An empty answer: it may."""

    def visible(self, region: str, image: str) -> str:
        """Whether DescribeImages shows it the AMI."""

    def launch(self, region: str, image: Image) -> str:
        """What a dry run of RunInstances says."""

    def key(self, region: str, arn: str) -> str:
        """What DescribeKey and a dry run of GenerateDataKeyWithoutPlaintext say."""


@dataclass(frozen=True, slots=True)
class Objects:
    """GoldenImages and ImageShares, of a cluster or of manifests."""

    images: tuple[GoldenImage, ...] = ()
    shares: tuple[ImageShare, ...] = ()

    def find(self, key: str) -> GoldenImage | None:
        return next((i for i in self.images if i.metadata.key == key), None)


Declarations = Mapping[Place, tuple[Declared, ...]]


class RoleConsumer:
    """A consumer whose account has a role for us, by the access file."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def visible(self, region: str, image: str) -> str:
        return self._asked(
            lambda: "" if image in consumers.visible(self._sessions.ec2(region), [image])
            else "DescribeImages does not show it"
        )  # fmt: skip

    def launch(self, region: str, image: Image) -> str:
        ec2 = self._sessions.ec2
        return self._asked(lambda: consumers.dry_run(ec2(region), image.id, image.architecture))

    def key(self, region: str, arn: str) -> str:
        return self._asked(lambda: consumers.key_usable(self._sessions.kms(region), arn))

    @staticmethod
    def _asked(ask: Callable[[], str]) -> str:
        try:
            return ask()
        except errors.AWS_ERRORS as error:
            return errors.problem(error, "asking").message


def consumer_of(fleet: Fleet, account: str) -> Consumer | None:
    """The account that is asked about, where the access file has a role for it."""
    sessions = fleet.accounts.consumer(account)
    return RoleConsumer(sessions) if sessions is not None else None


def explain_image(
    fleet: Fleet,
    account: str,
    image: GoldenImage,
    regions: Sequence[str],
    objects: Objects,
    consumer: Consumer | None = None,
) -> list[Explanation]:
    """The latest version of a GoldenImage in each Region that is asked, or wherever it is."""
    at = image.spec.account
    owner = at if at and at in fleet.others else ""
    return _Reader(fleet, owner, account, objects, consumer).image(image, regions)


def explain_ids(
    fleet: Fleet,
    account: str,
    image_id: str,
    regions: Sequence[str],
    objects: Objects | None,
    consumer: Consumer | None = None,
) -> list[Explanation]:
    """One AMI id in each of these Regions; `objects` is None where no ImageShares were read."""
    reader = _Reader(fleet, _owner_of(fleet, image_id, regions), account, objects, consumer)
    return reader.explained([Target(r, image_id) for r in regions])


def _owner_of(fleet: Fleet, image_id: str, regions: Sequence[str]) -> str:
    """The account of the access file that an AMI belongs to; "" for the own, or for nobody's."""
    needed = dict.fromkeys(regions, RegionNeeds(images=frozenset({image_id})))
    for account in sorted(fleet.others):
        views = fleet.engine(account).views
        try:
            seen = views.images(needed, views.now())
        except errors.AWS_ERRORS:
            continue
        if any(i.id == image_id and i.owner == seen.account for i in seen.images()):
            return account
    return ""


class _Reader:
    """One question, read as of now."""

    def __init__(
        self,
        fleet: Fleet,
        owner: str,
        account: str,
        objects: Objects | None,
        consumer: Consumer | None,
    ) -> None:
        self._fleet = fleet
        self._owner = owner
        self._engine = fleet.engine(owner)
        self._views = self._engine.views
        self._account = account
        self._objects = objects
        self._consumer = consumer
        self._since = self._views.now()

    def image(self, image: GoldenImage, regions: Sequence[str]) -> list[Explanation]:
        spec, status = image.spec, image.status
        asked = tuple(regions) or (spec.region, *(r.region for r in spec.replicas))
        owner = status.account or spec.account
        if status.latest is None:
            # As in a manifest, or before the first version: AWS's tags tell.
            return self._of_tags(image, asked, owner)
        targets = [_latest(image, region) for region in asked]
        return [
            *self.explained([t for t in targets if t.image_id], owner),
            *(self._none(image, t) for t in targets if not t.image_id),
        ]

    def _of_tags(
        self, image: GoldenImage, regions: Iterable[str], owner: str | None
    ) -> list[Explanation]:
        key, cluster = image.metadata.key, self._engine.cluster
        seen = self._look(dict.fromkeys(regions, RegionNeeds()), owner)
        if isinstance(seen, Problem):
            return [self._failed(Target(r, "", key), seen) for r in regions]
        found: list[Explanation] = []
        targets: list[Target] = []
        for region in regions:
            view = seen.region(region)
            all_of_it = view.belonging(cluster, key, seen.account)
            last = max((i for i in all_of_it if i.role != "intermediate"), key=_rank, default=None)
            if last is not None:
                targets.append(Target(region, last.id, key, last.version))
            elif view.problem:
                found.append(self._failed(Target(region, "", key), view.problem))
            else:
                found.append(self._none(image, Target(region, "", key)))
        return [*self.explained(targets, owner), *found]

    def explained(self, targets: list[Target], owner: str | None = None) -> list[Explanation]:
        """`owner` is the account that the AMIs must be read as."""
        if not targets:
            return []
        needs = {t.region: RegionNeeds(images=frozenset({t.image_id})) for t in targets}
        looked = self._look(needs, owner)
        if isinstance(looked, Problem):
            return [self._failed(t, looked) for t in targets]
        places = frozenset((t.region, t.image_id) for t in targets)
        seen = self._views.access(looked, AccessNeeds(places, policies=True), self._since)
        declared = self._declared(places, seen)
        member = self._membership(places, seen, declared)
        return [self._one(t, seen, member, declared) for t in targets]

    def _look(self, needs: Mapping[str, RegionNeeds], owner: str | None) -> Observed | Problem:
        try:
            seen = self._views.images(needs, self._since)
        except errors.AWS_ERRORS as error:
            return errors.problem(error, "asking which account this is")
        if owner in (None, seen.account):
            return seen
        return Problem(
            "WrongAccount",
            f"these credentials are of account {seen.account}, and the GoldenImage is of {owner}: "
            "ask with credentials of that account",
        )

    def _one(
        self,
        target: Target,
        seen: Observed,
        member: Membership | None,
        declared: Declarations | None,
    ) -> Explanation:
        view = seen.region(target.region)
        image = view.images.get(target.image_id)
        who = view.permissions.get(target.image_id, view.unread.get(target.image_id))
        keys = {k: view.keys[k] for k in (image.kms_keys if image else ()) if k in view.keys}
        what = Seen(seen.account, image, who, keys, view.grants, view.problem)
        place = (target.region, target.image_id)
        question = Question(
            self._account, member, None if declared is None else declared.get(place, ())
        )
        found = explain(_whole(target, image), what, question, self._engine.now())
        if self._consumer is None or image is None:
            return found
        return replace(found, facts=_facts(self._consumer, image))

    def _membership(
        self, places: Iterable[Place], seen: Observed, declared: Declarations | None
    ) -> Membership | None:
        """Asked only where it may matter: an organization is named somewhere."""
        who = Principals()
        for region, image in places:
            who |= seen.region(region).permissions.get(image, Principals())
            for share in (declared or {}).get((region, image), ()):
                who |= share.principals
        keys = (k for v in seen.regions.values() for k in v.keys.values() if isinstance(k, Key))
        policies = (json.dumps(k.policy).lower() for k in keys if k.policy)
        if not who.organizations and not who.units and not any(_ORG in p for p in policies):
            return None
        sessions = self._fleet.accounts.organizations()
        return membership(sessions.organizations(), self._account)

    def _declared(self, places: Iterable[Place], seen: Observed) -> Declarations | None:
        """By AMI, what the ImageShares declare that select it or another version of it."""
        if self._objects is None:
            return None
        cluster = self._engine.cluster
        images = {p: i for p in places if (i := seen.region(p[0]).images.get(p[1])) is not None}
        tagged = {i.tags.get(TAG_IMAGE, "") for i in images.values()}
        inventory = Inventory(cluster, self._fleet.others)
        for golden in self._objects.images:
            if golden.metadata.key in tagged:
                inventory.put_image(_with_latest(golden, seen, cluster))
        # Only those that can matter: there may be thousands.
        namespaces = {t.partition("/")[0] for t in tagged}
        ids = {i for _, i in places}
        near = [s for s in self._objects.shares if _may_select(s, namespaces, ids)]
        for share in near:
            inventory.put_share(share)
        found: dict[Place, tuple[Declared, ...]] = {}
        for share in near:
            scope = inventory.share_scope(share.metadata.key)
            if scope.mine.leaving:
                continue
            scope = self._fleet.declared(scope, self._since).part(self._owner)
            targets = resolve(scope.mine, scope.goldens, seen, cluster, scope.regions).targets
            selected = {(t.region, t.image_id) for t in targets}
            chosen = {g.key for g in scope.goldens if selects(scope.mine, g)}
            for place, image in images.items():
                of_chosen = image.tags.get(TAG_IMAGE) in chosen
                if place in selected or of_chosen:
                    said = _said(scope.mine, elsewhere=place not in selected)
                    found[place] = (*found.get(place, ()), said)
        return found

    def _none(self, image: GoldenImage, target: Target) -> Explanation:
        """The GoldenImage has no AMI in a Region."""
        spec, key = image.spec, image.metadata.key
        question = Question(self._account)
        if target.region not in (spec.region, *(r.region for r in spec.replicas)):
            why = f"{target.region} is neither the home Region nor a replica of {key}"
            return nothing(target, question, why, "add it to spec.replicas of the GoldenImage")
        why = f"{key} has no version there that is tagged for cluster name {self._engine.cluster}"
        fix = "see the status of the GoldenImage, or give the cluster name of its operator"
        return nothing(target, question, why, fix)

    def _failed(self, target: Target, problem: Problem) -> Explanation:
        question = Question(self._account)
        return explain(target, Seen("", problem=problem), question, self._engine.now())


_ORG = "aws:principalorg"


def _rank(image: Image) -> tuple[bool, int, bool, int]:
    return not shut(image), image.version, image.available, image.attempt


def _latest(image: GoldenImage, region: str) -> Target:
    """The newest released version that status has in a Region."""
    latest, key = image.status.latest, image.metadata.key
    for version in sorted(image.status.versions, key=lambda v: -v.version):
        for one in version.images:
            released = latest is not None and version.version <= latest.version
            if one.region == region and released and one.role != "intermediate":
                return Target(region, one.image_id, key, version.version)
    return Target(region, "", key)


def _whole(target: Target, image: Image | None) -> Target:
    """An AMI that was asked for by id, with the GoldenImage that its tags name."""
    if target.golden or image is None:
        return target
    return replace(target, golden=image.tags.get(TAG_IMAGE, ""), version=image.version)


def _may_select(share: ImageShare, namespaces: set[str], ids: set[str]) -> bool:
    ref = share.spec.image_ref
    if ref.images:
        return any(i.id in ids for i in ref.images)
    return (ref.namespace or share.metadata.namespace) in namespaces


def _with_latest(image: GoldenImage, seen: Observed, cluster: str) -> GoldenImage:
    """A GoldenImage without a status, with the version that AWS's tags tell of."""
    if image.status.latest is not None:
        return image
    there = [i for i in seen.owned(cluster, image.metadata.key) if i.available and not shut(i)]
    if not there:
        return image
    latest = LatestVersion(version=there[-1].version, image_id=there[-1].id)
    return image.model_copy(update={"status": image.status.model_copy(update={"latest": latest})})


def _said(share: Share, *, elsewhere: bool) -> Declared:
    spec, passive = share.spec, ""
    if share.paused:
        passive = "paused by annotation"
    elif spec.suspend:
        passive = "suspended (spec.suspend)"
    elif spec.management_policy == "Observe":
        passive = "only observing (spec.managementPolicy)"
    return Declared(share.key, share.principals, spec.kms.mode, passive, elsewhere)


def _facts(consumer: Consumer, image: Image) -> Facts:
    return Facts(
        consumer.visible(image.region, image.id),
        consumer.launch(image.region, image),
        {k: consumer.key(image.region, k) for k in sorted(image.kms_keys)},
    )
