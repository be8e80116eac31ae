"""Access that must not be lost, kept or given by accident: odd orders of what may change."""

from dataclasses import replace
from typing import Any

import pytest
from planworld import (
    CLUSTER,
    GOLDEN,
    HOME,
    HOME_KEY,
    NOW,
    ORG,
    ORG_ID,
    OTHER_KEY,
    A,
    B,
    C,
    accounts,
    ami,
    gilded,
    grant,
    key,
    kinds,
    ours,
    reasons,
    share,
    view,
    world,
)

from gilder.api.imageshare import ImageShare, Temporary
from gilder.api.metadata import Metadata
from gilder.core import tenancy
from gilder.core.actions import CreateGrant, ModifyLaunchPermission, PutKeyPolicy
from gilder.core.declared import declare
from gilder.core.observed import Observed, Principals, Problem
from gilder.core.plan import Draft
from gilder.core.report_share import report_share
from gilder.core.results import Result
from gilder.core.shares import Gilded, Share
from gilder.core.sharing import SharePlan, plan_share
from gilder.core.statements import plan_policies, statement

PLACE = (HOME, ami(1))
REGIONS = {GOLDEN: frozenset({HOME})}


def open_to(*who: str) -> Observed:
    """AMI 1 of team/base, encrypted, open to these accounts with their grants."""
    given = [grant(w) for w in who]
    one = ours(1, key=HOME_KEY)
    return world(view(HOME, [one], permissions={ami(1): accounts(*who)}, grants={HOME_KEY: given}))


def planned(mine: Share, *others: Share, golden: Gilded, seen: Observed) -> SharePlan:
    return plan_share(mine, others, [golden], REGIONS, seen, CLUSTER)


def held(**changes: Any) -> Share:
    """A share of another namespace that has opened AMI 1 to A."""
    ref = changes.pop("imageRef", {"name": "base", "namespace": "team"})
    return share(
        "theirs",
        namespace="shop",
        imageRef=ref,
        accounts=[A],
        recorded={PLACE: accounts(A)},
        recorded_keys=[(HOME, HOME_KEY)],
        **changes,
    )


def test_a_golden_image_that_cannot_be_read_takes_nothing_from_other_namespaces() -> None:
    golden = gilded(0, unreadable=True)
    plan = planned(held(), golden=golden, seen=open_to(A))
    assert not plan.plan.actions
    assert plan.plan.waiting == ("GoldenImage team/base to have a valid spec",)


def test_nor_in_another_account() -> None:
    mine = replace(held(), part="111111111111", homes={PLACE: "111111111111"})
    plan = planned(mine, golden=gilded(0, unreadable=True), seen=open_to(A))
    assert not plan.plan.actions


def test_nor_from_shares_by_id() -> None:
    one = ours(1, key=HOME_KEY)
    mine = held(imageRef={"images": [{"id": one.id, "region": HOME}]})
    for goldens in ([], [gilded(0, unreadable=True)]):
        plan = plan_share(mine, (), goldens, REGIONS, open_to(A), CLUSTER)
        assert not plan.plan.actions
        assert reasons(plan.plan.problems) == ["NamespaceNotAllowed"]
    plan = planned(mine, golden=gilded(), seen=open_to(A))
    assert kinds(plan.plan.actions) == ["ModifyLaunchPermission", "RevokeGrant"]


# An owner who has changed his mind is not outwitted by what the share turns into.
EVASIONS: dict[str, dict[str, Any]] = {
    "suspended": {"suspend": True},
    "observing": {"managementPolicy": "Observe"},
    "of another image, which is not there": {"imageRef": {"name": "nowhere"}},
}


