"""Invariants of plan_share over random small worlds, with `predict` in the place of AWS."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planworld import (
    CLUSTER,
    DR,
    DR_KEY,
    GOLDEN,
    HOME,
    HOME_KEY,
    ORG,
    ORG_ID,
    OTHER_KEY,
    A,
    B,
    C,
    D,
    accounts,
    gilded,
    grant,
    key,
    ours,
    share,
    view,
    world,
)

from gilder.core.actions import AnyAction, CreateGrant, ModifyLaunchPermission, RevokeGrant
from gilder.core.grants import grant_prefix, principal_of
from gilder.core.observed import NOBODY, Grant, Image, Observed, Principals
from gilder.core.predict import predict
from gilder.core.rules import policy_statement
from gilder.core.shares import Gilded, Place, Share, resolve
from gilder.core.sharing import SharePlan, plan_share

EVERYONE = (A, B, C, D)
IMAGES = {
    (HOME, 1): HOME_KEY,
    (HOME, 2): HOME_KEY,
    (HOME, 3): OTHER_KEY,
    (DR, 1): DR_KEY,
    (DR, 2): DR_KEY,
}
OPERATIONS = (("Decrypt",), ("CreateGrant", "Decrypt"))
WHERE = {GOLDEN: frozenset({HOME, DR})}
ROUNDS = 5  # passes over all shares until nothing is left to do
FOREIGN_NAMES = ("", "theirs", f"gilder:{CLUSTER}-2:{A}:000000000000", f"gilder:{CLUSTER}:x")


@dataclass(frozen=True)
class Case:
    """A world and its shares."""

    seen: Observed
    shares: tuple[Share, ...]
    golden: Gilded


who = st.frozensets(st.sampled_from(EVERYONE), max_size=4)


@st.composite
def principals(draw: st.DrawFn, public: bool) -> Principals:
    return Principals(
        draw(who),
        frozenset({ORG} if draw(st.booleans()) else ()),
        public=public and draw(st.booleans()),
    )


@st.composite
def grants(draw: st.DrawFn, arn: str) -> list[Grant]:
    found = []
    for n in range(draw(st.integers(0, 3))):
        account = draw(st.sampled_from(EVERYONE))
        one = grant(account, arn, draw(st.sampled_from(OPERATIONS)), id=f"{arn[-4:]}-{n}")
        match draw(st.sampled_from(("alive", "alive", "dead", "foreign"))):
            case "dead":
                one = replace(one, principal=f"AROA{n}")
            case "foreign":
                one = replace(one, name=draw(st.sampled_from(FOREIGN_NAMES)))
        found.append(one)
    return found


@st.composite
def cases(draw: st.DrawFn) -> Case:
    images: list[Image] = []
    for number, ((region, version), arn) in enumerate(IMAGES.items(), 1):
        if draw(st.integers(0, 4)):
            role = "home" if region == HOME else "replica"
            encrypted = arn if draw(st.booleans()) else None
            images.append(ours(number, region, version=version, role=role, key=encrypted))
    policies = [None, {"Statement": [policy_statement(ORG_ID, None)]}]
    views = []
    for region in (HOME, DR):
        here = [i for i in images if i.region == region]
        used = sorted({k for i in here for k in i.kms_keys})
        views.append(
            view(
                region,
                here,
                permissions={i.id: draw(principals(public=not i.encrypted)) for i in here},
                grants={k: draw(grants(k)) for k in used},
                keys=[key(k, policy=draw(st.sampled_from(policies))) for k in used],
                public_blocked=draw(st.booleans()),
            )
        )
    shares = tuple(draw(declarations(n, images)) for n in range(draw(st.integers(1, 3))))
    latest = draw(st.integers(0, 3))
    return Case(world(*views), shares, gilded(latest))


@st.composite
def declarations(draw: st.DrawFn, number: int, images: Sequence[Image]) -> Share:
    public = draw(st.booleans())
    some = draw(st.lists(st.sampled_from(images), unique_by=lambda i: i.id)) if images else []
    places = {(i.region, i.id): draw(principals(public=True)) for i in some}
    by_id = draw(st.booleans())
    plain = some if some and by_id else None
    passive: dict[str, Any] = {"suspend": True} if draw(st.integers(0, 5)) == 0 else {}
    return share(
        f"share-{number}",
        namespace=draw(st.sampled_from(("team", "team", "else"))) if plain else "team",
        images=plain,
        recorded={p: w for p, w in places.items() if w} if draw(st.booleans()) else {},
        leaving=draw(st.integers(0, 4)) == 0,
        operations=None,
        accounts=sorted(draw(who)),
        organizations=[ORG] if draw(st.booleans()) else [],
        public=public,
        confirmPublic=public,
        kms={
            "mode": draw(st.sampled_from(("Grant", "Grant", "None"))),
            "operations": draw(st.sampled_from(OPERATIONS)),
        },
        mode=draw(st.sampled_from(("Authoritative", "Additive"))),
        versions=draw(
            st.sampled_from(
                ({"select": "Latest"}, {"select": "All"}, {"select": "Newest", "count": 2})
            )
        ),
        regions=draw(st.sampled_from(((), (), (HOME,)))),
        **passive,
    )


class World:
    """The world as it goes on; every action is judged before it is applied."""

    def __init__(self, case: Case) -> None:
        self.seen, self.golden = case.seen, case.golden
        self.first = case.seen
        self.shares = {s.key: s for s in case.shares}
        self.recorded_first = {p: w for s in case.shares for p, w in s.recorded.items()}

    # What is declared, worked out anew and without the code under test but for resolve()

    def targets(self, one: Share) -> dict[Place, Image]:
        found = resolve(one, [self.golden], self.seen, CLUSTER, WHERE).targets
        return {(t.region, t.image_id): t.image for t in found if t.image}

    def declaring(self, place: Place, *, passive: bool = True) -> list[Share]:
        return [
            s
            for s in self.shares.values()
            if not s.leaving and (passive or not s.passive) and place in self.targets(s)
        ]

    def declared(self, place: Place, *, passive: bool = True) -> Principals:
        total = NOBODY
        for one in self.declaring(place, passive=passive):
            total |= one.principals
        return total

    def kept(self, place: Place) -> Principals:
        """On record of a share that is passive or not wholly resolved, and declared by it."""
        total = NOBODY
        for one in self.shares.values():
            known = resolve(one, [self.golden], self.seen, CLUSTER, WHERE).complete
            if not one.leaving and (one.passive or not known):
                total |= one.recorded.get(place, NOBODY) & one.principals
        return total

    def authoritative(self, place: Place) -> bool:
        return any(s.spec.mode == "Authoritative" for s in self.declaring(place, passive=False))

    def needs_grant(self, place: Place, account: str) -> bool:
        return any(
            s.spec.kms.mode == "Grant" and account in s.principals.accounts
            for s in self.declaring(place, passive=False)
        )

    def alive(self, region: str, arn: str, account: str) -> bool:
        return any(
            g.principal == principal_of(account, arn) and g.name.startswith(grant_prefix(CLUSTER))
            for g in self.seen.region(region).grants[arn]
        )

    # Going on

    def plan(self, name: str) -> SharePlan:
        others = [s for k, s in self.shares.items() if k != name]
        return plan_share(self.shares[name], others, [self.golden], WHERE, self.seen, CLUSTER)

    def turn(self, name: str) -> tuple[AnyAction, ...]:
        result = self.plan(name)
        for action in result.plan.actions:
            self.judge(action)
            self.seen = predict(self.seen, [action])
            self.judge_after(action, self.shares[name])
        self.record(name, result)
        return result.plan.actions

    def record(self, name: str, result: SharePlan) -> None:
        """As status does."""
        one = self.shares[name]
        states = {(s.target.region, s.target.image_id): s for s in result.states}
        claims = {p: w for p, w in one.recorded.items() if p not in states}
        claims |= {p: s.declared for p, s in states.items() if s.declared}
        keys = {(a.region, a.key) for a in result.plan.actions if isinstance(a, CreateGrant)}
        self.shares[name] = replace(one, recorded=claims, recorded_keys=one.recorded_keys | keys)

    def converge(self) -> None:
        """Until a whole pass changes nothing."""
        for _ in range(ROUNDS):
            active = [k for k, s in self.shares.items() if not s.passive]
            if not [a for name in active for a in self.turn(name)]:
                return
        raise AssertionError("the plans do not come to an end")

    # Judging

    def judge(self, action: AnyAction) -> None:
        if isinstance(action, ModifyLaunchPermission):
            place = (action.region, action.image)
            current = self.seen.region(action.region).permissions[action.image]
            assert not action.add - self.declared(place, passive=False), "nobody else is let in"
            assert not action.add & current
            assert not action.remove - current
            assert not action.remove & self.declared(place), "what is declared stays"
            assert not action.remove & self.kept(place), "what may be declared stays"
            if not self.authoritative(place):
                assert not action.strangers, "strangers of an Additive AMI stay"
        if isinstance(action, RevokeGrant):
            (gone,) = [
                g for g in self.seen.region(action.region).grants[action.key]
                if g.id == action.grant
            ]  # fmt: skip
            assert gone.name.startswith(grant_prefix(CLUSTER))
            assert gone.name not in FOREIGN_NAMES

    def judge_after(self, action: AnyAction, by: Share) -> None:
        here = self.seen.region(action.region)
        if isinstance(action, ModifyLaunchPermission) and by.spec.kms.mode == "Grant":
            for account in action.add.accounts:
                for arn in here.images[action.image].kms_keys:
                    assert self.alive(action.region, arn, account), "the grant comes first"
        if (
            isinstance(action, RevokeGrant)
            and action.principal == principal_of(action.account, action.key)
            and not self.alive(action.region, action.key, action.account)
        ):
            for found in here.images.values():
                place = (action.region, found.id)
                if action.key in found.kms_keys and action.account in (
                    here.permissions[found.id].accounts
                ):
                    assert not self.needs_grant(place, action.account), "the grant goes last"


def expected(w: World, place: Place) -> Principals:
    """Who must be in, by AWS's rules alone."""
    region, image_id = place
    here = w.seen.region(region)
    found = here.images[image_id]
    total = NOBODY
    for one in w.declaring(place, passive=False):
        asked = one.principals
        allowed = accounts(*asked.accounts)
        by_policy = all((k := here.key(arn)) and k.policy for arn in found.kms_keys)
        if one.spec.kms.mode == "None" or by_policy:
            allowed |= Principals(organizations=asked.organizations)
        if asked.public and not found.encrypted and not here.public_blocked:
            allowed |= Principals(public=True)
        total |= allowed
    return total


