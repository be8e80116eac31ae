"""Test instances and commands on them, against the sandbox, and read back."""

import base64
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gilder.aws import checks
from gilder.aws.sessions import Sessions
from gilder.core.actions import LaunchTest, RunCheck
from gilder.sandbox.aws.seed import Seeded, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"


class Bench:
    """An account with an instance profile, and the action that launches there."""

    def __init__(self, aws: SandboxAws, sessions: Sessions, image: str) -> None:
        self.aws, self.image = aws, image
        self.ec2, self.ssm = sessions.ec2(HOME), sessions.ssm(HOME)
        aws.client("iam").create_instance_profile(InstanceProfileName="tester")
        self.action = LaunchTest(
            region=HOME,
            image=image,
            token="t-1",
            type="t3.small",
            profile="tester",
            tags={
                "Name": "gilder test",
                "goldenimage.dev/cluster": "test",
                "goldenimage.dev/image": "team/web",
                "goldenimage.dev/test": image,
            },
            minutes=45,
        )

    def launch(self, token: str = "t-1", **more: Any) -> str:
        return checks.launch(self.ec2, replace(self.action, token=token, **more))

    def described(self, instance: str) -> dict[str, Any]:
        answer: Any = self.ec2.describe_instances(InstanceIds=[instance])
        found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
        return found

    def attribute(self, instance: str, name: Any) -> dict[str, Any]:
        answer: Any = self.ec2.describe_instance_attribute(InstanceId=instance, Attribute=name)
        found: dict[str, Any] = answer
        return found


@pytest.fixture
def bench(aws: SandboxAws, sessions: Sessions, seeded: Seeded) -> Bench:
    found = Bench(aws, sessions, seeded.base_image)
    aws.requests.reset()
    return found


def _check(instance: str, **more: Any) -> RunCheck:
    given: dict[str, Any] = {
        "check": "v1 ssm/Boot",
        "document": "AWS-RunShellScript",
        "parameters": {"commands": ("true", "false")},
        "seconds": 900,
    }
    return RunCheck(region=HOME, instance=instance, **{**given, **more})