@pytest.mark.parametrize("mode", ["Authoritative", "Additive"])
@pytest.mark.parametrize("evasion", [*EVASIONS, "unreadable"])
def test_who_is_shut_out_keeps_nothing(evasion: str, mode: str) -> None:
    theirs = held(**EVASIONS.get(evasion, {}))
    if evasion == "unreadable":
        theirs = replace(theirs, unreadable="spec.temporary: no such time")
    mine = share("mine", accounts=[B], mode=mode, recorded={PLACE: accounts(B)})
    closed = gilded()
    plan = planned(mine, theirs, golden=closed, seen=open_to(A, B))
    if evasion == "of another image, which is not there":
        # That share acts itself.
        if mode == "Additive":
            assert not plan.plan.actions
        plan = planned(theirs, mine, golden=closed, seen=open_to(A, B))
    assert kinds(plan.plan.actions) == ["ModifyLaunchPermission", "RevokeGrant"]
    let_in = gilded(allowed_namespaces=("shop",))
    for one, other in ((mine, theirs), (theirs, mine)):
        plan = planned(one, other, golden=let_in, seen=open_to(A, B))
        assert not plan.plan.actions, "as long as it is let in, what it gave is held"


def test_a_list_that_may_not_be_read_makes_nobody_a_friend() -> None:
    """Else it could keep whomever the owner of the image wants to be rid of."""
    theirs = replace(held(accountsFrom=[{"ssmParameter": {"name": "/a", "region": HOME}}]))
    source = theirs.spec.accounts_from[0].source
    refused = declare(theirs, {source: Problem("ListNotAllowed", "no")}, NOW)
    assert not refused.uncertain
    assert declare(theirs, {source: Problem("ListNotFound", "no")}, NOW).uncertain


def test_an_end_that_is_none_in_utc_is_told() -> None:
    for until in ("9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"):
        with pytest.raises(ValueError, match="no such time"):
            Temporary(account=A, until=until)


def test_one_key_of_two_is_not_both() -> None:
    """Whose second grant fails cannot launch, and status says so."""
    one = ours(1, key=HOME_KEY)
    two = replace(one, kms_keys=frozenset({HOME_KEY, OTHER_KEY}))
    seen = world(view(HOME, [two], grants={OTHER_KEY: ()}))
    mine = share("mine", accounts=[A])
    plan = planned(mine, golden=gilded(), seen=seen)
    problem = Problem("AccessDenied", f"no grants on {OTHER_KEY}")
    results = [
        Result(a, problem if a.key == OTHER_KEY else None)
        for a in plan.plan.actions
        if isinstance(a, CreateGrant)
    ]
    asked = ImageShare(metadata=Metadata(name="mine", namespace="team"), spec=mine.spec)
    status, _ = report_share(asked, mine, plan, results, NOW)
    (lack,) = status.lacking
    assert (lack.principal, lack.key_access, lack.message) == (A, "Missing", problem.message)


def test_snapshots_of_a_disabled_ami_are_closed_too() -> None:
    one = ours(1, state="disabled")
    there = replace(view(HOME, [one]), permissions={})
    seen = world(replace(there, volumes={one.snapshots[0]: accounts(A)}))
    mine = share("mine", recorded={PLACE: accounts(A)}, recorded_volumes=[PLACE], leaving=True)
    plan = planned(mine, golden=gilded(), seen=seen)
    assert kinds(plan.plan.actions) == ["ModifySnapshotPermission"]
    plan = planned(mine, golden=gilded(), seen=world(there))
    assert not plan.plan.settled, "it is not let go of before its snapshots were looked at"


def test_a_list_that_grew_too_long_lets_nobody_in_and_takes_from_nobody() -> None:
    mine = share("mine", accountsFrom=[{"configMap": {"name": "m"}}], recorded={PLACE: accounts(A)})
    source = mine.spec.accounts_from[0].source

    def judged(most: int, *listed: str) -> Principals:
        rule = replace(tenancy.OPEN, max_principals=most)
        found = declare(mine, {source: listed}, NOW, lambda who: tenancy.judge(rule, who, "team"))
        assert found.declared is not None
        assert bool(found.refused) is (len(listed) > most)
        return found.declared

    assert judged(2, A, B) == accounts(A, B)
    assert judged(1, A, B) == accounts(A)
    assert judged(1, B, C) == accounts(), "who left the list is let go"
    assert judged(1, B) == accounts(B)