QUICK = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@QUICK
@given(cases())
def test_plans_come_to_an_end_and_to_what_is_declared(case: Case) -> None:
    w = World(case)
    w.converge()
    for region, here in w.seen.regions.items():
        for image_id, found in here.images.items():
            place = (region, image_id)
            current = here.permissions[image_id]
            before = w.first.region(region).permissions[image_id]
            assert not expected(w, place) - current, "everybody declared is in"
            if w.authoritative(place):
                assert not current - w.declared(place) - w.kept(place), "and nobody else"
                # What AWS's rules refuse is in only where it was before.
                refused = current - expected(w, place)
                assert not refused - before
            else:
                strangers = before - w.recorded_first.get(place, NOBODY) - w.declared(place)
                claimed = NOBODY
                for one in case.shares:
                    claimed |= one.recorded.get(place, NOBODY)
                assert not strangers - claimed - current, "strangers of an Additive AMI stay"
            for arn in found.kms_keys:
                for account in w.declared(place, passive=False).accounts:
                    if w.needs_grant(place, account):
                        assert w.alive(region, arn, account)


@QUICK
@given(cases())
def test_grants_of_nobody_go_and_grants_of_others_stay(case: Case) -> None:
    w = World(case)
    w.converge()
    declared = {a for s in w.shares.values() if not s.leaving for a in s.principals.accounts}
    planned = {
        (p[0], k)
        for s in w.shares.values()
        if not s.passive and not s.leaving
        for p, i in w.targets(s).items()
        for k in i.kms_keys
    }
    for region, here in w.seen.regions.items():
        for arn, now in here.grants.items():
            before = w.first.region(region).grants[arn]
            foreign = [g for g in before if g.name in FOREIGN_NAMES]
            assert [g for g in now if g.name in FOREIGN_NAMES] == foreign
            if (region, arn) not in planned:
                continue
            for g in now:
                if g not in foreign:
                    account = g.name.split(":")[2]
                    assert account in declared
                    # One grant per account, unless a share that is passive keeps an older one.
                    assert g.principal == principal_of(account, arn)