def test_a_test_instance_is_as_it_was_asked_for(bench: Bench) -> None:
    subnet = bench.ec2.describe_subnets()["Subnets"][0]
    group = bench.ec2.create_security_group(GroupName="g", Description="g", VpcId=subnet["VpcId"])[
        "GroupId"
    ]
    instance = bench.launch(subnet=subnet["SubnetId"], groups=(group,))
    found = bench.described(instance)
    assert (found["ImageId"], found["InstanceType"]) == (bench.image, "t3.small")
    assert found["SubnetId"] == subnet["SubnetId"]
    assert [g["GroupId"] for g in found["SecurityGroups"]] == [group]
    assert found["IamInstanceProfile"]["Arn"].endswith(":instance-profile/tester")
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert "KeyName" not in found
    tags = dict(bench.action.tags)
    assert {t["Key"]: t["Value"] for t in found["Tags"]} == tags
    volumes = bench.ec2.describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance]}]
    )["Volumes"]
    assert [{t["Key"]: t["Value"] for t in v.get("Tags", [])} for v in volumes] == [tags]
    data = bench.attribute(instance, "userData")["UserData"]["Value"]
    assert base64.b64decode(data) == b"#!/bin/sh\nshutdown -P +45\n"
    behavior = bench.attribute(instance, "instanceInitiatedShutdownBehavior")
    assert behavior["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


def test_windows_shuts_itself_down_too(bench: Bench) -> None:
    data = bench.attribute(bench.launch(platform="windows"), "userData")["UserData"]["Value"]
    assert base64.b64decode(data) == b"<powershell>shutdown /s /t 2700</powershell>"


def test_a_token_launches_once(bench: Bench) -> None:
    first = bench.launch()
    assert bench.launch() == first
    assert bench.launch("t-2") != first
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        bench.launch(type="t3.large")


def test_an_answer_that_was_lost_launches_once(bench: Bench) -> None:
    bench.aws.faults.timeout_after_effect("RunInstances")
    instance = bench.launch()
    assert [t.id for t in checks.tests(bench.ec2, "test")] == [instance]


def test_only_our_test_instances_are_seen(bench: Bench) -> None:
    mine = bench.launch()
    bench.launch("t-2", tags={**bench.action.tags, "goldenimage.dev/cluster": "other"})
    bench.launch("t-3", tags={"goldenimage.dev/cluster": "test"})
    (seen,) = checks.tests(bench.ec2, "test")
    assert (seen.id, seen.image, seen.owner) == (mine, bench.image, "team/web")
    assert (seen.state, seen.alive, seen.online) == ("running", True, False)
    launched = bench.described(mine)["LaunchTime"]
    assert seen.launched == launched.strftime("%Y-%m-%dT%H:%M:%SZ")
    checks.end(bench.ec2, mine)
    (seen,) = checks.tests(bench.ec2, "test")
    assert (seen.state, seen.alive) == ("terminated", False)
    assert "User initiated" in seen.reason
    checks.end(bench.ec2, mine)
    checks.end(bench.ec2, "i-00000000000000001")


def test_why_an_instance_ended_at_once(bench: Bench, seeded: Seeded) -> None:
    key = seeded.keys[HOME]
    encrypted = register(bench.aws, "locked", make_snapshot(bench.aws, key=key))
    bench.aws.client("kms").disable_key(KeyId=key)
    bench.launch(image=encrypted)
    (seen,) = checks.tests(bench.ec2, "test")
    assert seen.state == "terminated"
    assert seen.reason == "Client.InternalError: Client error on launch"


def test_agents_come_online(bench: Bench) -> None:
    bench.aws.settings.update(ssm_online_seconds=30.0)
    one, two = bench.launch("t-1"), bench.launch("t-2")
    assert checks.online(bench.ssm, [one, two]) == frozenset()
    bench.aws.clock.advance(31)
    assert checks.online(bench.ssm, [one, two]) == {one, two}
    assert checks.online(bench.ssm, [one]) == {one}
    bench.aws.commands.offline(two)
    assert checks.online(bench.ssm, [one, two]) == {one}
    bench.aws.requests.reset()
    many = [one, *(f"i-{n:017x}" for n in range(100))]
    assert checks.online(bench.ssm, many) == {one}
    assert bench.aws.requests.total("DescribeInstanceInformation") == 2
    assert checks.online(bench.ssm, []) == frozenset()


def test_a_check_is_sent_and_found_again(bench: Bench) -> None:
    instance = bench.launch()
    bench.aws.commands.outcome(stdout="all is well\n")
    command = checks.run(bench.ssm, _check(instance))
    sent = bench.aws.commands.sent()[0]
    assert sent.params["InstanceIds"] == [instance]
    assert sent.params["Comment"] == "v1 ssm/Boot"
    assert sent.params["TimeoutSeconds"] == 900
    assert sent.params["Parameters"] == {
        "commands": ["true", "false"], "executionTimeout": ["900"],
    }  # fmt: skip
    (seen,) = checks.sent(bench.ssm, [instance])
    assert (seen.instance, seen.comment, seen.command) == (instance, "v1 ssm/Boot", command)
    assert (seen.status, seen.details, seen.code, seen.over) == ("Success", "Success", 0, True)
    assert seen.output == "all is well\n"


def test_a_document_of_the_user(bench: Bench) -> None:
    content = (
        '{"schemaVersion": "2.2", "parameters": {"who": {"type": "String"}}, "mainSteps": ['
        '{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}},'
        '{"action": "aws:runShellScript", "name": "b", "inputs": {"runCommand": ["true"]}}]}'
    )
    bench.ssm.create_document(Name="Mine", DocumentType="Command", Content=content)
    instance = bench.launch()
    bench.aws.commands.fail_next("Mine", stdout="x" * 3000, exit_code=3)
    given = _check(instance, document="Mine", version="1", parameters={"who": ("me",)}, seconds=5)
    checks.run(bench.ssm, given)
    params = bench.aws.commands.sent()[0].params
    assert (params["DocumentVersion"], params["TimeoutSeconds"]) == ("1", 30)
    assert params["Parameters"] == {"who": ["me"]}
    (seen,) = checks.sent(bench.ssm, [instance])
    assert (seen.status, seen.code, len(seen.output)) == ("Failed", 3, 2500)


def test_a_check_needs_an_agent(bench: Bench) -> None:
    bench.aws.settings.update(ssm_online_seconds=30.0)
    with pytest.raises(ClientError, match="InvalidInstanceId"):
        checks.run(bench.ssm, _check(bench.launch()))


def test_commands_of_others_and_of_old_are_left_out(bench: Bench) -> None:
    one, two = bench.launch("t-1"), bench.launch("t-2")
    checks.run(bench.ssm, _check(one, check="old"))
    bench.aws.clock.advance(3600)
    three = bench.launch("t-3")
    launched = next(t.launched for t in checks.tests(bench.ec2, "test") if t.id == three)
    bench.aws.clock.advance(2)
    checks.run(bench.ssm, _check(one, check="new"))
    checks.run(bench.ssm, _check(two, check="other"))
    found = checks.sent(bench.ssm, [one], launched)
    assert [c.comment for c in found] == ["new"]
    assert {c.comment for c in checks.sent(bench.ssm, [one, two])} == {"old", "new", "other"}


def test_all_pages_of_commands_are_read(bench: Bench) -> None:
    instance = bench.launch()
    for n in range(51):
        checks.run(bench.ssm, _check(instance, check=f"c{n}"))
    bench.aws.requests.reset()
    assert len(checks.sent(bench.ssm, [instance])) == 51
    assert bench.aws.requests.total("ListCommandInvocations") == 2


def test_the_step_that_failed_is_told() -> None:
    plugins: list[dict[str, Any]] = [
        {"Name": "a", "Status": "Success"},
        {"Name": "b", "Status": "Failed", "Output": "no", "ResponseCode": 4},
        {"Name": "c", "Status": "Success", "Output": "skipped"},
    ]
    assert checks._telling(plugins)["Name"] == "b"
    assert checks._telling(plugins[:1])["Name"] == "a"
    assert checks._telling([]) == {}