def test_a_selector_tells_nothing_of_images_that_let_nobody_in() -> None:
    """Neither their names nor a refusal that never ends."""
    some = {"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}
    theirs = held(imageRef={"selector": some, "namespace": "team"})
    closed = gilded(labels={"tier": "web"})
    plan = planned(theirs, golden=closed, seen=open_to(A))
    assert kinds(plan.plan.actions) == ["ModifyLaunchPermission", "RevokeGrant"]
    assert not plan.plan.problems
    assert "base" not in " ".join(plan.plan.waiting)
    opened = replace(closed, key="team/open", name="open", allowed_namespaces=("shop",))
    plan = plan_share(theirs, (), [closed, opened], REGIONS, open_to(A), CLUSTER)
    assert plan.resolution.waiting == ()
    assert not plan.plan.problems


def test_who_is_not_wanted_makes_room_in_a_full_key_policy() -> None:
    old = [f"{ORG_ID}/ou-abcd-old{n:029d}" for n in range(300)]
    new = [f"{ORG_ID}/ou-abcd-new{n:029d}" for n in range(300)]
    place = (HOME, HOME_KEY)

    def planned_policy(there: list[str], want: list[str]) -> Draft:
        policy = {"Statement": [statement(CLUSTER, there, ["Decrypt"])] if there else []}
        seen = world(view(HOME, keys=[key(HOME_KEY, policy=policy)]))
        draft = Draft()
        wanted = {place: dict.fromkeys(want, frozenset({"Decrypt"}))}
        plan_policies(CLUSTER, [place], wanted, {}, seen, draft)
        return draft

    first = planned_policy(old, new)
    (change,) = first.actions
    assert isinstance(change, PutKeyPolicy)
    assert (change.add, change.remove) == ((), tuple(sorted(old)))
    (change,) = planned_policy([], new).actions
    assert isinstance(change, PutKeyPolicy)
    assert change.add == tuple(sorted(new))
    assert reasons(planned_policy(old, [*old, *new]).problems) == ["KeyPolicyTooLarge"]


def test_status_has_room_for_the_grants_of_many_accounts() -> None:
    many = [f"{n:012d}" for n in range(200000000000, 200000001000)]
    role = "arn:aws:iam::{account}:role/" + "r" * 40
    kms = {"operations": ["Decrypt"], "granteePrincipals": [role + "1", role + "2"]}
    given = [grant(w) for w in many]
    for n in ("1", "2"):
        given += [grant(role.replace("{account}", a) + n) for a in many]
    seen = world(view(HOME, [ours(1, key=HOME_KEY)], grants={HOME_KEY: given}))
    mine = share("mine", accounts=many, kms=kms)
    asked = ImageShare(metadata=Metadata(name="mine", namespace="team"), spec=mine.spec)
    plan = planned(mine, golden=gilded(), seen=seen)
    assert len(plan.grants) == 3000
    status, _ = report_share(asked, mine, plan, (), NOW)
    assert len(status.grants) == 2000
    assert len(status.model_dump_json(by_alias=True)) < 1_000_000


def test_an_organization_waits_for_its_statement() -> None:
    policy = {"Statement": [{"Sid": "Own", "Effect": "Allow", "Action": "kms:*"}]}
    one = ours(1, key=HOME_KEY)
    seen = world(view(HOME, [one], keys=[key(HOME_KEY, policy=policy)]))
    kms = {"mode": "KeyPolicy", "operations": ["Decrypt"]}
    plan = planned(share("mine", organizations=[ORG], kms=kms), golden=gilded(), seen=seen)
    first, then = plan.plan.actions
    assert (first.kind, then.kind) == ("PutKeyPolicy", "ModifyLaunchPermission")
    assert isinstance(then, ModifyLaunchPermission)
    assert then.needs == {(ORG_ID, HOME_KEY)}
    assert plan.states[0].keyless == {ORG_ID}
