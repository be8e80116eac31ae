"""Run Command, and the launches it needs: exact targets, times, results and refusals."""

import base64
import json
from typing import Any

import pytest

from gilder.sandbox.aws.server import SandboxAws

B = "222222222222"
DOCUMENT = {
    "schemaVersion": "2.2",
    "description": "two steps",
    "parameters": {"who": {"type": "String"}, "how": {"type": "String", "default": "x"}},
    "mainSteps": [
        {"action": "aws:runShellScript", "name": "first", "inputs": {"runCommand": ["true"]}},
        {"action": "aws:runShellScript", "name": "second", "inputs": {"runCommand": ["true"]}},
    ],
}


def launch(ec2: Any, image: str, name: str = "one", **more: Any) -> str:
    answer = ec2.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}],
        **more,
    )
    instance_id: str = answer["Instances"][0]["InstanceId"]
    return instance_id


@pytest.fixture
def ssm(aws: SandboxAws) -> Any:
    return aws.client("ssm")


@pytest.fixture
def one(ec2: Any, base: str) -> str:
    return launch(ec2, base)


def shell(ssm: Any, *instances: str, **more: Any) -> str:
    request: dict[str, Any] = {
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["uname -a"]},
        **({"InstanceIds": list(instances)} if instances else {}),
        **more,
    }
    command_id: str = ssm.send_command(**request)["Command"]["CommandId"]
    return command_id


