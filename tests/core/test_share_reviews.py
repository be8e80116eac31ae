"""Access that must not be lost, kept or given by accident: odd orders of what may change."""

from dataclasses import replace

from planworld import (
    CLUSTER,
    GOLDEN,
    HOME,
    HOME_KEY,
    A,
    B,
    accounts,
    ami,
    gilded,
    grant,
    kinds,
    ours,
    reasons,
    share,
    view,
    world,
)

from gilder.core.observed import Observed
from gilder.core.shares import Gilded
from gilder.core.sharing import SharePlan, plan_share
from gilder.core.shares import Share

PLACE = (HOME, ami(1))
REGIONS = {GOLDEN: frozenset({HOME})}


def open_to(*who: str) -> Observed:
    """AMI 1 of team/base, encrypted, open to these accounts with their grants."""
    given = [grant(w) for w in who]
    one = ours(1, key=HOME_KEY)
    return world(
        view(HOME, [one], permissions={ami(1): accounts(*who)}, grants={HOME_KEY: given})
    )


def planned(mine: Share, *others: Share, golden: Gilded, seen: Observed) -> SharePlan:
    return plan_share(mine, others, [golden], REGIONS, seen, CLUSTER)


def held(**changes: object) -> Share:
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
