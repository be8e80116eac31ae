"""Gates of a version, step by step: what is seen, and what the plan does next."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from planworld import GOLDEN, HOME, NOW, image, kinds, ours, reasons, wanted

from gilder import checks
from gilder.api.gates import Gates
from gilder.api.goldenimage import GateResult
from gilder.api.names import TAG_GATES
from gilder.core.actions import LaunchTest, RunCheck, TagResources
from gilder.core.digest import digest
from gilder.core.gating import SOON, Verdict, plan_gates, shut
from gilder.core.observed import Image, Problem
from gilder.core.plan import Draft
from gilder.core.wanted import Judged, Memory, Wanted
from gilder.core.work import Scan, SeenCheck, SeenTest, Work

PROFILE = {"instance": {"profile": "ssm"}}
ONE = {"ssm": {**PROFILE, "checks": ["NoSecrets"], "documents": [{"name": "My-Doc"}]}}
SCANNED = {"inspector": {"maxFindings": {"critical": 0, "high": 2}}}
SINCE = "2030-01-01T11:55:00Z"
CANDIDATE = ours(1, version=2, tags={TAG_GATES: "pending"})
ONLINE = SeenTest("i-1", CANDIDATE.id, GOLDEN, "running", "2030-01-01T11:56:00Z", online=True)


def want(gates: dict[str, Any], *, latest: int = 1, **changes: Any) -> Wanted:
    """Version 2 under its gates; what is remembered of it was found by these gates."""
    tested = changes.pop("tested", {2: Judged("Pending", (), SINCE)})
    asked = digest(Gates.model_validate(gates).model_dump(mode="json"), length=8)
    tested = {v: replace(t, gates=t.gates or asked) for v, t in tested.items()}
    memory = Memory(latest=latest, highest=2, tested=tested)
    return replace(wanted(memory, gates=gates), **changes)


def judge(
    who: Wanted, work: Work = Work(), image: Image = CANDIDATE, version: int = 2  # noqa: B008
) -> tuple[Verdict, Draft]:  # fmt: skip
    """The plan, after what was found out has been recorded in status."""
    draft = Draft()
    verdict = plan_gates(who, image, version, work, NOW, draft)
    known = who.memory.tested.get(version)
    if known is not None and known.results != verdict.results and draft.retry_after == SOON:
        tested = {version: Judged("Pending", verdict.results, known.since, verdict.gates)}
        return judge(replace(who, memory=replace(who.memory, tested=tested)), work, image, version)
    return verdict, draft


def check(name: str, status: str = "Success", output: str = "all is well", code: int = 0) -> Any:
    return SeenCheck("i-1", f"gilder ssm/{name}", status, status, output, code, "cmd-1")


def marks(draft: Draft) -> list[str]:
    tags = [a.tags[TAG_GATES] for a in draft.actions if isinstance(a, TagResources)]
    return [t.split("/")[0] for t in tags]


# The test instance


def test_first_an_instance_is_launched() -> None:
    verdict, draft = judge(want(ONE))
    (launch,) = draft.actions
    assert isinstance(launch, LaunchTest)
    assert (launch.image, launch.profile, launch.minutes) == (CANDIDATE.id, "ssm", 75)
    assert verdict.state == "Pending"
    again, second = judge(want(ONE))
    assert second.actions == draft.actions, "the same token, whatever crashed"
    assert again == verdict


def test_nothing_is_sent_before_the_agent_is_online() -> None:
    verdict, draft = judge(want(ONE), Work(tests=(replace(ONLINE, online=False),)))
    assert draft.actions == []
    assert draft.retry_after
    assert {r.state for r in verdict.results} == {"Pending"}


def test_every_check_is_sent_once() -> None:
    verdict, draft = judge(want(ONE), Work(tests=(ONLINE,)))
    sent = [a for a in draft.actions if isinstance(a, RunCheck)]
    assert [a.document for a in sent] == ["AWS-RunShellScript", "My-Doc"]
    assert sent[0].parameters["commands"] == checks.script("NoSecrets", "linux")
    _, later = judge(want(ONE), Work(tests=(ONLINE,), checks=(check("NoSecrets", "InProgress"),)))
    assert [a.document for a in later.actions if isinstance(a, RunCheck)] == ["My-Doc"]
    assert verdict.state == "Pending"


def test_all_passed_ends_the_instance_and_marks_the_ami() -> None:
    work = Work(tests=(ONLINE,), checks=(check("NoSecrets"), check("doc/My-Doc")))
    verdict, draft = judge(want(ONE), work)
    assert marks(draft) == ["passed"]
    assert "EndTest" in kinds(draft.actions)
    assert not verdict.open, "it counts once the tag is seen"
    assert {r.state for r in verdict.results} == {"Passed"}
    passed = ours(1, version=2, tags={TAG_GATES: "passed"})
    after, nothing = judge(
        want(ONE, tested={2: Judged("Pending", verdict.results)}), Work(), passed
    )
    assert after.state == "Passed"
    assert nothing.actions == []


def test_a_failed_check_says_what_and_where() -> None:
    work = Work(
        tests=(ONLINE,),
        checks=(check("NoSecrets", "Failed", "x\n/root/.ssh/id_rsa holds a private key", 1),),
    )
    verdict, draft = judge(want(ONE), work)
    assert verdict.state == "Failed"
    assert marks(draft) == ["failed"]
    assert "EndTest" in kinds(draft.actions)
    assert not any(isinstance(a, RunCheck) and a.document != "My-Doc" for a in draft.actions)
    (problem,) = draft.problems
    assert problem.reason == "GateFailed"
    assert "/root/.ssh/id_rsa holds a private key" in problem.message
    assert "cmd-1" in problem.message
    assert problem.permanent


def test_a_verdict_stands_until_the_gates_change() -> None:
    _, draft = judge(
        want(ONE), Work(tests=(ONLINE,), checks=(check("NoSecrets", "Failed", "bad", 1),))
    )
    (mark,) = [a for a in draft.actions if isinstance(a, TagResources)]
    failed = ours(1, version=2, tags=dict(mark.tags))
    tested = {2: Judged("Failed", (GateResult(name="ssm/NoSecrets", state="Failed"),))}
    verdict, idle = judge(want(ONE, tested=tested), Work(), failed)
    assert verdict.state == "Failed"
    assert idle.actions == []
    assert reasons(idle.problems) == ["GateFailed"]
    other = {"ssm": {**PROFILE, "checks": ["Patched"]}}
    verdict, anew = judge(want(other, tested=tested), Work(), failed)
    assert verdict.state == "Pending"
    assert marks(anew) == ["pending"]


def test_the_agent_that_never_comes() -> None:
    old = replace(ONLINE, online=False, launched="2030-01-01T10:50:00Z")
    verdict, draft = judge(want(ONE), Work(tests=(old,)))
    assert verdict.state == "Failed"
    assert "was not online within 60 minutes" in draft.problems[0].message
    assert "EndTest" in kinds(draft.actions)


def test_checks_that_never_end() -> None:
    old = replace(ONLINE, launched="2030-01-01T10:50:00Z")
    work = Work(tests=(old,), checks=(check("NoSecrets"), check("doc/My-Doc", "InProgress")))
    verdict, draft = judge(want(ONE), work)
    assert verdict.state == "Failed"
    assert "not done within 60 minutes" in draft.problems[0].message


def test_an_instance_that_dies_is_replaced_once() -> None:
    dead = replace(ONLINE, state="terminated", reason="Client.InternalError")
    _, draft = judge(want(ONE), Work(tests=(dead,)))
    (second,) = draft.actions
    assert isinstance(second, LaunchTest)
    _, first = judge(want(ONE))
    assert second.token != first.actions[0].token  # type: ignore[union-attr]
    verdict, draft = judge(want(ONE), Work(tests=(dead, replace(dead, id="i-2"))))
    assert verdict.state == "Failed"
    assert "Client.InternalError" in draft.problems[0].message


def test_instances_of_another_candidate_or_too_many_are_ended() -> None:
    other = replace(ONLINE, id="i-2", image="ami-other")
    extra = replace(ONLINE, id="i-3", launched="2030-01-01T11:57:00Z")
    foreign = replace(ONLINE, id="i-4", owner="else/where")
    _, draft = judge(want(ONE), Work(tests=(ONLINE, other, extra, foreign)))
    ended = {a.instance for a in draft.actions if a.kind == "EndTest"}  # type: ignore[union-attr]
    assert ended == {"i-2", "i-3"}


@pytest.mark.parametrize("unread", ["tests", "checks"])
def test_what_is_not_seen_is_not_done_again(unread: str) -> None:
    work = Work(tests=() if unread == "tests" else (ONLINE,), unread=frozenset({unread}))
    _, draft = judge(want(ONE), work)
    assert draft.actions == []
    assert draft.retry_after


def test_a_check_that_does_not_exist_for_windows() -> None:
    gates = {"ssm": {**PROFILE, "checks": ["NoHostKeys"]}}
    windows = replace(CANDIDATE, platform="windows")
    verdict, draft = judge(want(gates), Work(), windows)
    assert verdict.state == "Failed"
    assert "windows" in draft.problems[0].message


# Inspector


def test_a_scan_is_waited_for_and_then_missing() -> None:
    verdict, draft = judge(want(SCANNED))
    assert verdict.results[0].message == "Inspector has not scanned the AMI"
    assert draft.retry_after
    late = {2: Judged("Pending", (), (NOW - timedelta(days=2)).isoformat())}
    verdict, draft = judge(want(SCANNED, tested=late))
    assert verdict.state == "Failed"
    assert "Enable EC2 scanning" in draft.problems[0].message


def test_an_old_scan_does_not_count() -> None:
    stale = replace(CANDIDATE, scanned_at="2029-12-01T00:00:00Z")
    verdict, _ = judge(want(SCANNED), Work(scans={CANDIDATE.id: Scan("x")}), stale)
    assert verdict.state == "Pending"
    assert "older than 72 hours" in verdict.results[0].message


@pytest.mark.parametrize(
    ("counts", "fixable", "only", "state"),
    [
        ({"high": 2, "medium": 90}, {}, False, "Passed"),
        ({"high": 3}, {}, False, "Failed"),
        ({"critical": 1}, {}, False, "Failed"),
        ({"critical": 1}, {}, True, "Passed"),
        ({"critical": 1}, {"critical": 1}, True, "Failed"),
    ],
)
def test_findings_are_counted(
    counts: dict[str, int], fixable: dict[str, int], only: bool, state: str
) -> None:
    gates = {"inspector": {**SCANNED["inspector"], "onlyFixable": only}}
    scanned = replace(CANDIDATE, scanned_at="2030-01-01T11:58:00Z")
    scan = Scan(scanned.scanned_at, counts, fixable)
    verdict, draft = judge(want(gates), Work(scans={scanned.id: scan}), scanned)
    assert verdict.results[0].state == state
    assert marks(draft) == [state.lower()]


def test_findings_that_cannot_be_read() -> None:
    scanned = replace(CANDIDATE, scanned_at="2030-01-01T11:58:00Z")
    denied = Problem("AccessDenied", "no", region=HOME)
    verdict, draft = judge(want(SCANNED), Work(scans={scanned.id: denied}), scanned)
    assert verdict.state == "Pending"
    assert draft.problems == [denied]


# A person


def test_approval_comes_last() -> None:
    gates = {**SCANNED, "manual": True}
    verdict, _ = judge(want(gates, approved=2))
    assert verdict.results[-1].message == "after the other gates"
    assert not verdict.awaits_approval
    scanned = replace(CANDIDATE, scanned_at="2030-01-01T11:58:00Z")
    work = Work(scans={scanned.id: Scan(scanned.scanned_at)})
    verdict, draft = judge(want(gates), work, scanned)
    assert verdict.awaits_approval
    assert "goldenimage.dev/approve=2" in verdict.results[-1].message
    assert draft.retry_after is None, "an annotation tells"
    _, draft = judge(want(gates, approved=2), work, scanned)
    assert marks(draft) == ["passed"]


@pytest.mark.parametrize(
    ("approved", "rejected", "state"), [(1, 0, "Pending"), (2, 2, "Failed"), (0, 2, "Failed")]
)
def test_only_this_version_is_approved(approved: int, rejected: int, state: str) -> None:
    verdict, _ = judge(want({"manual": True}, approved=approved, rejected=rejected))
    assert verdict.state == state


# Tags


def test_what_was_released_before_there_were_gates_stays_so() -> None:
    plain = ours(1, version=2)
    assert judge(want(ONE, latest=2, tested={}), Work(), plain)[0].open
    verdict, draft = judge(want(ONE, latest=1, tested={}), Work(), plain)
    assert not verdict.open
    assert marks(draft) == ["pending"]


def test_without_gates_everything_is_open() -> None:
    verdict, draft = judge(want({}), Work(tests=(ONLINE,)))
    assert verdict.open
    assert marks(draft) == ["waived"]
    assert "EndTest" in kinds(draft.actions)


@pytest.mark.parametrize(
    ("tag", "closed"),
    [("pending", True), ("failed/abc", True), ("passed", False), ("waived", False), ("", False)],
)
def test_which_amis_are_shut(tag: str, closed: bool) -> None:
    assert shut(image(1, tags={TAG_GATES: tag} if tag else {})) is closed
