"""More goes than status has room for: each has its turn, and nothing is asked again and again."""

from collections.abc import Collection

from planworld import HOME, NOW, ours, view, wanted, world

from gilder.api.goldenimage import Retiring
from gilder.core.observed import Use
from gilder.core.plan import Draft, Plan, freeze
from gilder.core.retention import MOST_RETIRING, Retirement, Standing, plan_retention
from gilder.core.wanted import Memory, Wanted

MANY = 150
OLD = [ours(n, version=n, fingerprint=f"f{n}") for n in range(1, MANY + 1)]
NEW = ours(900, version=900, fingerprint="new")
RULES = {"keep": 1, "unusedFor": "0m", "checkOtherAccounts": False, "gracePeriod": "0m"}
HELD = Use(by=("ec2:Instance i-1",))


def want_of(retiring: tuple[Retiring, ...]) -> Wanted:
    memory = Memory(latest=900, highest=900, retiring={r.id: r for r in retiring})
    return wanted(memory, retention=RULES)


def look(want: Wanted, uses: dict[str, Use], gone: Collection[str] = ()) -> tuple[Plan, Retirement]:
    draft = Draft()
    there = [i for i in (*OLD, NEW) if i.id not in gone]
    seen, standing = world(view(HOME, there)), Standing(released=900, candidate=900)
    found = plan_retention(want, there, seen, standing, uses, NOW, draft)
    return freeze(draft), found


def test_what_is_held_does_not_keep_the_rest_from_its_turn() -> None:
    used = {i.id for i in OLD[:MOST_RETIRING]}
    told: tuple[Retiring, ...] = ()
    gone: set[str] = set()
    for _ in range(10):
        uses = {r.id: HELD if r.id in used else Use() for r in told}
        plan, found = look(want_of(told), uses, gone)
        gone |= {getattr(a, "image", "") for a in plan.actions}
        told = found.retiring
        assert len(told) <= MOST_RETIRING
    assert gone == {i.id for i in OLD[MOST_RETIRING:]}


def test_when_all_are_held_it_comes_to_rest() -> None:
    told: tuple[Retiring, ...] = ()
    for _ in range(5):
        plan, found = look(want_of(told), {r.id: HELD for r in told})
        told = found.retiring
        assert plan.actions == ()
        assert plan.retry_after is not None
        assert plan.retry_after >= 60


def test_what_was_announced_first_stays_announced() -> None:
    _, found = look(want_of(()), {})
    earlier = tuple(replace_since(r) for r in found.retiring[:30])
    _, after = look(want_of(earlier), {})
    assert {r.id for r in earlier} <= {r.id for r in after.retiring}


def replace_since(told: Retiring) -> Retiring:
    return told.model_copy(update={"since": "2029-01-01T00:00:00Z"})
