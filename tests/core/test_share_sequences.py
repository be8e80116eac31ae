"""Shares over time: edits, drift, failures and crashes, with every single action judged.

`predict` is in the place of AWS. The judge works out anew who is declared, and keeps a ledger of
what was given by actions; it shares no code with the plans but the rules of AWS.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from planworld import (
    CLUSTER,
    DR,
    DR_KEY,
    HOME,
    HOME_KEY,
    NOW,
    ORG,
    ORG_ID,
    OTHER_KEY,
    OU,
    OU_ID,
    OWNER,
    A,
    B,
    C,
    D,
    ami,
    image,
    key,
    ours,
    view,
)

from gilder.api import ImageShare
from gilder.api.imageshare import ImageShareSpec, ImageShareStatus
from gilder.api.metadata import Metadata
from gilder.core import rules
from gilder.core.actions import (
    AnyAction,
    CreateGrant,
    ModifyLaunchPermission,
    ModifySnapshotPermission,
    PutKeyPolicy,
    RevokeGrant,
)
from gilder.core.declared import Listing, declare
from gilder.core.observed import (
    NOBODY,
    Grant,
    Image,
    Key,
    Observed,
    Principals,
    Problem,
    RegionView,
)
from gilder.core.predict import predict
from gilder.core.report_share import claims, report_share
from gilder.core.results import Result
from gilder.core.shares import (
    Gilded,
    KeyPlace,
    Place,
    Share,
    access_needs,
    last_listed,
    recorded,
    resolve,
)
from gilder.core.sharing import plan_share, together, without
from gilder.core.statements import sid
from gilder.core.times import rfc3339
from gilder.reconcile.inventory import ShareScope

ROUNDS = 8  # passes over all shares until nothing is left to do
SECOND = "666666666666"  # another account whose AMIs are shared
SECOND_KEY = f"arn:aws:kms:{HOME}:{SECOND}:key/00000003-0000-0000-0000-000000000000"
BASE, OTHER = "team/base", "else/other"
PREFIX, SID = f"gilder:{CLUSTER}:", sid(CLUSTER)
SHARES = ("team/one", "team/two", "else/three")
ROLE = "arn:aws:iam::{account}:role/scaling"
GRANTEES = (ROLE, f"arn:aws:iam::{A}:role/fixed", "arn:aws:iam::{account}:root")
DENIED = Problem("AccessDenied", "no", region=HOME)
FLAKY = Problem("AWSError", "timeout", False)
UNREADABLE = Problem("ListUnreadable", "gone", False)
LISTS = ("configMap l1/accounts", "configMap l2/accounts")
ROOT = {"Sid": "Root", "Effect": "Allow", "Principal": {"AWS": OWNER}, "Action": "kms:*",
        "Resource": "*"}  # fmt: skip
# Statements of others, some of which let an organization launch.
OTHERS = (
    {"Sid": "Theirs", "Effect": "Allow", "Principal": "*", "Action": "kms:Decrypt",
     "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": ORG_ID}}},
    {"Sid": SID + "x", "Effect": "Deny", "Principal": {"AWS": D}, "Action": "kms:*",
     "Resource": "*"},
    rules.policy_statement(ORG_ID, None),
    rules.policy_statement(ORG_ID, OU_ID),
    {"Effect": "Allow", "Principal": {"AWS": C}, "Action": ["kms:Decrypt"], "Resource": "*"},
)  # fmt: skip
MINUTE = ("Decrypt",)
LAUNCH = tuple(a.removeprefix("kms:") for a in rules.POLICY_ACTIONS)

people = st.lists(st.sampled_from((A, B, C)), unique=True, max_size=3).map(sorted)
REFS: tuple[dict[str, Any], ...] = (
    {"name": "base", "namespace": "team"},
    {"name": "base"},
    {"name": "other", "namespace": "else"},
    {"selector": {"matchLabels": {"tier": "gold"}}},
    {"selector": {"matchLabels": {"tier": "gold"}}, "namespace": "else"},
    {"images": [{"id": ami(1), "region": HOME}, {"id": ami(4), "region": DR}]},
    {"images": [{"id": ami(5), "region": HOME}]},
    {"images": [{"id": ami(3), "region": HOME}], "account": SECOND},
)
LISTED: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"configMap": {"name": "l1"}}],
    [{"configMap": {"name": "l1"}, "allowEmpty": True}, {"configMap": {"name": "l2"}}],
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "accounts": people,
    "organizations": st.sampled_from(([], [ORG])),
    "organizationalUnits": st.sampled_from(([], [OU])),
    "snapshots": st.booleans(),
    "mode": st.sampled_from(("Authoritative", "Additive")),
    "suspend": st.sampled_from((False, False, True)),
    "managementPolicy": st.sampled_from(("Full", "Full", "Full", "Observe")),
    "versions": st.sampled_from(
        ({"select": "Latest"}, {"select": "All"}, {"select": "Newest", "count": 2})
    ),
    "regions": st.sampled_from(([], [], [HOME], [DR])),
    "accountsFrom": st.sampled_from(LISTED),
    "ignoreAccounts": st.sampled_from(([], [], [A], [B])),
    "imageRef": st.sampled_from(REFS),
}
KMS: dict[str, st.SearchStrategy[Any]] = {
    "mode": st.sampled_from(("Grant", "KeyPolicy", "KeyPolicy", "None")),
    "operations": st.sampled_from((MINUTE, LAUNCH)),
    "granteePrincipals": st.lists(st.sampled_from(GRANTEES), unique=True, max_size=2),
}
FAULTS = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(("fails", "answer lost", "crash before", "crash after")),
        st.integers(0, 6),
    ),
)
Fault = tuple[str, int] | None
temporaries = st.lists(
    st.tuples(
        st.sampled_from(
            ({"account": A}, {"account": B}, {"organization": ORG}, {"organizationalUnit": OU})
        ),
        st.integers(-1, 30),
    ),
    max_size=2,
)


class CrashError(Exception):
    """The operator dies."""


def _reach(arn: str) -> str:
    return ORG_ID if arn == ORG else f"{ORG_ID}/{OU_ID}"


def _reaches(who: Principals) -> set[str]:
    return {_reach(a) for a in (*who.organizations, *who.units)}


def _root(account: str) -> str:
    return f"arn:aws:iam::{account}:root"


def _paths(names: Iterable[str]) -> dict[str, Any]:
    """The condition of our statement, written down a second time."""
    names = sorted(names)
    if any("/" in n for n in names):
        paths = [f"{ORG_ID}/*" if n == ORG_ID else f"{ORG_ID}/*/{OU_ID}/*" for n in names]
        return {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": paths}}
    return {"StringEquals": {"aws:PrincipalOrgID": names}}


class Sequences(RuleBasedStateMachine):
    """Three shares of two GoldenImages and of AMIs by id, in two accounts and two Regions."""

    judged = 0  # actions so far

    # The beginning

    @initialize(
        specs=st.lists(st.fixed_dictionaries(
            {"imageRef": FIELDS["imageRef"], "accounts": people,
             "organizations": FIELDS["organizations"], "mode": FIELDS["mode"],
             "snapshots": FIELDS["snapshots"],
             "kms": st.fixed_dictionaries({"mode": KMS["mode"], "operations": KMS["operations"]})}
        ), min_size=3, max_size=3)
    )  # fmt: skip
    def begin(self, specs: list[dict[str, Any]]) -> None:
        base = [
            ours(1, version=1, key=HOME_KEY),
            ours(2, version=2, key=HOME_KEY),
            image(5, key=OTHER_KEY),
        ]
        replica = [ours(4, DR, version=1, role="replica", key=DR_KEY), image(6, DR)]
        other = [
            ours(3, version=1, golden=OTHER, key=SECOND_KEY, owner=SECOND),
            ours(7, version=2, golden=OTHER, owner=SECOND),
        ]
        policy = {"Version": "2012-10-17", "Statement": [ROOT]}
        self.aws = {
            "": Observed(OWNER, {
                HOME: _view(HOME, base, [HOME_KEY, OTHER_KEY], policy),
                DR: _view(DR, replica, [DR_KEY], policy),
            }),
            SECOND: Observed(SECOND, {
                HOME: _view(HOME, other, [SECOND_KEY], policy), DR: _view(DR, [], [], policy)
            }),
        }  # fmt: skip
        self.account_of = {i.id: a for a, w in self.aws.items() for i in w.images()}
        self.goldens = {
            BASE: Gilded(BASE, "team", "base", {"tier": "gold"}, 1, allowed_namespaces=("else",)),
            OTHER: Gilded(OTHER, "else", "other", {"tier": "gold"}, 1, account=SECOND,
                          allowed_namespaces=("te*",)),
        }  # fmt: skip
        self.where = {BASE: frozenset({HOME, DR}), OTHER: frozenset({HOME})}
        self.down: set[tuple[str, str]] = set()  # account, Region
        self.blind: set[str] = set()  # keys whose policies cannot be read
        self.shut: set[str] = set()  # keys that cannot be read at all
        self.unread: set[str] = set()  # AMIs and snapshots whose permissions cannot be read
        self.now = NOW
        self.lists: dict[str, Listing] = {LISTS[0]: (B,), LISTS[1]: (C,)}
        self.number = 10
        self.objects: dict[str, ImageShare] = {}
        # The ledger: what actions gave and nobody took since.
        self.given: dict[Place, Principals] = {}
        self.poured: dict[tuple[str, str], frozenset[str]] = {}
        self.handed: set[str] = set()  # keys left to a share that changes nothing
        for name, spec in zip(SHARES, specs, strict=True):
            self._create(name, spec)

    def _create(self, name: str, spec: dict[str, Any]) -> None:
        namespace, _, short = name.partition("/")
        self.objects[name] = ImageShare(
            metadata=Metadata(name=short, namespace=namespace),
            spec=ImageShareSpec.model_validate(spec),
        )

    # Shares

    @rule(
        name=st.sampled_from(SHARES),
        changes=st.lists(
            st.sampled_from(sorted(FIELDS)).flatmap(lambda f: st.tuples(st.just(f), FIELDS[f])),
            min_size=1,
            max_size=2,
        ),
    )
    def edit(self, name: str, changes: list[tuple[str, Any]]) -> None:
        self._edit(name, dict(changes))

    @rule(
        name=st.sampled_from(SHARES),
        change=st.sampled_from(sorted(KMS)).flatmap(lambda f: st.tuples(st.just(f), KMS[f])),
    )
    def edit_kms(self, name: str, change: tuple[str, Any]) -> None:
        if name in self.objects:
            kms = self.objects[name].spec.kms.model_dump(mode="json", by_alias=True)
            self._edit(name, {"kms": {**kms, change[0]: change[1]}})

    @rule(name=st.sampled_from(SHARES), public=st.booleans(), confirmed=st.booleans())
    def publish(self, name: str, public: bool, confirmed: bool) -> None:
        self._edit(name, {"public": public and confirmed, "confirmPublic": confirmed})

    @rule(name=st.sampled_from(SHARES), some=temporaries)
    def lend(self, name: str, some: list[tuple[dict[str, str], int]]) -> None:
        until = [
            {**who, "until": (self.now + timedelta(hours=h)).strftime("%Y-%m-%dT%H:%M:%SZ")}
            for who, h in some
        ]
        self._edit(name, {"temporary": until})

    def _edit(self, name: str, changes: Mapping[str, Any]) -> None:
        found = self.objects.get(name)
        if found is None or found.metadata.deleting:
            return
        spec = found.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        new = ImageShareSpec.model_validate({**spec, **changes})
        self.objects[name] = found.model_copy(update={"spec": new})

    @rule(name=st.sampled_from(SHARES))
    def delete(self, name: str) -> None:
        found = self.objects.get(name)
        if found is None or self._passive(name):
            return  # deleting what is passive lets go of everything as it is
        gone = found.metadata.model_copy(update={"deletion_timestamp": rfc3339(self.now)})
        self.objects[name] = found.model_copy(update={"metadata": gone})

    @rule(name=st.sampled_from(SHARES), who=people, mode=FIELDS["mode"], kms=KMS["mode"])
    def create(self, name: str, who: list[str], mode: str, kms: str) -> None:
        if name not in self.objects:
            ref = {"name": "base", "namespace": "team"}
            self._create(
                name, {"imageRef": ref, "accounts": who, "mode": mode, "kms": {"mode": kms}}
            )

    # GoldenImages and AMIs

    @rule(golden=st.sampled_from((BASE, OTHER)), latest=st.integers(1, 2))
    def release(self, golden: str, latest: int) -> None:
        if golden in self.goldens:
            self.goldens[golden] = replace(self.goldens[golden], latest=latest)

    @rule(
        golden=st.sampled_from((BASE, OTHER)),
        allowed=st.sampled_from(((), ("*",), ("team",), ("else",))),
        gold=st.booleans(),
    )
    def open_golden(self, golden: str, allowed: tuple[str, ...], gold: bool) -> None:
        if golden in self.goldens:
            self.goldens[golden] = replace(
                self.goldens[golden],
                allowed_namespaces=allowed,
                labels={"tier": "gold"} if gold else {},
            )

    @rule(golden=st.sampled_from((BASE, OTHER)))
    def delete_golden(self, golden: str) -> None:
        """First it is being deleted, then it is gone, then it is there again."""
        found = self.goldens.get(golden)
        if found is None:
            namespace, _, short = golden.partition("/")
            account = SECOND if golden == OTHER else ""
            self.goldens[golden] = Gilded(golden, namespace, short, {}, 1, account=account)
        elif found.deleting:
            del self.goldens[golden]
        else:
            self.goldens[golden] = replace(found, deleting=True)

    @rule(data=st.data(), how=st.sampled_from(("gone", "disabled", "enabled", "other key")))
    def change_ami(self, data: st.DataObject, how: str) -> None:
        places = sorted((i.region, i.id) for w in self.aws.values() for i in w.images())
        if not places:
            return
        place = data.draw(st.sampled_from(places))
        found = self._image(place)
        assert found is not None
        if how == "enabled":
            if found.state == "disabled":
                self._put_image(replace(found, state="available"))
        elif how == "disabled":
            self._take_image(found)
            self._put_image(replace(found, state="disabled"), permissions=False)
        elif how == "gone":
            self._take_image(found)
        elif found.kms_keys:
            # A copy under another key, with which an AMI is replaced.
            self.number += 1
            new = OTHER_KEY if found.region == HOME and not self._account(found) else DR_KEY
            if new.split(":")[3] == found.region:
                self._put_image(replace(
                    found, id=ami(self.number), snapshots=(f"snap-{self.number:08x}",),
                    kms_keys=frozenset({new}), state="available",
                    tags={**found.tags, "goldenimage.dev/attempt": str(self.number)},
                ), account=self._account(found))  # fmt: skip

    # Time, lists, and what can be read

    @rule(hours=st.integers(1, 20))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(
        source=st.sampled_from(LISTS),
        value=st.one_of(people.map(tuple), st.just(UNREADABLE)),
    )
    def change_list(self, source: str, value: Listing) -> None:
        self.lists[source] = value

    @rule(account=st.sampled_from(("", SECOND)), region=st.sampled_from((HOME, DR)))
    def lose_region(self, account: str, region: str) -> None:
        self.down ^= {(account, region)}

    @rule(number=st.integers(1, 7), snapshot=st.booleans())
    def lose_permissions(self, number: int, snapshot: bool) -> None:
        self.unread ^= {f"snap-{number:08x}" if snapshot else ami(number)}

    @rule(arn=st.sampled_from((HOME_KEY, DR_KEY, SECOND_KEY)))
    def lose_key(self, arn: str) -> None:
        self.shut ^= {arn}

    @rule(arn=st.sampled_from((HOME_KEY, OTHER_KEY, SECOND_KEY)))
    def lose_policy(self, arn: str) -> None:
        self.blind ^= {arn}

    # Drift by hand

    @rule(
        data=st.data(),
        who=st.sampled_from((A, B, D, "org", "ou", "all")),
        volumes=st.booleans(),
    )
    def open_or_close(self, data: st.DataObject, who: str, volumes: bool) -> None:
        places = sorted(
            (i.region, i.id) for w in self.aws.values() for i in w.images() if i.available
        )
        if not places:
            return
        place = data.draw(st.sampled_from(places))
        found = self._image(place)
        assert found is not None
        one = {"org": Principals(organizations=frozenset({ORG})),
               "ou": Principals(units=frozenset({OU})),
               "all": Principals(public=not found.encrypted),
               }.get(who, Principals(frozenset({who})))  # fmt: skip
        here = self._here(place)
        if volumes:
            one = Principals(one.accounts)
            changed = dict(here.volumes)
            for snapshot in found.snapshots:
                was = here.volumes[snapshot]
                changed[snapshot] = was - one if one & was else was | one
                at = (place[0], snapshot)
                self.poured[at] = self.poured.get(at, frozenset()) - one.accounts
            self._set(place, replace(here, volumes=changed))
            return
        was = here.permissions[found.id]
        now = was - one if one & was else was | one
        self.given[place] = self.given.get(place, NOBODY) - one
        self._set(place, replace(here, permissions={**here.permissions, found.id: now}))

    @rule(data=st.data(), how=st.sampled_from(("gone", "dead", "double", "foreign")))
    def spoil_grant(self, data: st.DataObject, how: str) -> None:
        every = sorted(
            ((a, g) for a, v in self._views() for gs in v.grants.values() for g in gs),
            key=lambda x: x[1].id,
        )
        if not every:
            return
        account, one = data.draw(st.sampled_from(every))
        self.number += 1
        more: tuple[Grant, ...] = ()
        gone = one
        if how == "dead":
            more = (replace(one, principal=f"AROA{self.number}"),)
        elif how == "double":
            more = (one, replace(one, id=f"double-{self.number}", operations=frozenset({"Encrypt"}),
                                 name=f"{one.name[:-12]}{self.number:012d}"))  # fmt: skip
        elif how == "foreign":
            more = (one, replace(one, id=f"foreign-{self.number}", name="theirs"))
        region = one.key.split(":")[3]
        here = self.aws[account].region(region)
        left = tuple(g for g in here.grants[one.key] if g.id != gone.id)
        self._set_view(account, replace(here, grants={**here.grants, one.key: (*left, *more)}))

    @rule(
        arn=st.sampled_from((HOME_KEY, OTHER_KEY, DR_KEY, SECOND_KEY)),
        how=st.sampled_from(("gone", "principal", "effect", "who", "more", "operations", "list")),
    )
    def spoil_statement(self, arn: str, how: str) -> None:
        policy = self._policy(arn)
        listed = [s for s in policy["Statement"] if s.get("Sid") != SID]
        mine = [s for s in policy["Statement"] if s.get("Sid") == SID]
        if not mine:
            return
        (one,) = mine
        new = {
            "gone": None,
            "principal": {**one, "Principal": {"AWS": C}},
            "effect": {**one, "Effect": "Deny"},
            "who": {**one, "Condition": _paths([ORG_ID])},
            "more": {**one, "Condition": _paths([ORG_ID, f"{ORG_ID}/{OU_ID}"])},
            "operations": {**one, "Action": "kms:Encrypt"},
            "list": {**one, "Condition": ["nonsense"]},
        }[how]
        self._write(arn, [*listed, *([new] if new else [])])

    @rule(
        arn=st.sampled_from((HOME_KEY, OTHER_KEY, DR_KEY, SECOND_KEY)),
        some=st.lists(st.sampled_from(OTHERS), max_size=2),
    )
    def change_others_statements(self, arn: str, some: list[dict[str, Any]]) -> None:
        mine = [s for s in self._policy(arn)["Statement"] if s.get("Sid") == SID]
        once = [s for n, s in enumerate(some) if s not in some[:n]]
        self._write(arn, [ROOT, *mine, *once])

    # Reconciling

    @rule(name=st.sampled_from(SHARES), fault=FAULTS, backwards=st.booleans())
    def reconcile(self, name: str, fault: Fault, backwards: bool) -> None:
        if name in self.objects:
            self._reconcile(name, fault, backwards)

    @rule()
    def all_is_quiet(self) -> None:
        self._quiet()

    def teardown(self) -> None:
        if not hasattr(self, "objects"):
            return
        self._quiet()
        for name in list(self.objects):
            self._edit(name, {"suspend": False, "managementPolicy": "Full"})
            self.delete(name)
        self._converge()
        assert not self.objects, "every share can be deleted"
        for place, was in self.given.items():
            assert not was, f"{place} is still open to {was.names()}"
        for at, accounts in self.poured.items():
            assert not accounts, f"volumes may still be made of {at}"
        for _, here in self._views():
            for arn in set(here.keys) - self.handed:
                assert not [g for g in here.grants[arn] if g.name.startswith(PREFIX)], arn
                assert not self._own(arn), arn

    def _quiet(self) -> None:
        self.down.clear()
        self.blind.clear()
        self.shut.clear()
        self.unread.clear()
        for source, value in self.lists.items():
            if not value or not isinstance(value, tuple):
                self.lists[source] = (B,)
        self._converge()
        self._judge_quiet()

    def _converge(self) -> None:
        for _ in range(ROUNDS):
            actions = [a for n in sorted(self.objects) for a in self._reconcile(n)]
            if not actions:
                return
        raise AssertionError("the plans do not come to an end")

    def _reconcile(
        self, name: str, fault: Fault = None, backwards: bool = False
    ) -> tuple[AnyAction, ...]:
        """As reconcile.fleet does."""
        found = self.objects[name]
        if found.spec.suspend:
            return ()
        scope = self._scope(name)
        mine, parts = scope.mine, {}
        for account in scope.accounts:
            part = scope.part(account)
            parts[account] = plan_share(
                part.mine, part.others, part.goldens, part.regions,
                self._look(part, self._seen(account)), CLUSTER, part.claims,
            )  # fmt: skip
        plan = together(list(parts.values()))
        results: list[Result] = []
        if found.spec.management_policy == "Full":
            before = None if mine.leaving else claims(found, mine, plan)
            if before is not None:
                self._save(name, before)
            self.left = fault[1] if fault else -1
            self.fault = fault[0] if fault else ""
            try:
                for account, one in parts.items():
                    results += self._apply(name, account, one.plan.actions, backwards)
            except CrashError:
                self._judge_records()
                return plan.plan.actions
            assert fault is not None or all(r.done for r in results)
        else:
            return ()
        status, _ = report_share(found, mine, plan, results, self.now)
        self._save(name, status)
        if mine.leaving and plan.plan.settled:
            del self.objects[name]
        self._judge_records()
        return plan.plan.actions

    def _save(self, name: str, status: ImageShareStatus) -> None:
        again = ImageShareStatus.model_validate(status.model_dump(mode="json", by_alias=True))
        self.objects[name] = self.objects[name].model_copy(update={"status": again})

    def _apply(
        self, name: str, account: str, actions: Iterable[AnyAction], backwards: bool
    ) -> list[Result]:
        """Stage by stage as reconcile.apply does; within a stage no order is promised."""
        results: list[Result] = []
        actions = list(actions)
        for stage in (1, 2, 3):
            batch = [a for a in actions if _stage(a) == stage]
            ready, skipped = _ready(batch, results)
            results += skipped
            for action in reversed(ready) if backwards else ready:
                results.append(self._try(name, account, action))
        return results

    def _try(self, name: str, account: str, action: AnyAction) -> Result:
        hit = self.left == 0
        self.left -= 1
        if hit and self.fault == "crash before":
            raise CrashError
        if hit and self.fault == "fails":
            return Result(action, FLAKY)
        self._act(name, account, action)
        if hit and self.fault == "crash after":
            raise CrashError
        return Result(action, FLAKY if hit else None, made="made")

    # The world as it is, and as it is seen

    def _views(self) -> Iterator[tuple[str, RegionView]]:
        for account, world in self.aws.items():
            for here in world.regions.values():
                yield account, here

    def _seen(self, account: str) -> Observed:
        world = self.aws[account]
        regions = {}
        for name, here in world.regions.items():
            if (account, name) in self.down:
                regions[name] = RegionView(name, problem=replace(DENIED, region=name))
                continue
            keys = {
                k: replace(v, policy=None) if k in self.blind and isinstance(v, Key) else v
                for k, v in here.keys.items()
            }
            shut = self.shut & {*keys}
            regions[name] = replace(
                here,
                keys={**keys, **dict.fromkeys(shut, DENIED)},
                grants={k: v for k, v in here.grants.items() if k not in shut},
                permissions={k: v for k, v in here.permissions.items() if k not in self.unread},
                volumes={k: v for k, v in here.volumes.items() if k not in self.unread},
                unread=dict.fromkeys(self.unread, DENIED),
            )
        return Observed(world.account, regions)

    def _look(self, scope: ShareScope, seen: Observed) -> Observed:
        """What is read for the plan of one share, as reconcile.engine does."""
        mine = scope.mine
        places, keys = access_needs(mine, scope.goldens, scope.regions, seen, CLUSTER)
        volumes = places if mine.spec.snapshots else mine.recorded_volumes
        who = mine.principals
        policies = bool(who.organizations or who.units or mine.recorded_policies)
        policies = policies or mine.edits_policies
        regions = {}
        for name, here in seen.regions.items():
            images = {i for r, i in places if r == name and i in here.images}
            arns = {k for r, k in keys if r == name}
            arns |= {k for i in images for k in here.images[i].kms_keys}
            parts = {s for i in images if (name, i) in volumes for s in here.images[i].snapshots}
            regions[name] = replace(
                here,
                permissions={k: v for k, v in here.permissions.items() if k in images},
                volumes={k: v for k, v in here.volumes.items() if k in parts},
                grants={k: v for k, v in here.grants.items() if k in arns},
                keys={
                    k: v if policies or not isinstance(v, Key) else replace(v, policy=None)
                    for k, v in here.keys.items()
                    if k in arns
                },
            )
        return Observed(seen.account, regions)

    def _account(self, found: Image) -> str:
        return self.account_of[found.id]

    def _here(self, place: Place) -> RegionView:
        return self.aws[self.account_of[place[1]]].region(place[0])

    def _image(self, place: Place) -> Image | None:
        return self._here(place).images.get(place[1])

    def _open_to(self, place: Place) -> Principals:
        return self._here(place).permissions.get(place[1], NOBODY)

    def _set(self, place: Place, here: RegionView) -> None:
        self._set_view(self.account_of[place[1]], here)

    def _set_view(self, account: str, here: RegionView) -> None:
        world = self.aws[account]
        self.aws[account] = Observed(world.account, {**world.regions, here.region: here})

    def _put_image(self, new: Image, account: str | None = None, permissions: bool = True) -> None:
        if account is not None:
            self.account_of[new.id] = account
        place = (new.region, new.id)
        here = self._here(place)
        self._set(place, replace(
            here,
            images={**here.images, new.id: new},
            permissions={**here.permissions, **({new.id: NOBODY} if permissions else {})},
            volumes={**here.volumes, **{s: here.volumes.get(s, NOBODY) for s in new.snapshots}},
        ))  # fmt: skip

    def _take_image(self, found: Image) -> None:
        place = (found.region, found.id)
        here = self._here(place)
        self._set(place, replace(
            here,
            images={k: v for k, v in here.images.items() if k != found.id},
            permissions={k: v for k, v in here.permissions.items() if k != found.id},
            volumes={k: v for k, v in here.volumes.items() if k not in found.snapshots},
        ))  # fmt: skip
        self.given.pop(place, None)
        for snapshot in found.snapshots:
            self.poured.pop((found.region, snapshot), None)

    def _key(self, arn: str) -> tuple[str, RegionView, Key]:
        account = SECOND if f":{SECOND}:" in arn else ""
        here = self.aws[account].region(arn.split(":")[3])
        found = here.key(arn)
        assert found is not None
        return account, here, found

    def _policy(self, arn: str) -> Mapping[str, Any]:
        policy = self._key(arn)[2].policy
        assert policy is not None
        return policy

    def _write(self, arn: str, listed: list[Any]) -> None:
        account, here, found = self._key(arn)
        new = replace(found, policy={**self._policy(arn), "Statement": listed})
        self._set_view(account, replace(here, keys={**here.keys, arn: new}))

    def _own(self, arn: str) -> dict[str, Any] | None:
        found = [s for s in self._policy(arn)["Statement"] if s.get("Sid") == SID]
        assert len(found) < 2
        return found[0] if found else None

    # Shares as the operator sees them

    def _scope(self, name: str) -> ShareScope:
        everyone = {k: self._share(o) for k, o in self.objects.items()}
        mine = everyone.pop(name)
        goldens = tuple(self.goldens[k] for k in sorted(self.goldens))
        return ShareScope(mine, tuple(everyone.values()), goldens, self.where)

    def _share(self, found: ImageShare) -> Share:
        """As reconcile.inventory does."""
        status, meta = found.status, found.metadata
        key_homes = {(g.region, g.key_id): g.account for g in status.grants if g.account}
        key_homes |= {(p.region, p.key_id): p.account for p in status.key_policies if p.account}
        account = found.spec.image_ref.account
        one = Share(
            key=meta.key,
            namespace=meta.namespace,
            spec=found.spec,
            recorded=recorded(status),
            recorded_keys=frozenset((g.region, g.key_id) for g in status.grants),
            recorded_policies=frozenset((p.region, p.key_id) for p in status.key_policies),
            recorded_volumes=frozenset(
                (i.region, i.image_id) for i in status.images if i.snapshots
            ),
            leaving=meta.deleting,
            homes={(i.region, i.image_id): i.account for i in status.images if i.account},
            key_homes=key_homes,
            plain_account=account if account == SECOND else "",
            listed=last_listed(status),
        )  # fmt: skip
        return declare(one, self.lists, self.now)

    # The judge: who is declared

    def _passive(self, name: str) -> bool:
        spec = self.objects[name].spec
        return spec.suspend or spec.management_policy == "Observe"

    def _uncertain(self, name: str) -> bool:
        found = self.objects[name]
        last = {one.source for one in last_listed(found.status)}
        return any(
            self._listed(one.source, one.allow_empty) is None and one.source not in last
            for one in found.spec.accounts_from
        )

    def _listed(self, source: str, allow_empty: bool) -> tuple[str, ...] | None:
        value = self.lists[source]
        return value if isinstance(value, tuple) and (value or allow_empty) else None

    def _who(self, name: str) -> Principals:
        """Whom a share declares."""
        found = self.objects[name]
        if found.metadata.deleting:
            return NOBODY
        spec = found.spec
        accounts = set(spec.accounts)
        last = {one.source: one.accounts for one in found.status.lists}
        for one in spec.accounts_from:
            now = self._listed(one.source, one.allow_empty)
            accounts |= set(last.get(one.source, ()) if now is None else now)
        organizations, units = set(spec.organizations), set(spec.organizational_units)
        for lent in spec.temporary:
            if lent.ends > self.now:
                accounts |= {lent.account} if lent.account else set()
                organizations |= {lent.organization} if lent.organization else set()
                units |= {lent.organizational_unit} if lent.organizational_unit else set()
        return Principals(
            frozenset(accounts - set(spec.ignore_accounts)),
            frozenset(organizations),
            frozenset(units),
            spec.public and spec.confirm_public,
        )

    def _selected(self, name: str) -> set[Place]:
        found = self.objects[name]
        spec, namespace = found.spec, found.metadata.namespace
        if found.metadata.deleting:
            return set()
        ref = spec.image_ref
        wanted = set(spec.regions) or {HOME, DR}
        places: set[Place] = set()
        for plain in ref.images:
            place = (plain.region, plain.id)
            there = self._image(place) if plain.id in self.account_of else None
            if there is None or plain.region not in wanted:
                continue
            if self._account(there) != (ref.account or ""):
                continue
            owner = there.tags.get("goldenimage.dev/image")
            if owner and not self._admits(owner, namespace):
                continue
            places.add(place)
        if ref.images:
            return places
        for one in self.goldens.values():
            if one.namespace != (ref.namespace or namespace):
                continue
            by_label = ref.selector and one.labels.get("tier") == "gold" and not one.deleting
            if not (ref.name == one.name or by_label) or not self._admits(one.key, namespace):
                continue
            for region in wanted & self.where[one.key]:
                here = self.aws[one.account].region(region)
                versions: dict[int, Image] = {}
                for i in sorted(here.images.values(), key=lambda i: i.attempt):
                    mine = i.tags.get("goldenimage.dev/image") == one.key
                    if mine and i.available and i.version <= one.latest:
                        versions[i.version] = i
                count = {"Latest": 1, "Newest": spec.versions.count, "All": None}
                for v in sorted(versions, reverse=True)[: count[spec.versions.select]]:
                    places.add((region, versions[v].id))
        return places

    def _admits(self, golden: str, namespace: str) -> bool:
        home = golden.split("/")[0]
        if home == namespace:
            return True
        found = self.goldens.get(golden)
        allowed = found.allowed_namespaces if found else ()
        return any(p in ("*", namespace) or (p == "te*" and namespace == "team") for p in allowed)

    def _declarers(self, place: Place, *, active: bool = False) -> list[str]:
        return [
            n
            for n in self.objects
            if place in self._selected(n) and not (active and self._passive(n))
        ]

    def _declared(self, place: Place) -> Principals:
        total = NOBODY
        for n in self._declarers(place):
            total |= self._who(n)
        return total

    def _complete(self, name: str, account: str) -> bool:
        """Whether it is known what a share selects in an account."""
        part, seen = self._scope(name).part(account), self._seen(account)
        return resolve(part.mine, part.goldens, seen, CLUSTER, part.regions).complete

    def _kept(self, place: Place, *modes: str) -> Principals:
        """On record, and still declared, by shares of which it is not known what they select."""
        total = NOBODY
        for n, found in self.objects.items():
            if modes and found.spec.kms.mode not in modes:
                continue
            unsure = self._passive(n) or not self._complete(n, self.account_of[place[1]])
            if not found.metadata.deleting and unsure:
                total |= recorded(found.status).get(place, NOBODY) & self._who(n)
        return total

    def _authoritative(self, place: Place) -> bool:
        names = self._declarers(place, active=True)
        return any(self.objects[n].spec.mode == "Authoritative" for n in names)

    # The judge: every action

    def _act(self, name: str, account: str, action: AnyAction) -> None:
        self.judged += 1
        assert (account, action.region) not in self.down, "what cannot be read is not changed"
        assert getattr(action, "key", "") not in self.shut
        before = self.aws[account].region(action.region)
        match action:
            case ModifyLaunchPermission():
                self._judge_permission(name, action)
            case ModifySnapshotPermission():
                self._judge_volumes(name, action)
            case CreateGrant():
                self._judge_grant(name, action)
            case RevokeGrant():
                self._judge_revocation(action)
            case PutKeyPolicy():
                self._judge_policy(name, action)
            case _:
                raise AssertionError(action)
        self.aws[account] = predict(self.aws[account], [action])
        if isinstance(action, CreateGrant):
            self._number_grant(account, action)
        after = self.aws[account].region(action.region)
        for arn, grants in before.grants.items():
            foreign = [g for g in grants if not g.name.startswith(PREFIX)]
            assert [g for g in after.grants[arn] if not g.name.startswith(PREFIX)] == foreign
        for arn, was in before.keys.items():
            now = after.keys[arn]
            assert isinstance(was, Key)
            assert isinstance(now, Key)
            assert _less_own(was) == _less_own(now), "statements of others stay as they are"

    def _number_grant(self, account: str, action: CreateGrant) -> None:
        """The last grant gets an id of its own, as KMS gives it."""
        self.number += 1
        here = self.aws[account].region(action.region)
        *before, new = here.grants[action.key]
        numbered = (*before, replace(new, id=f"grant-{self.number}"))
        self._set_view(account, replace(here, grants={**here.grants, action.key: numbered}))

    def _judge_permission(self, name: str, action: ModifyLaunchPermission) -> None:
        place = (action.region, action.image)
        found, current = self._image(place), self._open_to(place)
        assert found is not None
        assert found.available
        assert not action.add & current
        assert not action.remove - current
        if action.add:
            assert not self._passive(name)
            assert place in self._selected(name), "only what is selected is opened"
            assert not action.add - self._who(name), "nobody else is let in"
            assert not (action.add.public and found.encrypted)
            self._judge_key_first(name, found, action.add)
        assert not action.remove & self._declared(place), "what is declared stays"
        assert not action.remove & self._kept(place), "what may be declared stays"
        uncertain = any(self._uncertain(n) for n in self._declarers(place))
        assert not (uncertain and action.remove), "nobody is known to be a stranger"
        if not self._authoritative(place):
            mine = recorded(self.objects[name].status).get(place, NOBODY)
            assert not action.remove - mine, "strangers of an Additive AMI stay"
        self.given[place] = (self.given.get(place, NOBODY) | action.add) - action.remove

    def _judge_volumes(self, name: str, action: ModifySnapshotPermission) -> None:
        place, at = (action.region, action.image), (action.region, action.snapshot)
        found, spec = self._image(place), self.objects[name].spec
        assert found is not None
        assert action.snapshot in found.snapshots
        current = self._here(place).volumes[action.snapshot]
        assert not action.add & current
        assert not action.remove - current
        assert action.add == Principals(action.add.accounts), "snapshots take accounts only"
        if action.add:
            assert spec.snapshots
            assert place in self._selected(name)
            assert not action.add - self._who(name), "nobody else may create volumes"
            self._judge_key_first(name, found, action.add)
        for n in self._declarers(place):
            if self.objects[n].spec.snapshots:
                assert not action.remove & self._who(n), "what is declared stays"
            assert not (self._uncertain(n) and action.remove)
        strict = any(
            self.objects[n].spec.snapshots and self.objects[n].spec.mode == "Authoritative"
            for n in self._declarers(place, active=True)
        )
        if not strict:
            status = self.objects[name].status
            marked = [i for i in status.images if (i.region, i.image_id) == place and i.snapshots]
            mine = {a for i in marked for a in i.accounts}
            assert not set(action.remove.accounts) - mine, "strangers stay"
        had = self.poured.get(at, frozenset())
        self.poured[at] = (had | action.add.accounts) - action.remove.accounts

    def _judge_key_first(self, name: str, found: Image, who: Principals) -> None:
        kms = self.objects[name].spec.kms
        if kms.mode == "None":
            return
        for arn in found.kms_keys:
            for account in who.accounts:
                assert self._granted(arn, account, kms.operations), "the grant comes first"
            for one in _reaches(who):
                if kms.mode == "KeyPolicy":
                    assert self._let_in(arn, one, kms.operations), "the key policy comes first"
                else:
                    organization, _, unit = one.partition("/")
                    policy = self._policy(arn)
                    assert rules.policy_allows(policy, organization, unit or None)

    def _granted(self, arn: str, account: str, operations: Iterable[str]) -> bool:
        return any(
            g.principal == _root(account)
            and g.name.startswith(PREFIX)
            and g.operations >= set(operations)
            for g in self._key(arn)[1].grants[arn]
        )

    def _let_in(self, arn: str, name: str, operations: Iterable[str] = ()) -> bool:
        """Whether our statement lets an organization or OU in, as AWS reads it."""
        one = self._own(arn)
        if one is None or one["Effect"] != "Allow" or one["Principal"] != {"AWS": "*"}:
            return False
        if not {f"kms:{o}" for o in operations} <= {*one["Action"]}:
            return False
        return name in _named(one)

    def _needing(self, arn: str, *, policy: bool = False) -> dict[Place, Principals]:
        """AMIs under a key, and who needs access to it for the sake of a declaration."""
        found: dict[Place, Principals] = {}
        for place in self._under(arn):
            for n in self._declarers(place, active=True):
                mode = self.objects[n].spec.kms.mode
                if mode == "KeyPolicy" or (mode == "Grant" and not policy):
                    found[place] = found.get(place, NOBODY) | self._who(n)
        return found

    def _under(self, arn: str) -> list[Place]:
        here = self._key(arn)[1]
        return [(i.region, i.id) for i in here.images.values() if arn in i.kms_keys]

    def _judge_grant(self, name: str, action: CreateGrant) -> None:
        kms, who = self.objects[name].spec.kms, self._who(name).accounts
        assert kms.mode != "None"
        assert action.account in who, "nobody else gets a grant"
        assert any(p in self._selected(name) for p in self._under(action.key))
        assert action.name.startswith(PREFIX)
        if action.extra:
            some = [p.replace("{account}", action.account) for p in kms.grantee_principals]
            assert action.principal in some
            assert f"::{action.account}:" in action.principal
        else:
            assert action.principal == _root(action.account)
        asked = {
            o
            for n in self.objects
            if not self._passive(n) and any(p in self._selected(n) for p in self._under(action.key))
            for o in self.objects[n].spec.kms.operations
        }
        assert set(kms.operations) <= set(action.operations) <= asked
        there = self._key(action.key)[1].grants[action.key]
        assert not [g for g in there if (g.name, g.principal) == (action.name, action.principal)], (
            "nothing is created twice"
        )

    def _judge_revocation(self, action: RevokeGrant) -> None:
        there = self._key(action.key)[1].grants[action.key]
        (gone,) = [g for g in there if g.id == action.grant]
        assert gone.name.startswith(PREFIX)
        account = gone.name.split(":")[2]
        left = [g for g in there if g.id != gone.id and g.name.startswith(PREFIX)]
        if gone.principal != _root(account) or any(g.principal == _root(account) for g in left):
            return
        self._judge_key_last(action.key, Principals(frozenset({account})), policy=False)

    def _judge_key_last(self, arn: str, who: Principals, *, policy: bool) -> None:
        """Whoever loses the key has no AMI open by our doing, unless that does without us."""
        needing = self._needing(arn, policy=policy)
        for place in self._under(arn):
            still = who & self._open_to(place) & self.given.get(place, NOBODY)
            assert not still & needing.get(place, NOBODY), "the key is still needed"
            modes = ("KeyPolicy",) if policy else ("Grant", "KeyPolicy")
            assert not still & self._kept(place, *modes), "the key may still be needed"
            undeclared = still - self._declared(place) - self._kept(place)
            assert not undeclared, f"{place} is still open to {undeclared.names()}"

    def _judge_policy(self, name: str, action: PutKeyPolicy) -> None:
        assert action.key not in self.blind
        assert action.sid == SID
        before = set(_named(self._own(action.key)))
        assert action.before == self._own(action.key)
        after = set()
        if action.statement is not None:
            one = dict(action.statement)
            after = set(_named(one))
            assert one == {
                "Sid": SID, "Effect": "Allow", "Principal": {"AWS": "*"}, "Resource": "*",
                "Action": one["Action"], "Condition": _paths(after),
            }  # fmt: skip
        really = {n for n in (ORG_ID, f"{ORG_ID}/{OU_ID}") if self._let_in(action.key, n)}
        asked: set[str] = set()
        held: set[str] = set()
        for n in self.objects:
            if self.objects[n].spec.kms.mode != "KeyPolicy":
                continue
            if not self._complete(n, self._key(action.key)[0]):
                held |= _reaches(self._who(n))
            if any(p in self._selected(n) for p in self._under(action.key)):
                held |= _reaches(self._who(n))
                assert not (before & _reaches(self._who(n))) - after, "who is declared stays"
                if not self._passive(n):
                    asked |= _reaches(self._who(n))
        # Who is held is written anew too where the statement was spoiled.
        assert after - really <= asked | held, "nobody else gets a place in the statement"
        assert set(action.add) <= asked
        gone = really - after
        who = Principals(
            organizations=frozenset({ORG} if ORG_ID in gone else ()),
            units=frozenset({OU} if f"{ORG_ID}/{OU_ID}" in gone else ()),
        )
        self._judge_key_last(action.key, who, policy=True)
        assert name in self.objects

    # The judge: what is on record, and what is in place in the end

    def _judge_records(self) -> None:
        """After any crash the status is enough to take everything back."""
        claimed: dict[Place, Principals] = {}
        marked: dict[Place, set[str]] = {}
        keys: set[KeyPlace] = set()
        policies: set[KeyPlace] = set()
        for found in self.objects.values():
            for i in found.status.images:
                place = (i.region, i.image_id)
                claimed[place] = claimed.get(place, NOBODY) | recorded(found.status)[place]
                if i.snapshots:
                    marked.setdefault(place, set()).update(i.accounts)
            keys |= {(g.region, g.key_id) for g in found.status.grants}
            policies |= {(p.region, p.key_id) for p in found.status.key_policies}
        self._hand_over(claimed, marked)
        for place, was in self.given.items():
            lost = was - claimed.get(place, NOBODY)
            assert not lost, f"{place}: nobody knows that {lost.names()} is ours"
        for _, here in self._views():
            of = {s: (i.region, i.id) for i in here.images.values() for s in i.snapshots}
            for snapshot, place in of.items():
                had = self.poured.get((here.region, snapshot), frozenset())
                lost_here = had - marked.get(place, set())
                assert not lost_here, f"{snapshot} of {place}: {lost_here}"
            under = {
                (here.region, k) for p in claimed if p[1] in here.images
                for k in here.images[p[1]].kms_keys
            }  # fmt: skip
            for arn, grants in here.grants.items():
                if arn in self.handed:
                    continue
                ours = [g for g in grants if g.name.startswith(PREFIX)]
                if ours and (here.region, arn) not in keys | under:
                    waits = all(self._left_to_passive(arn, g) for g in ours)
                    assert waits, f"grants of {arn} are forgotten"
                    self.handed.add(arn)
                if self._own(arn):
                    assert (here.region, arn) in policies, f"policy of {arn} is forgotten"

    def _left_to_passive(self, arn: str, grant: Grant) -> bool:
        """Whether a share that changes nothing now declares the account of a grant, which is left
        to it even if the AMI was never open to that account."""
        account = grant.principal.split(":")[4]
        under = {p for p in self._under(arn) if self._image(p) is not None}
        return any(
            account in self._who(n).accounts and under & self._selected(n)
            for n in self.objects
            if self._passive(n)
        )

    def _hand_over(
        self, claimed: Mapping[Place, Principals], marked: Mapping[Place, set[str]]
    ) -> None:
        """What is left to a share that changes nothing now is no longer ours: it is on no record
        until that share acts again."""
        for n in self.objects:
            if not self._passive(n):
                continue
            who = self._who(n)
            for place in self._selected(n):
                found = self._image(place)
                assert found is not None
                lost = self.given.get(place, NOBODY) - claimed.get(place, NOBODY)
                self.given[place] = self.given.get(place, NOBODY) - (lost & who)
                if lost & who:
                    self.handed |= found.kms_keys
                for snapshot in found.snapshots:
                    at = (place[0], snapshot)
                    had = self.poured.get(at, frozenset())
                    self.poured[at] = had - ((had - marked.get(place, set())) & who.accounts)

    def _judge_quiet(self) -> None:
        for account, here in self._views():
            for found in here.images.values():
                if found.available:
                    self._judge_ami((here.region, found.id), found)
            for arn in here.keys:
                self._judge_key(arn)
            assert account in self.aws

    def _judge_ami(self, place: Place, found: Image) -> None:
        current = self._open_to(place)
        declared, kept = self._declared(place), self._kept(place)
        here = self._here(place)
        for n in self._declarers(place, active=True):
            lacking = self._expected(n, found) - current
            assert not lacking, f"{n} declares {lacking.names()} of {place}"
            kms = self.objects[n].spec.kms
            for arn in found.kms_keys if kms.mode != "None" else ():
                for a in self._who(n).accounts:
                    assert self._granted(arn, a, kms.operations)
                    for p in kms.grantee_principals:
                        self._judge_extra(arn, a, p.replace("{account}", a))
            if kms.mode == "KeyPolicy":
                for arn in found.kms_keys:
                    for one in _reaches(self._who(n)):
                        assert self._let_in(arn, one, kms.operations)
            if self.objects[n].spec.snapshots:
                for s in found.snapshots:
                    assert not self._who(n).accounts - here.volumes[s].accounts
        allowed = declared | kept
        if self._authoritative(place):
            assert not current - allowed, "and nobody else"
        passive = NOBODY
        for n in self.objects:
            if self._passive(n):
                passive |= recorded(self.objects[n].status).get(place, NOBODY)
        leaked = self.given.get(place, NOBODY) - allowed - passive
        assert not leaked, f"nobody declares {leaked.names()} of {place} any more"
        for s in found.snapshots:
            some = set(passive.accounts) | set(kept.accounts)
            for n in self._declarers(place):
                if self.objects[n].spec.snapshots:
                    some |= self._who(n).accounts
            assert not self.poured.get((place[0], s), frozenset()) - some, "volumes of nobody"

    def _judge_extra(self, arn: str, account: str, principal: str) -> None:
        if f"::{account}:" in principal:
            there = self._key(arn)[1].grants[arn]
            assert any(g.principal == principal and g.name.startswith(PREFIX) for g in there)

    def _expected(self, name: str, found: Image) -> Principals:
        """Who must be in for a share, by AWS's rules alone."""
        who, mode = self._who(name), self.objects[name].spec.kms.mode
        if not found.encrypted:
            return who
        accounts = Principals(who.accounts)
        if mode != "Grant":
            return replace(who, public=False)
        for arn in (*who.organizations, *who.units):
            organization, _, unit = _reach(arn).partition("/")
            policies = [_less_own(self._key(k)[2]) for k in found.kms_keys]
            if all(rules.policy_allows(p, organization, unit or None) for p in policies):
                accounts |= Principals(organizations=frozenset({arn} & {ORG}),
                                       units=frozenset({arn} & {OU}))  # fmt: skip
        return accounts

    def _judge_key(self, arn: str) -> None:
        """No grant and no place is there that nobody declares."""
        accounts: set[str] = set()
        names: set[str] = set()
        dead = False
        for n, found in self.objects.items():
            mode = found.spec.kms.mode
            unsure = self._passive(n) or not self._complete(n, self._key(arn)[0])
            if any(p in self._selected(n) for p in self._under(arn)) or unsure:
                accounts |= self._who(n).accounts if mode != "None" else set()
                names |= _reaches(self._who(n)) if mode == "KeyPolicy" else set()
            dead = dead or self._passive(n)
        planned = any(
            (p in self._selected(n) and not self._passive(n))
            for n in self.objects
            for p in self._under(arn)
        )
        if not planned and dead:
            return
        region = arn.split(":")[3]
        for g in self._key(arn)[1].grants[arn]:
            if g.name.startswith(PREFIX):
                assert g.name.split(":")[2] in accounts, f"{g.name} on {arn} in {region}"
                assert g.principal.startswith("arn:"), "a dead grant is left"
        if not (planned and not any(self._edits(n, arn) for n in self.objects)) or not dead:
            assert _named(self._own(arn)) <= names

    def _edits(self, name: str, arn: str) -> bool:
        return (
            not self._passive(name)
            and self.objects[name].spec.kms.mode == "KeyPolicy"
            and any(p in self._selected(name) for p in self._under(arn))
        )


