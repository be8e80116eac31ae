"""What held an AMI back is asked anew, as of now, before the AMI goes."""

from dataclasses import replace
from typing import Any

from planworld import HOME, NOW, ami, ours, view, wanted, world

from gilder.api.goldenimage import Published, Retiring
from gilder.core.abroad import keeping
from gilder.core.actions import DeregisterImage, DisableImage, ProtectImage
from gilder.core.observed import Image, Use
from gilder.core.plan import Draft, Plan, freeze
from gilder.core.retention import Retirement, Standing, asked, plan_retention
from gilder.core.wanted import Memory, Wanted

OLD, NEW = ours(1, version=1), ours(2, version=2, fingerprint="f2")
BEFORE = "2029-12-25T00:00:00Z"


def want_of(held_by: str, action: str = "Deregister", **retention: Any) -> Wanted:
    rules = {"keep": 1, "unusedFor": "0m", "checkOtherAccounts": False, **retention}
    told = Retiring(
        id=OLD.id, region=HOME, version=1, action=action, since=BEFORE, at=BEFORE, held_by=held_by
    )
    return wanted(Memory(latest=2, highest=2, retiring={OLD.id: told}), retention=rules)


def look(want: Wanted, use: Use, old: Image = OLD) -> tuple[Plan, Retirement]:
    draft = Draft()
    seen = world(view(HOME, [old, NEW]))
    standing = Standing(released=2, candidate=2)
    found = plan_retention(want, [old, NEW], seen, standing, {old.id: use}, NOW, draft)
    return freeze(draft), found


def again(want: Wanted, found: Retirement) -> Wanted:
    return replace(want, memory=replace(want.memory, retiring={r.id: r for r in found.retiring}))


def test_what_is_held_is_asked_about_now_and_then() -> None:
    assert asked(want_of("ec2:Instance i-1"), NOW) == {HOME: {ami(1): False}}
    assert asked(want_of(""), NOW) == {HOME: {ami(1): True}}


def test_an_answer_from_before_does_not_let_it_go() -> None:
    want = want_of("ec2:Instance i-1")
    first, told = look(want, Use(old=True))
    assert first.actions == ()
    assert [r.held_by for r in told.retiring] == [""]
    assert first.retry_after is not None
    assert first.retry_after <= 1
    want = again(want, told)
    assert asked(want, NOW) == {HOME: {ami(1): True}}
    held, told = look(want, Use(by=("ec2:Instance i-2",)))
    assert held.actions == ()
    assert told.retiring[0].held_by == "ec2:Instance i-2"
    gone, _ = look(want, Use())
    assert [type(a) for a in gone.actions] == [DeregisterImage]


def test_the_same_before_it_is_disabled() -> None:
    rules = {"keep": None, "disableAfter": "1d"}
    want = want_of("ec2:Instance i-1", "Disable", **rules)
    first, told = look(want, Use(old=True))
    assert first.actions == ()
    gone, _ = look(again(want, told), Use())
    assert [type(a) for a in gone.actions] == [DisableImage]


def test_protection_of_others_that_was_turned_off_does_not_hurry() -> None:
    """While it held the AMI nobody looked at what uses it."""
    protected = replace(OLD, protection="enabled-without-cooldown")
    held, told = look(want_of(""), Use(), protected)
    assert held.actions == ()
    assert "protection" in told.retiring[0].held_by
    want = again(want_of(""), told)
    first, told = look(want, Use(old=True))
    assert first.actions == ()
    gone, _ = look(again(want, told), Use())
    assert [type(a) for a in gone.actions] == [DeregisterImage]


def test_protection_of_our_own_is_taken_off_on_a_new_answer_alone() -> None:
    protected = replace(OLD, protection="enabled-without-cooldown")
    want = want_of("ec2:Instance i-1", deregistrationProtection="Enabled")
    first, told = look(want, Use(old=True), protected)
    assert OLD.id not in {getattr(a, "image", "") for a in first.actions}
    want = again(want, told)
    second, told = look(want, Use(), protected)
    assert ProtectImage(region=HOME, image=OLD.id, mode="disabled") in second.actions
    assert asked(again(want, told), NOW) == {HOME: {ami(1): True}}


def test_a_parameter_of_ours_in_a_consumer_account_holds_it_whoever_is_asked() -> None:
    told = Published(
        kind="Parameter", name="/golden/base", region=HOME, account="222222222222",
        image_id=OLD.id, version=1, message="AccessDenied: no",
    )  # fmt: skip
    want = want_of("", checkOtherAccounts=False)
    want = replace(want, memory=replace(want.memory, published=(told,)))
    held, found = look(want, keeping(want, {OLD.id: Use()})[OLD.id])
    assert held.actions == ()
    assert "account 222222222222" in found.retiring[0].held_by