def result(ssm: Any, command: str, instance: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = ssm.get_command_invocation(
        CommandId=command, InstanceId=instance, **more
    )
    return answer


def command_of(ssm: Any, command_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ssm.list_commands(CommandId=command_id)["Commands"][0]
    return found


def test_a_command_is_read_back(aws: SandboxAws, ssm: Any, one: str) -> None:
    aws.commands.outcome(stdout="Linux\n")
    sent = ssm.send_command(
        InstanceIds=[one],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["uname"]},
        Comment="which system",
        TimeoutSeconds=60,
        MaxConcurrency="2",
        MaxErrors="1",
        OutputS3BucketName="logs",
        CloudWatchOutputConfig={"CloudWatchOutputEnabled": True},
    )["Command"]
    assert (sent["Status"], sent["TargetCount"], sent["InstanceIds"]) == ("Pending", 0, [one])
    got = result(ssm, sent["CommandId"], one)
    assert (got["Status"], got["StatusDetails"], got["ResponseCode"]) == ("Success", "Success", 0)
    assert (got["StandardOutputContent"], got["StandardErrorContent"]) == ("Linux\n", "")
    assert (got["PluginName"], got["Comment"]) == ("aws:runShellScript", "which system")
    listed = command_of(ssm, sent["CommandId"])
    assert listed["Status"] == "Success"
    assert (listed["TargetCount"], listed["CompletedCount"], listed["ErrorCount"]) == (1, 1, 0)
    assert (listed["TimeoutSeconds"], listed["MaxConcurrency"], listed["MaxErrors"]) == (
        60,
        "2",
        "1",
    )
    assert listed["Parameters"] == {"commands": ["uname"]}
    assert listed["OutputS3BucketName"] == "logs"
    assert listed["CloudWatchOutputConfig"] == {"CloudWatchOutputEnabled": True}


def test_only_the_named_instances_are_targets(ssm: Any, ec2: Any, base: str, one: str) -> None:
    two, _ = launch(ec2, base, "two"), launch(ec2, base, "three")
    command = shell(ssm, one, two)
    listed = ssm.list_command_invocations(CommandId=command)["CommandInvocations"]
    assert [i["InstanceId"] for i in listed] == [one, two]
    assert ssm.list_command_invocations(InstanceId=two)["CommandInvocations"][0][
        "CommandId"
    ] == command  # fmt: skip


def test_tags_choose_the_instances(ssm: Any, ec2: Any, base: str, one: str) -> None:
    two, gone = launch(ec2, base, "two"), launch(ec2, base, "two")
    ec2.terminate_instances(InstanceIds=[gone])

    def on(*targets: dict[str, Any]) -> list[str]:
        command = shell(ssm, Targets=list(targets))
        listed = ssm.list_command_invocations(CommandId=command)["CommandInvocations"]
        return [i["InstanceId"] for i in listed]

    assert on({"Key": "tag:Name", "Values": ["two"]}) == [two]
    assert on({"Key": "tag:Name", "Values": ["one", "t*"]}) == [one, two]
    assert on({"Key": "InstanceIds", "Values": [one]}) == [one]
    command = shell(ssm, Targets=[{"Key": "tag:Name", "Values": ["none"]}])
    shown = command_of(ssm, command)
    assert (shown["Status"], shown["StatusDetails"]) == ("Success", "NoInstancesInTag")
    assert shown["TargetCount"] == 0


def test_a_command_follows_the_clock(aws: SandboxAws, ssm: Any, one: str) -> None:
    aws.settings.update(command_seconds=10.0)
    command = shell(ssm, one)
    seen = []
    for seconds in (0.0, 3.0, 8.0):
        aws.clock.advance(seconds)
        got = result(ssm, command, one)
        seen.append((got["Status"], got["ResponseCode"], command_of(ssm, command)["Status"]))
    assert seen == [
        ("Pending", -1, "Pending"), ("InProgress", -1, "InProgress"), ("Success", 0, "Success"),
    ]  # fmt: skip
    got = result(ssm, command, one)
    assert got["ExecutionElapsedTime"] == "PT10.000S"
    assert got["ExecutionEndDateTime"] > got["ExecutionStartDateTime"]


def test_failures(aws: SandboxAws, ssm: Any, ec2: Any, base: str, one: str) -> None:
    two = launch(ec2, base, "two")
    aws.commands.fail_next("AWS-RunShell.*", instance=two, stdout="o", stderr="e", exit_code=7)
    command = shell(ssm, one, two)
    assert result(ssm, command, one)["Status"] == "Success"
    got = result(ssm, command, two)
    assert (got["Status"], got["ResponseCode"]) == ("Failed", 7)
    assert (got["StandardOutputContent"], got["StandardErrorContent"]) == ("o", "e")
    shown = command_of(ssm, command)
    assert (shown["Status"], shown["CompletedCount"], shown["ErrorCount"]) == ("Failed", 2, 1)
    details = ssm.list_command_invocations(CommandId=command, InstanceId=two, Details=True)
    plugin = details["CommandInvocations"][0]["CommandPlugins"][0]
    assert (plugin["Name"], plugin["Status"], plugin["ResponseCode"]) == (
        "aws:runShellScript", "Failed", 7,
    )  # fmt: skip
    assert plugin["Output"] == "o\n----------ERROR-------\ne"
    assert result(ssm, shell(ssm, two), two)["Status"] == "Success"
    aws.commands.fail_next(status="TimedOut")
    got = result(ssm, timed_out := shell(ssm, one), one)
    assert (got["Status"], got["StatusDetails"]) == ("TimedOut", "ExecutionTimedOut")
    assert command_of(ssm, timed_out)["Status"] == "TimedOut"


def test_output_is_cut(aws: SandboxAws, ssm: Any, one: str) -> None:
    aws.commands.outcome(stdout="x" * 30_000, stderr="y" * 30_000)
    command = shell(ssm, one)
    got = result(ssm, command, one)
    lengths = len(got["StandardOutputContent"]), len(got["StandardErrorContent"])
    assert lengths == (24_000, 8_000)
    details = ssm.list_command_invocations(CommandId=command, Details=True)
    output = details["CommandInvocations"][0]["CommandPlugins"][0]["Output"]
    assert len(output) == 2_500


def test_documents_must_exist_and_have_their_parameters(ssm: Any, one: str, refused: Any) -> None:
    with refused("InvalidDocument"):
        shell(ssm, one, DocumentName="AWS-RunNothing")
    with refused("InvalidParameters", "commands"):
        shell(ssm, one, Parameters={})
    ssm.create_document(
        Name="Mine", DocumentType="Command", Content=json.dumps(DOCUMENT), DocumentFormat="JSON"
    )
    with refused("InvalidParameters", "who"):
        shell(ssm, one, DocumentName="Mine", Parameters={})
    with refused("InvalidParameters", "colour"):
        shell(ssm, one, DocumentName="Mine", Parameters={"who": ["me"], "colour": ["red"]})
    with refused("InvalidDocumentVersion"):
        shell(ssm, one, DocumentName="Mine", DocumentVersion="9", Parameters={"who": ["me"]})
    command = shell(ssm, one, DocumentName="Mine", Parameters={"who": ["me"]})
    with refused("InvalidPluginName"):
        result(ssm, command, one)
    assert result(ssm, command, one, PluginName="second")["Status"] == "Success"


def test_the_last_step_has_the_outcome(aws: SandboxAws, ssm: Any, one: str) -> None:
    aws.commands.fail_next("AWS-RunPatchBaseline")
    command = shell(
        ssm, one, DocumentName="AWS-RunPatchBaseline", Parameters={"Operation": ["Scan"]}
    )
    assert result(ssm, command, one, PluginName="PatchWindows")["Status"] == "Success"
    assert result(ssm, command, one, PluginName="PatchLinux")["Status"] == "Failed"


def test_instances_must_be_online(
    aws: SandboxAws, ssm: Any, ec2: Any, base: str, refused: Any
) -> None:
    aws.settings.update(ssm_online_seconds=30.0)
    instance = launch(ec2, base)

    def pings() -> list[str]:
        answer = ssm.describe_instance_information(
            Filters=[{"Key": "InstanceIds", "Values": [instance]}]
        )
        return [i["PingStatus"] for i in answer["InstanceInformationList"]]

    assert pings() == []
    with refused("InvalidInstanceId", "not in a valid state for account 123456789012"):
        shell(ssm, instance)
    aws.clock.advance(31)
    assert pings() == ["Online"]
    shell(ssm, instance)
    aws.commands.offline(instance)
    assert pings() == ["ConnectionLost"]
    with refused("InvalidInstanceId"):
        shell(ssm, instance)
    aws.commands.online(instance)
    ec2.stop_instances(InstanceIds=[instance])
    assert pings() == ["ConnectionLost"]
    ec2.terminate_instances(InstanceIds=[instance])
    assert pings() == []
    for bad in (instance, "i-00000000000000001"):
        with refused("InvalidInstanceId"):
            shell(ssm, bad)


def test_an_instance_that_goes_away_times_the_command_out(
    aws: SandboxAws, ssm: Any, ec2: Any, one: str
) -> None:
    aws.settings.update(command_seconds=10.0)
    command = shell(ssm, one, TimeoutSeconds=60)
    ec2.terminate_instances(InstanceIds=[one])
    aws.clock.advance(30)
    assert result(ssm, command, one)["Status"] == "InProgress"
    aws.clock.advance(31)
    got = result(ssm, command, one)
    assert (got["Status"], got["StatusDetails"]) == ("TimedOut", "DeliveryTimedOut")
    assert command_of(ssm, command)["DeliveryTimedOutCount"] == 1


def test_cancelling(aws: SandboxAws, ssm: Any, ec2: Any, base: str, one: str, refused: Any) -> None:
    two = launch(ec2, base, "two")
    aws.settings.update(command_seconds=10.0)
    command = shell(ssm, one, two)
    ssm.cancel_command(CommandId=command, InstanceIds=[one])
    aws.clock.advance(11)
    assert [result(ssm, command, i)["Status"] for i in (one, two)] == ["Cancelled", "Success"]
    assert command_of(ssm, command)["Status"] == "Cancelled"
    ssm.cancel_command(CommandId=command)
    assert result(ssm, command, two)["Status"] == "Success"
    with refused("InvalidCommandId"):
        ssm.cancel_command(CommandId="00000000-0000-0000-0000-000000000000")


def test_invocations_appear_late(aws: SandboxAws, ssm: Any, one: str, refused: Any) -> None:
    aws.settings.update(invocation_lag=2.0)
    command = shell(ssm, one)
    with refused("InvocationDoesNotExist"):
        result(ssm, command, one)
    aws.clock.advance(2)
    assert result(ssm, command, one)["Status"] == "Success"
    with refused("InvocationDoesNotExist"):
        result(ssm, command, "i-00000000000000001")


def test_lists_are_filtered_paged_and_per_account(
    aws: SandboxAws, ssm: Any, one: str, refused: Any
) -> None:
    ids = [shell(ssm, one) for _ in range(3)]
    aws.commands.fail_next()
    ids.append(shell(ssm, one))
    first = ssm.list_commands(MaxResults=3)
    rest = ssm.list_commands(MaxResults=3, NextToken=first["NextToken"])
    assert [c["CommandId"] for c in first["Commands"] + rest["Commands"]] == ids[::-1]
    failed = ssm.list_commands(Filters=[{"key": "Status", "value": "Failed"}])["Commands"]
    assert [c["CommandId"] for c in failed] == ids[3:]
    listed = ssm.list_command_invocations(Filters=[{"key": "Status", "value": "Success"}])
    assert len(listed["CommandInvocations"]) == 3
    other = aws.client("ssm", account=B)
    assert other.list_commands()["Commands"] == []
    with refused("InvalidCommandId"):
        other.list_commands(CommandId=ids[0])


def test_bad_requests(ssm: Any, one: str, refused: Any) -> None:
    with refused("ValidationException"):
        shell(ssm)
    with refused("DuplicateInstanceId"):
        shell(ssm, one, one)
    with refused("InvalidFilterKey"):
        ssm.describe_instance_information(Filters=[{"Key": "Colour", "Values": ["red"]}])


def test_a_client_token_launches_once(ec2: Any, base: str, refused: Any) -> None:
    first = launch(ec2, base, ClientToken="t")
    assert launch(ec2, base, ClientToken="t") == first
    with refused("IdempotentParameterMismatch"):
        launch(ec2, base, "two", ClientToken="t")
    ec2.terminate_instances(InstanceIds=[first])
    # As on AWS the token still means the instance that is gone.
    again = ec2.describe_instances(InstanceIds=[launch(ec2, base, ClientToken="t")])
    assert again["Reservations"][0]["Instances"][0]["State"]["Name"] == "terminated"
    assert launch(ec2, base) != first


def test_a_launch_keeps_what_it_was_given(aws: SandboxAws, ec2: Any, base: str) -> None:
    aws.client("iam").create_instance_profile(InstanceProfileName="builder")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    instance = launch(
        ec2,
        base,
        "kept",
        InstanceType="t3.small",
        SubnetId=subnet,
        IamInstanceProfile={"Name": "builder"},
        UserData="#!/bin/sh\ntrue\n",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
    )
    answer = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["kept"]}])
    found = answer["Reservations"][0]["Instances"][0]
    assert (found["InstanceId"], found["InstanceType"]) == (instance, "t3.small")
    assert found["SubnetId"] == subnet
    assert found["IamInstanceProfile"]["Arn"].endswith(":instance-profile/builder")
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert found["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    data = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")
    assert base64.b64decode(data["UserData"]["Value"]) == b"#!/bin/sh\ntrue\n"
    aws.clock.advance(3600)
    later = launch(ec2, base, "later")
    times = {
        i["InstanceId"]: i["LaunchTime"]
        for r in ec2.describe_instances()["Reservations"]
        for i in r["Instances"]
    }
    assert (times[later] - times[instance]).total_seconds() >= 3600
