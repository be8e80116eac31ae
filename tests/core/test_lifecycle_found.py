"""What sequences of the lifecycle have found, each told by itself."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from lifecycleworld import KEYS, Life
from planworld import (
    DR,
    FOREIGN,
    HOME,
    NOW,
    ami,
    image,
    kinds,
    ours,
    print_of,
    reasons,
    view,
    wanted,
    world,
)

from gilder.api.goldenimage import Leftover, Retiring
from gilder.api.names import APPROVE, PROMOTE, REJECT, TAG_RELEASE, TAG_ROLE
from gilder.aws import useview
from gilder.core import needs
from gilder.core.actions import TagResources
from gilder.core.deletion import plan_deletion
from gilder.core.observed import Image, Use
from gilder.core.times import moment, rfc3339
from gilder.core.versions import plan_image
from gilder.core.wanted import Known, Memory, Source, remember

SOON_GONE = {"keep": 1, "gracePeriod": "0m", "checkOtherAccounts": False}
ADOPTED = ours(1, fingerprint=print_of(ami(1)))


def life(versions: int = 0, **spec: Any) -> Life:
    found = Life(spec)
    found.settle()
    for _ in range(versions):
        follow(found)
    return found


def follow(w: Life) -> None:
    w.source = w.cloud.source(FOREIGN)
    w.sources.append(w.source)
    w.settle()


def of_version(w: Life, version: int, region: str = HOME) -> Image:
    (found,) = [i for i in w.cloud.owned() if i.version == version and i.region == region]
    return found


def beside(w: Life, first: Image) -> Image:
    """Another AMI in its Region."""
    return next(i for i in w.cloud.owned() if i.region == first.region and i.id != first.id)


def after_a_failed_copy(*, told: bool) -> tuple[Life, Image, Image]:
    """A copy that failed, and the one made after it, which status is told of or not."""
    w = life()
    w.spec["replicas"] = [{"region": DR}]
    w.reconcile()
    first = of_version(w, 1, DR)
    w.cloud.settle(first, fails=True)
    w.cloud.now += timedelta(minutes=2)
    w.reconcile(write=told)
    return w, first, beside(w, first)


def test_the_snapshot_of_the_last_good_version_stays_and_is_told_of() -> None:
    w = life(retention=SOON_GONE)
    part = of_version(w, 1).snapshots[0]
    w.cloud.deregister(of_version(w, 1), snapshots=False)
    w.source = image(99)  # which does not exist
    for _ in range(5):
        w.reconcile()
        w.cloud.now += timedelta(days=2)
    assert part in w.cloud.snapshots
    assert [s.id for s in w.written.status.leftovers] == [part]
    w.source = w.sources[0]
    w.settle()
    assert part not in w.cloud.snapshots, "once there is another AMI of it, it goes"


def test_an_ami_goes_by_what_uses_it_now() -> None:
    """What is known of an AMI that something keeps may be minutes old."""
    w = life(versions=1, retention={**SOON_GONE, "gracePeriod": "1h"})
    assert 1 not in {i.version for i in w.cloud.owned()}
    w.cloud.used.add(of_version(w, 2).id)
    w.source = w.cloud.source(FOREIGN)
    w.settle()
    assert w.written.status.retiring[0].held_by
    w.cloud.used.clear()
    w.cloud.now += timedelta(hours=1)
    kept = of_version(w, 2).id
    w._uses({HOME: {kept: False}})  # somebody else looks: nothing uses it
    w.cloud.used.add(kept)
    w.cloud.now += timedelta(minutes=5)
    w.reconcile()
    w.reconcile()
    assert kept in w.cloud.images


@pytest.mark.parametrize("age", [2, 25])
def test_an_old_usage_report_is_asked_for_again(age: int) -> None:
    at = rfc3339(NOW - timedelta(hours=age))
    told = Use(others=("1 ec2:Instance of account 222222222222",), report="available",
               reported_at=at)  # fmt: skip
    plan = plan_deletion(
        wanted(deletionPolicy="Delete"), world(view(HOME, [ADOPTED])), {ami(1): told}, NOW
    )
    assert kinds(plan.actions) == ["ReportUsage"]
    assert plan.problems == ()
    now = Use(told.by, told.others, told.report, rfc3339(NOW))
    plan = plan_deletion(
        wanted(deletionPolicy="Delete"), world(view(HOME, [ADOPTED])), {ami(1): now}, NOW
    )
    assert plan.actions == ()
    assert reasons(plan.problems) == ["ImageInUse"]


def test_a_retired_ami_that_other_accounts_let_go_of_goes() -> None:
    w = life(retention={"keep": 1, "gracePeriod": "10m"})
    w.cloud.abroad.add(of_version(w, 1).id)
    follow(w)
    assert "222222222222" in w.written.status.retiring[0].held_by
    w.cloud.abroad.clear()
    w.cloud.now += timedelta(hours=25)
    w.settle()
    w.cloud.now += timedelta(hours=2)
    w.settle()
    assert {i.version for i in w.cloud.owned()} == {2}


def test_a_region_that_is_no_replica_any_more_is_looked_at_while_something_is_there() -> None:
    w = life(replicas=[{"region": DR}])
    w.spec["replicas"] = []
    w.settle()
    copy = of_version(w, 1, DR)
    w.cloud.deregister(copy, snapshots=False)
    for _ in range(4):
        w.reconcile()
    assert [s.id for s in w.written.status.leftovers] == [*copy.snapshots]
    w.judge_settled()


@pytest.mark.parametrize("what", ["retiring", "leftovers"])
def test_what_is_told_of_is_needed(what: str) -> None:
    status = Life({}).written.status
    gone = Retiring(id="snap-1", region=DR, action="DeleteSnapshot", since="", at="")
    told = {"retiring": (gone,), "leftovers": (Leftover(id="snap-1", region=DR),)}[what]
    memory = remember(status.model_copy(update={what: told}))
    assert needs.of_image(wanted(memory)).keys() == {HOME, DR}


def test_a_version_of_a_region_that_only_status_leads_to_stays_in_status() -> None:
    w = life(replicas=[{"region": DR}])
    w.spec["replicas"] = []
    for _ in range(52):
        follow(w)
    versions = [v.version for v in w.written.status.versions]
    assert versions == [*range(53, 3, -1), 1]
    assert DR in needs.of_image(wanted(remember(w.written.status)))


def test_a_number_is_given_once() -> None:
    w = life(
        retention={**SOON_GONE, "keepUnreleased": 0}, promotion={"mode": "Manual"}
    )  # fmt: skip
    w.notes = {PROMOTE: "1"}
    w.settle()
    follow(w)
    assert of_version(w, 2).tags[TAG_RELEASE] == "candidate"
    second = w.source
    w.source = w.sources[0]
    w.settle()
    assert {i.version for i in w.cloud.owned()} == {1}
    w.source = w.cloud.source(FOREIGN)
    w.settle()
    assert {i.version for i in w.cloud.owned()} == {1, 3}
    assert of_version(w, 3).fingerprint != print_of(second.id)


def test_a_key_that_is_changed_back_serves_the_copy_under_it() -> None:
    def replicas(number: int) -> list[dict[str, Any]]:
        return [{"region": DR, "kmsKeyId": KEYS[DR][number]}]

    w = life(retention={**SOON_GONE, "gracePeriod": "30d"}, replicas=replicas(0))
    first = of_version(w, 1, DR)
    w.spec["replicas"] = replicas(1)
    w.reconcile()
    second = beside(w, first)
    w.cloud.settle(second)
    assert w.reconcile().served[DR].id == second.id
    w.spec["replicas"] = replicas(0)
    plan = w.reconcile()
    assert plan.served[DR].id == plan.replicas[DR].id == first.id
    w.cloud.now += timedelta(days=31)
    w.settle()
    assert of_version(w, 1, DR).id == first.id, "the other one is superseded"


def test_a_copy_that_is_gone_is_not_asked_for_by_the_same_token() -> None:
    """AWS answers a token that it knows with the AMI of then, whatever became of it."""
    w = life(replicas=[{"region": DR, "kmsKeyId": KEYS[DR][0]}])
    first = of_version(w, 1, DR)
    w.spec["replicas"] = [{"region": DR, "kmsKeyId": KEYS[DR][1]}]
    w.reconcile(write=False)
    second = beside(w, first)
    w.cloud.settle(second)
    w.cloud.deregister(second, snapshots=True)
    w.settle()
    third = beside(w, first)
    assert third.available
    assert third.kms_keys == {KEYS[DR][1]}


def test_copies_are_marked_as_released_before_home() -> None:
    held = {TAG_RELEASE: "candidate"}
    second = image(2, owner=FOREIGN)
    prints = print_of(ami(2))
    home = ours(3, version=2, fingerprint=prints, tags=held)
    copy = ours(4, DR, version=2, fingerprint=prints, role="replica", tags=held)
    old = ours(5, DR, version=1, fingerprint=ADOPTED.fingerprint, role="replica")
    want = wanted(Memory(latest=1, highest=2), replicas=[{"region": DR}])

    def marked(*images: Image, **changes: Any) -> list[str]:
        here = [i for i in (ADOPTED, second, *images) if i.region == HOME]
        there = [i for i in (old, *images) if i.region == DR]
        seen = world(view(HOME, here), view(DR, there))
        spec = {"replicas": [{"region": DR}], "promotion": {}, **changes}
        plan = plan_image(wanted(want.memory, **spec), Source(image=second), seen, NOW)
        tags = [a for a in plan.plan.actions if isinstance(a, TagResources)]
        return [a.region for a in tags if TAG_RELEASE in a.tags]

    assert marked(home, copy) == [DR]
    released = ours(4, DR, version=2, fingerprint=prints, role="replica")
    assert marked(home, released) == [HOME]
    failed = ours(6, version=2, fingerprint=prints, tags=held, state="failed")
    assert marked(home, failed, released) == [HOME], "what failed is cleared away, not marked"
    follows = {"replicas": "Follow"}
    assert sorted(marked(home, copy, promotion=follows)) == sorted([HOME, DR]), "each by itself"


def test_a_pinned_version_that_never_becomes_visible_is_told_of() -> None:
    asked = rfc3339(NOW - timedelta(minutes=6))
    memory = Memory(images={(2, HOME, "home"): Known(ami(9), False, asked)}, latest=1, highest=2)
    seen = world(view(HOME, [ADOPTED]))
    plan = plan_image(wanted(memory, pinnedVersion=2), Source(image=ADOPTED), seen, NOW)
    assert reasons(plan.plan.problems) == ["PinnedVersionNotFound"]
    assert plan.served[HOME].id == ADOPTED.id


def test_what_aws_does_not_restore_is_made_anew() -> None:
    w = life(versions=1)
    gone = of_version(w, 2)
    w.cloud.binning.add(HOME)
    w.cloud.deregister(gone, snapshots=False)
    del w.cloud.snapshots[gone.snapshots[0]]
    w.settle()
    made = of_version(w, 2)
    assert made.id != gone.id
    assert made.available


def test_a_refused_restore_counts_as_gone_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(useview.images, "in_recycle_bin", lambda _: {"ami-1": "a", "ami-2": "b"})
    sessions: Any = SimpleNamespace(ec2=lambda _: None)
    views = useview.UseViews(sessions, clock=lambda: now[0])
    views.refused(HOME, "ami-1")
    assert views.restorable(HOME) == {"ami-2": "b"}
    assert views.restorable(DR) == {"ami-1": "a", "ami-2": "b"}
    now[0] = 3601.0
    assert views.restorable(HOME) == {"ami-1": "a", "ami-2": "b"}


def test_a_copy_of_what_is_left_while_the_source_is_unknown_stays() -> None:
    """Not made and removed in turn, for the newer version whose home AMI is gone."""
    w = life(versions=1, replicas=[{"region": DR}], promotion={"mode": "Manual"})
    w.spec["retention"] = {"keep": 1}
    for gone in [*(i for i in w.cloud.owned() if i.version == 1 and i.region == DR),
                 of_version(w, 2)]:  # fmt: skip
        w.cloud.deregister(gone, snapshots=True)
    w.written = w.before[0]
    w.source = image(99)  # which cannot be found
    w.settle()
    assert {(i.version, i.region) for i in w.cloud.owned()} == {(1, HOME), (1, DR), (2, DR)}


def test_a_copy_after_a_failed_one_that_is_gone_is_not_asked_for_by_the_same_token() -> None:
    w, first, second = after_a_failed_copy(told=False)
    w.cloud.deregister(second, snapshots=True)
    w.reconcile()
    assert w.written.status.replicas[0].state != "Current", "AWS answers with what is gone"
    w.settle()
    third = of_version(w, 1, DR)
    assert third.available
    assert third.id not in (first.id, second.id)


def test_a_copy_after_a_failed_one_that_is_not_visible_yet_is_waited_for() -> None:
    failed = ours(3, DR, fingerprint=ADOPTED.fingerprint, role="replica", state="failed",
                  created=rfc3339(NOW - timedelta(hours=2)))  # fmt: skip

    def plan(minutes: int) -> Any:
        asked = rfc3339(NOW - timedelta(minutes=minutes))
        images = {(1, DR, "replica"): Known(ami(4), False, asked)}
        want = wanted(Memory(images=images, latest=1, highest=1), replicas=[{"region": DR}])
        seen = world(view(HOME, [ADOPTED]), view(DR, [failed]))
        return plan_image(want, Source(image=ADOPTED), seen, NOW).plan

    assert plan(4).actions == ()
    assert plan(4).waiting == (f"{ami(4)} to become visible in {DR}",)
    (late,), (later,) = plan(6).actions, plan(7).actions
    assert late.token == later.token
    assert late.name.endswith("-r2")


def test_a_copy_after_a_failed_one_is_had_back_from_the_recycle_bin() -> None:
    w, _, second = after_a_failed_copy(told=True)
    w.cloud.settle(second)
    w.reconcile(lambda _: ())  # so that the failed one stays
    w.cloud.binning.add(DR)
    w.cloud.deregister(w.cloud.images[second.id], snapshots=False)
    w.settle()
    assert second.id in w.cloud.images


@pytest.mark.parametrize("replicas", [[], [{"region": DR, "schedule": {"cron": "0 3 * * 1"}}]])
def test_an_ami_that_only_status_leads_to_gets_its_tags_back(replicas: Any) -> None:
    w = life(replicas=[{"region": DR, "schedule": {"cron": "0 3 * * 1"}}], retention={"keep": 1})
    follow(w)
    follow(w)
    copy = of_version(w, 1, DR)
    w.cloud.change(copy, tags={})
    w.spec["replicas"] = replicas
    w.settle()
    assert of_version(w, 1, DR).id == copy.id
    assert [i.image_id for v in w.written.status.versions for i in v.images if i.region == DR] == [
        copy.id
    ]


def test_an_ami_whose_tags_could_not_be_put_back_is_not_lost_sight_of() -> None:
    w = life(replicas=[{"region": DR}])
    follow(w)
    copy = of_version(w, 1, DR)
    w.cloud.change(copy, tags={})
    for _ in range(3):
        w.reconcile(lambda _: ())
    assert not [i for i in w.cloud.owned() if i.id == copy.id]
    w.settle()
    assert of_version(w, 1, DR).id == copy.id


def test_the_schedule_of_a_region_counts_from_the_release() -> None:
    """Not from when the version was made, as a candidate may wait for weeks."""
    w = life(
        replicas=[{"region": DR, "schedule": {"cron": "0 3 * * *"}}], promotion={"mode": "Manual"}
    )
    w.notes = {PROMOTE: "1"}
    w.settle()
    follow(w)
    w.cloud.now += timedelta(days=2)
    w.notes = {PROMOTE: "2"}
    w.run(5)
    released = w.cloud.now
    (told,) = [v.released_at for v in w.written.status.versions if v.version == 2]
    assert told is not None
    assert abs((released - moment(told)).total_seconds()) < 10
    assert {i.version for i in w.cloud.owned() if i.region == DR} == {1}
    w.cloud.now = (released + timedelta(days=1)).replace(hour=3, minute=1)
    w.settle()
    assert {i.version for i in w.cloud.owned() if i.region == DR} == {1, 2}
    assert told in [v.released_at for v in w.written.status.versions]


def test_a_region_keeps_what_is_good_while_a_lost_home_ami_is_checked_anew() -> None:
    """Its version may not pass, and then nothing else would be left there."""
    w = life(
        replicas=[{"region": DR, "retention": {"keep": 3}}],
        gates={"manual": True},
        retention={"keep": 1, "gracePeriod": "1h", "checkOtherAccounts": False},
    )
    w.notes = {APPROVE: "1"}
    w.settle()
    w.notes = {APPROVE: "2"}
    follow(w)
    w.cloud.now += timedelta(days=2)
    w.settle()
    first = of_version(w, 1, DR)
    w.notes = {}
    w.cloud.deregister(of_version(w, 2), snapshots=True)
    w.spec["replicas"] = [{"region": DR}]
    w.settle()
    w.cloud.now += timedelta(days=1)
    w.settle()
    w.notes = {REJECT: "2"}
    w.settle()
    assert w.reconcile().served == {DR: first}


def test_a_copy_of_a_candidate_that_is_gone_is_made_as_one_of_a_released_version() -> None:
    """AWS refuses a token that it knows with other tags, whatever became of its AMI."""
    w = life(replicas=[{"region": DR}], promotion={"mode": "Manual"})
    w.notes = {PROMOTE: "1"}
    w.settle()
    follow(w)
    w.notes = {PROMOTE: "2"}
    w.settle()
    w.cloud.deregister(of_version(w, 2, DR), snapshots=True)
    w.written = w.before[0]
    w.settle()
    assert of_version(w, 2, DR).available
    assert TAG_RELEASE not in of_version(w, 2, DR).tags


def test_when_a_version_was_released_is_not_made_up_once_status_was_lost() -> None:
    w = life(replicas=[{"region": DR, "schedule": {"cron": "0 3 1 * *"}}])
    follow(w)
    w.written = w.before[0]
    w.cloud.down.add(DR)
    w.cloud.now += timedelta(days=40)
    w.reconcile()
    assert {v.released_at for v in w.written.status.versions} == {None}
    w.cloud.down.clear()
    w.settle()
    assert {i.version for i in w.cloud.owned() if i.region == DR} == {1, 2}, "it was missed"


def test_an_ami_whose_tags_say_nothing_is_told_of() -> None:
    w = life(replicas=[{"region": DR}])
    w.cloud.change(of_version(w, 1, DR), tags={**of_version(w, 1, DR).tags, TAG_ROLE: "mine"})
    mangled = of_version(w, 1, DR)
    w.written = w.before[0]
    w.spec["replicas"] = []
    w._write(w.written.status.model_copy(update={"leftovers": (Leftover(id="x", region=DR),)}))
    w.settle()
    assert [left.id for left in w.written.status.leftovers] == [mangled.id]
    w.cloud.change(mangled, tags={**mangled.tags, TAG_ROLE: "replica"})
    w.settle()
    assert w.written.status.leftovers == ()
    assert (DR, mangled.id) in {
        (i.region, i.image_id) for v in w.written.status.versions for i in v.images
    }


@pytest.mark.parametrize("role", ["intermediate", "mine"])
def test_an_altered_role_that_status_forgot_is_put_back_for_good(role: str) -> None:
    """AWS answers the request for the AMI that seems to lack with the one that is there."""
    w = life()
    follow(w)
    made = of_version(w, 2)
    w.cloud.change(made, tags={**made.tags, TAG_ROLE: role})
    w.written = w.before[0]
    w.settle()
    w.settle()
    assert of_version(w, 2).tags[TAG_ROLE] == "home"
    (told,) = [v.images for v in w.written.status.versions if v.version == 2]
    assert [(i.role, i.image_id) for i in told] == [("home", made.id)]
    assert w.reconcile().plan.actions == ()


def test_tags_of_an_older_capture_are_put_back() -> None:
    """Captures of one instance share a fingerprint."""
    stripped = ours(7, version=1, fingerprint="f1", tags={TAG_ROLE: ""})
    newer = ours(8, version=2, fingerprint="f1")
    known = {(n, HOME, "home"): Known(ami(6 + n), True, "") for n in (1, 2)}
    want = wanted(Memory(known, {1: "f1", 2: "f1"}, 2, 2))
    plan = plan_image(want, Source(image=newer), world(view(HOME, [stripped, newer])), NOW).plan
    tags = [a for a in plan.actions if isinstance(a, TagResources)]
    assert [(a.resources[0], a.tags) for a in tags] == [(stripped.id, {TAG_ROLE: "home"})]


def test_nothing_goes_in_the_look_that_makes_a_lost_home_ami_anew() -> None:
    w = life(
        replicas=[{"region": DR, "retention": {**SOON_GONE, "gracePeriod": "1h"}}],
        gates={"manual": True},
        retention=SOON_GONE,
    )
    w.notes = {APPROVE: "1"}
    w.settle()
    first = of_version(w, 1, DR)
    w.notes = {APPROVE: "2"}
    w.source = w.cloud.source(FOREIGN)
    w.sources.append(w.source)
    while 1 in {i.version for i in w.cloud.owned() if i.region == HOME}:
        assert not w.step()
    assert first.id in {r.id for r in w.written.status.retiring}
    w.cloud.now += timedelta(hours=2)  # so that it is due
    w.notes = {}
    w.cloud.deregister(of_version(w, 2), snapshots=True)
    w.settle()
    w.notes = {REJECT: "2"}
    w.settle()
    assert w.reconcile().served[DR] == first


def test_copies_of_what_passed_stay_while_its_home_ami_is_checked_anew() -> None:
    """Also when the next version comes meanwhile, and status does not know that it was released."""
    w = life(
        replicas=[{"region": DR}],
        gates={"manual": True},
        retention={**SOON_GONE, "keepUnreleased": 0},
    )
    w.notes = {APPROVE: "1"}
    w.settle()
    copy = of_version(w, 1, DR)
    w.notes = {}
    w.cloud.deregister(of_version(w, 1), snapshots=True)
    w.written = w.before[0]
    w.settle()
    follow(w)
    w.cloud.now += timedelta(days=2)
    w.settle()
    assert of_version(w, 1, DR) == copy
    w.notes = {APPROVE: "2"}
    w.settle()
    w.cloud.now += timedelta(days=2)
    w.settle()
    assert {(i.version, i.region) for i in w.cloud.owned()} == {(2, HOME), (2, DR)}