@QUICK
@given(cases())
def test_planning_is_a_function(case: Case) -> None:
    """The same world gives the same plan, whatever the order of the other shares."""
    for one in case.shares:
        others = [s for s in case.shares if s.key != one.key]
        plans = [
            plan_share(one, order, [case.golden], WHERE, case.seen, CLUSTER).plan.actions
            for order in (others, others[::-1])
        ]
        assert plans[0] == plans[1]


@QUICK
@given(cases())
def test_once_all_is_deleted_nothing_of_ours_is_left(case: Case) -> None:
    w = World(case)
    w.converge()
    active = {k: s for k, s in w.shares.items() if not s.passive}
    w.shares = {k: replace(s, leaving=True) for k, s in active.items()}
    given_by_us = {
        p: (s.recorded[p] - w.first.region(p[0]).permissions.get(p[1], NOBODY))
        for s in active.values()
        for p in s.recorded
    }
    touched = {k for s in active.values() for k in s.recorded_keys}
    w.converge()
    assert not any(s.recorded for s in w.shares.values())
    for (region, image_id), was in given_by_us.items():
        assert not was & w.seen.region(region).permissions.get(image_id, NOBODY)
    for region, arn in touched:
        for g in w.seen.region(region).grants[arn]:
            assert g.name in FOREIGN_NAMES