def _view(region: str, images: list[Image], arns: list[str], policy: dict[str, Any]) -> RegionView:
    volumes = {s: NOBODY for i in images for s in i.snapshots}
    keys = [key(k, policy=policy) for k in arns]
    return view(region, images, keys=keys, volumes=volumes)


def _named(one: Mapping[str, Any] | None) -> set[str]:
    """Whom a statement names, however it is written."""
    text = str(one["Condition"]) if one else ""
    names = {f"{ORG_ID}/{OU_ID}"} if OU_ID in text else set()
    rest = text.replace(f"{ORG_ID}/*/{OU_ID}", "")
    return names | ({ORG_ID} if ORG_ID in rest else set())


def _less_own(found: Key) -> dict[str, Any]:
    assert found.policy is not None
    return {**found.policy, "Statement": [s for s in found.policy["Statement"]
                                          if s.get("Sid") != SID]}  # fmt: skip


def _stage(action: AnyAction) -> int:
    match action:
        case CreateGrant():
            return 1
        case PutKeyPolicy():
            return 3 if action.remove else 1
        case RevokeGrant():
            return 3
        case _:
            return 2


def _ready(
    batch: Iterable[AnyAction], before: Iterable[Result]
) -> tuple[list[AnyAction], list[Result]]:
    """As reconcile.apply does: what is not tried, since what must come before failed."""
    failed: set[tuple[str, str]] = set()
    unmade: set[str] = set()
    kept_open: set[str] = set()
    for result in before:
        match result.action:
            case _ if result.done:
                pass
            case CreateGrant() as grant:
                unmade.add(grant.name)
                failed |= set() if grant.extra else {(grant.account, grant.key)}
            case PutKeyPolicy() as put:
                failed |= {(name, put.key) for name in put.add}
            case ModifyLaunchPermission() | ModifySnapshotPermission() as permission:
                kept_open.add(permission.image)
    ready: list[AnyAction] = []
    skipped: list[Result] = []
    for action in batch:
        match action:
            case ModifyLaunchPermission() | ModifySnapshotPermission():
                lacking = frozenset(a for a, k in action.needs if (a, k) in failed)
                add = without(action.add, lacking)
                if add or action.remove:
                    ready.append(replace(action, add=add))
                if lacking:
                    lost = replace(action, add=action.add - add, remove=NOBODY)
                    skipped.append(Result(lost, FLAKY))
            case RevokeGrant() if action.replaced_by in unmade or kept_open & {*action.images}:
                skipped.append(Result(action, FLAKY))
            case PutKeyPolicy() if kept_open & {*action.images}:
                skipped.append(Result(action, FLAKY))
            case _:
                ready.append(action)
    return ready, skipped


TestSequences = Sequences.TestCase
TestSequences.settings = settings(
    max_examples=150,
    stateful_step_count=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large,
                           HealthCheck.filter_too_much],
)  # fmt: skip
