"""Gates: a version is tested before anybody gets it, and one that fails never gets out."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from buildstage import SSM_GATE, Works, built
from stage import DR, ENCRYPTED, HOME, KEY, A, Stage
from systemworld import Object, golden, share

from gilder.sandbox.breakage import can_launch

REPLICAS = [{"region": DR, **KEY}]
SCAN: Object = {"inspector": {"maxFindings": {"critical": 0, "high": 1}}}


@pytest.fixture
def works(stage: Stage) -> Works:
    return Works(stage)


def candidate(stage: Stage, name: str = "base") -> Object:
    return dict(stage.status("GoldenImage", name).get("candidate") or {})


def gates_reason(stage: Stage, name: str = "base") -> str:
    return str(stage.condition("GoldenImage", name, "GatesPassed").get("reason", ""))


def unreleased(stage: Stage, image: str) -> bool:
    """Nobody but the owner has it, and no copy was made."""
    copies = [i["SourceImageId"] for i in stage.owned(DR) if "SourceImageId" in i]
    return not stage.users(image) and image not in copies


def test_checks_run_on_a_test_instance_and_open_the_way(stage: Stage, works: Works) -> None:
    stage.apply(golden(**ENCRYPTED, replicas=REPLICAS, gates=SSM_GATE), share(accounts=[A]))
    stage.start()
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    image = stage.image("base", HOME)
    sent = [c.document for c in stage.aws.commands.sent()]
    assert sent == ["AWS-RunShellScript"] * 5
    assert works.launched_tests() == 1
    works.assert_nothing_left()
    results = works.gates("base", 1)
    assert {r["state"] for r in results.values()} == {"Passed"}
    assert set(results) == {f"ssm/{n}" for n in (
        "NoSecrets", "NoHostKeys", "Patched", "AgentHealthy", "CloudInitHealthy")}  # fmt: skip
    assert stage.tags(image, HOME)["goldenimage.dev/gates"] == "passed"
    assert stage.condition("GoldenImage", "base", "GatesPassed")["status"] == "True"
    assert can_launch(stage.aws, stage.image("base", DR), DR, A)
    order = stage.order()
    first_copy_to_dr = next(
        n for n, k in enumerate(stage.aws.requests.history())
        if k.action == "CopyImage" and k.region == DR
    )  # fmt: skip
    assert order.index("TerminateInstances") < first_copy_to_dr, "copied only once it passed"


def test_the_test_instance_is_as_a_stranger_would_launch_it(stage: Stage) -> None:
    seen: list[Object] = []

    def look(_: object) -> None:
        filters = [{"Name": "tag-key", "Values": ["goldenimage.dev/test"]}]
        found = stage.aws.client("ec2", HOME).describe_instances(Filters=filters)
        seen.extend(i for r in found["Reservations"] for i in r["Instances"])

    stage.aws.faults.after("SendCommand", look)
    stage.apply(golden(**ENCRYPTED, gates=SSM_GATE))
    stage.start()
    stage.wait_ready("GoldenImage", "base")
    instance = seen[0]
    assert instance["ImageId"] == stage.image("base", HOME)
    assert "KeyName" not in instance
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert "golden-test" in instance["IamInstanceProfile"]["Arn"]


def test_a_version_that_fails_is_kept_aside_and_the_old_one_serves_on(
    stage: Stage, works: Works
) -> None:
    stage.apply(built("base", **ENCRYPTED, replicas=REPLICAS, gates=SSM_GATE), share(accounts=[A]))
    stage.start()
    stage.wait_ready("ImageShare", "team")
    first = stage.image("base", HOME)
    said = "/root/.ssh/id_rsa is a private key\nNoSecrets: 1 finding"
    stage.aws.commands.outcome(stdout=said, exit_code=1, count=4)
    stage.aws.commands.outcome(count=1)  # the first one is CloudInitHealthy
    works.request("base", "two")
    stage.wait(lambda: gates_reason(stage) == "GateFailed", "the second version fails")
    found = stage.condition("GoldenImage", "base", "GatesPassed")
    assert stage.ready("GoldenImage", "base"), "the first one serves on"
    assert "NoSecrets: 1 finding" in found["message"]
    assert "Run Command" in found["message"]
    bad = candidate(stage)
    assert bad["version"] == 2
    assert unreleased(stage, bad["imageId"])
    assert not can_launch(stage.aws, bad["imageId"], HOME, A)
    assert stage.status("GoldenImage", "base")["latest"] == {"version": 1, "imageId": first}
    assert can_launch(stage.aws, first, HOME, A)
    assert stage.tags(bad["imageId"], HOME)["goldenimage.dev/gates"].startswith("failed")
    assert stage.wait_event("base", "CheckFailed")["type"] == "Warning"
    works.assert_nothing_left()
    stage.look("GoldenImage", "base", "again")
    assert works.launched_tests() == 2, "a verdict stands"
    # A share of all versions does not get it either, and the next good one passes it by.
    stage.edit("ImageShare", "team", versions={"select": "All"})
    works.request("base", "three")
    stage.wait_version(3)
    third = stage.image("base", HOME)
    stage.wait(lambda: can_launch(stage.aws, third, HOME, A), "the third version is shared")
    assert can_launch(stage.aws, first, HOME, A)
    assert unreleased(stage, bad["imageId"])


def test_an_ami_by_its_id_is_not_shared_before_it_has_passed(stage: Stage) -> None:
    stage.apply(golden(**ENCRYPTED, gates={"manual": True}))
    stage.start()
    stage.wait(lambda: gates_reason(stage) == "AwaitingApproval", "awaiting approval")
    image = candidate(stage)["imageId"]
    by_id = share(accounts=[A])
    by_id["spec"]["imageRef"] = {"images": [{"id": image, "region": HOME}]}
    stage.apply(by_id)
    stage.wait_reason("ImageShare", "team", "GateNotPassed")
    assert unreleased(stage, image)
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__approve": "1"})
    stage.wait_ready("GoldenImage", "base")
    stage.look("ImageShare", "team", "approved")
    stage.wait_ready("ImageShare", "team")
    assert can_launch(stage.aws, image, HOME, A)


def test_changed_gates_judge_anew(stage: Stage, works: Works) -> None:
    stage.aws.commands.outcome(stdout="1 update is pending", exit_code=1)
    gates = {"ssm": {**SSM_GATE["ssm"], "checks": ["Patched"]}}
    stage.apply(golden(**ENCRYPTED, gates=gates))
    stage.start()
    stage.wait_reason("GoldenImage", "base", "GateFailed")
    assert stage.status("GoldenImage", "base").get("latest") is None
    stage.edit("GoldenImage", "base", gates={"ssm": None, "manual": True})
    stage.wait(lambda: gates_reason(stage) == "AwaitingApproval", "another gate asks")
    works.assert_nothing_left()
    stage.edit("GoldenImage", "base", gates=None)
    stage.wait_ready("GoldenImage", "base")


def test_ones_own_document(stage: Stage) -> None:
    content = (
        '{"schemaVersion": "2.2", "parameters": {"port": {"type": "String"}}, "mainSteps": '
        '[{"action": "aws:runShellScript", "name": "smoke", "inputs": {"runCommand": ["true"]}}]}'
    )
    stage.aws.client("ssm", HOME).create_document(
        Name="Smoke-Test", DocumentType="Command", Content=content
    )
    document = {"name": "Smoke-Test", "parameters": {"port": ["80"]}}
    gate = {"ssm": {**SSM_GATE["ssm"], "checks": [], "documents": [document]}}
    stage.apply(golden(gates=gate))
    stage.start()
    stage.wait_ready("GoldenImage", "base")
    (sent,) = stage.aws.commands.sent()
    assert sent.document == "Smoke-Test"
    assert sent.params["Parameters"] == {"port": ["80"]}


def test_a_document_that_does_not_exist_is_named(stage: Stage, works: Works) -> None:
    gate = {"ssm": {**SSM_GATE["ssm"], "checks": [], "documents": [{"name": "No-Such"}]}}
    stage.apply(golden(gates=gate))
    stage.start()
    found = stage.wait_reason("GoldenImage", "base", "TestRefused")
    assert "spec.gates.ssm" in found["message"]
    assert "No-Such" in found["message"]
    stage.edit("GoldenImage", "base", gates=None)
    stage.wait_ready("GoldenImage", "base")
    works.assert_nothing_left()


def test_inspector_is_waited_for_counted_and_obeyed(stage: Stage) -> None:
    stage.apply(golden(**ENCRYPTED, replicas=REPLICAS, gates=SCAN), share(accounts=[A]))
    stage.start()
    stage.wait(lambda: gates_reason(stage) == "Checking", "waiting for a scan")
    image = candidate(stage)["imageId"]
    assert unreleased(stage, image)
    stage.aws.findings.set(image, {"HIGH": 1, "MEDIUM": 40})
    stage.look("GoldenImage", "base", "scanned")
    stage.wait_ready("GoldenImage", "base")
    assert "1 high" in stage.message("GoldenImage", "base", "GatesPassed")
    bad = stage.publish("base-2")
    stage.look("GoldenImage", "base", "published")
    stage.wait(lambda: candidate(stage).get("version") == 2, "a second candidate")
    assert bad
    second = candidate(stage)["imageId"]
    old = datetime.now(UTC) - timedelta(days=9)
    stage.aws.findings.set(second, {}, scanned_at=old)
    stage.look("GoldenImage", "base", "too old")
    assert "older than 72 hours" in stage.message("GoldenImage", "base", "GatesPassed")
    stage.aws.findings.set(second, {"CRITICAL": 2})
    stage.look("GoldenImage", "base", "bad")
    stage.wait(lambda: gates_reason(stage) == "GateFailed", "the second version fails")
    found = stage.condition("GoldenImage", "base", "GatesPassed")
    assert "2 critical findings (at most 0)" in found["message"]
    assert unreleased(stage, second)
    assert can_launch(stage.aws, image, HOME, A)


@pytest.mark.parametrize("word", ["approve", "reject"])
def test_a_person_decides(stage: Stage, word: str) -> None:
    stage.apply(golden(**ENCRYPTED, replicas=REPLICAS, gates={"manual": True}))
    stage.apply(share(accounts=[A]))
    stage.start()
    stage.wait(lambda: gates_reason(stage) == "AwaitingApproval", "awaiting approval")
    image = candidate(stage)["imageId"]
    assert "goldenimage.dev/approve=1" in stage.message("GoldenImage", "base")
    stage.annotate("GoldenImage", "base", **{f"goldenimage.dev__{word}": "7"})
    stage.look("GoldenImage", "base", "wrong version")
    assert unreleased(stage, image)
    stage.annotate("GoldenImage", "base", **{f"goldenimage.dev__{word}": "1"})
    if word == "approve":
        stage.wait_ready("ImageShare", "team")
        assert can_launch(stage.aws, image, HOME, A)
    else:
        stage.wait_reason("GoldenImage", "base", "GateFailed")
        assert unreleased(stage, image)


def test_gates_that_come_later_leave_what_is_released(stage: Stage, works: Works) -> None:
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.start()
    stage.wait_ready("ImageShare", "team")
    stage.edit("GoldenImage", "base", gates=SSM_GATE)
    stage.wait(lambda: gates_reason(stage) == "Passed", "released as it was")
    assert works.launched_tests() == 0
    assert can_launch(stage.aws, stage.image("base", HOME), HOME, A)


@pytest.mark.parametrize("call", ["RunInstances", "SendCommand", "TerminateInstances"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_each_step_of_a_test(
    stage: Stage, works: Works, call: str, when: str
) -> None:
    struck = threading.Event()

    def strike(_: object) -> None:
        if not struck.is_set():
            struck.set()
            stage.world.operator.kill()

    hook = stage.aws.faults.before if when == "before" else stage.aws.faults.after
    hook(call, strike)
    stage.apply(golden(**ENCRYPTED, gates=SSM_GATE))
    stage.start()
    stage.wait(struck.is_set, f"killed {when} {call}")
    stage.restart()
    stage.wait_ready("GoldenImage", "base")
    works.assert_nothing_left()
    assert works.launched_tests() == 1
    comments = [c.params.get("Comment") for c in stage.aws.commands.sent()]
    assert len(comments) == len(set(comments)) == 5, comments


def test_an_agent_that_never_answers_ends_the_test(stage: Stage, works: Works) -> None:
    stage.aws.settings.update(ssm_online_seconds=1e6)
    stage.apply(golden(gates={"ssm": {**SSM_GATE["ssm"], "timeoutMinutes": 5}}))
    stage.start(resync=2)
    stage.wait(works.tests, "a test instance")
    # Its launch is moved back, since the operator's clock cannot be moved on.
    from moto.ec2.models import ec2_backends

    (instance,) = works.tests()
    backend = ec2_backends["123456789012"][HOME]
    found = next(i for i in backend.all_instances() if i.id == instance)
    found.launch_time = found.launch_time - timedelta(minutes=6)
    stage.wait_reason("GoldenImage", "base", "GateFailed")
    assert "agent of test instance" in stage.message("GoldenImage", "base")
    works.assert_nothing_left()


def test_suspend_and_deletion_end_the_test_instance(stage: Stage, works: Works) -> None:
    stage.aws.settings.update(ssm_online_seconds=1e6)
    both = {"gates": SSM_GATE, **ENCRYPTED}  # a copy of each: one AMI is adopted once
    stage.apply(golden("one", **both), golden("two", **both))
    stage.start()
    stage.wait(lambda: len(works.tests()) == 2, "two test instances")
    stage.edit("GoldenImage", "one", suspend=True)
    stage.delete("GoldenImage", "two")
    stage.gone("GoldenImage", "two")
    works.assert_nothing_left()


def test_a_test_instance_of_nobody_is_ended(stage: Stage, works: Works) -> None:
    """Its GoldenImage was let go of without the operator."""
    stage.aws.settings.update(ssm_online_seconds=1e6)
    both = {"gates": SSM_GATE, **ENCRYPTED}  # a copy of each: one AMI is adopted once
    stage.apply(golden("one", **both), golden("two", **both))
    stage.start(resync=2)
    stage.wait(lambda: len(works.tests()) == 2, "two test instances")
    stage.world.operator.kill()
    stage.patch("GoldenImage", "two", {"metadata": {"finalizers": None}})
    stage.delete("GoldenImage", "two")
    stage.restart()
    stage.wait(lambda: len(works.tests()) == 1, "the stray ended")
