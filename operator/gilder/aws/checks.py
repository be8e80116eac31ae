"""Test instances, and the commands of Systems Manager that check an AMI on them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from gilder.api.names import TAG_CLUSTER, TAG_IMAGE, TAG_TEST
from gilder.aws import errors
from gilder.aws.permissions import needs
from gilder.core.actions import LaunchTest, RunCheck
from gilder.core.times import rfc3339
from gilder.core.work import SeenCheck, SeenTest

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ssm.client import SSMClient

FILTER_VALUES = 100  # values of a filter of DescribeInstanceInformation, 100 at most
PAGE = 50  # MaxResults of Systems Manager, 50 at most
OUTPUT = 2500  # characters of output that ListCommandInvocations shows
DELIVERY = (30, 2_592_000)  # least and most seconds that a command may wait for its instance
EXECUTION = 172_800  # most seconds that a script may take
SCRIPTS = frozenset({"AWS-RunShellScript", "AWS-RunPowerShellScript"})


@needs("ec2:DescribeInstances")
def tests(ec2: "EC2Client", cluster: str) -> list[SeenTest]:
    """Our test instances; EC2 shows terminated ones for about an hour."""
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[
            {"Name": f"tag:{TAG_CLUSTER}", "Values": [cluster]},
            {"Name": "tag-key", "Values": [TAG_TEST]},
        ]
    )
    return [
        _test(raw)
        for page in pages
        for reservation in page["Reservations"]
        for raw in reservation["Instances"]
    ]


def _test(raw: Mapping[str, Any]) -> SeenTest:
    tags = {t["Key"]: t["Value"] for t in raw.get("Tags", [])}
    return SeenTest(
        id=raw["InstanceId"],
        image=tags.get(TAG_TEST, ""),
        owner=tags.get(TAG_IMAGE, ""),
        state=raw["State"]["Name"],
        launched=rfc3339(raw["LaunchTime"]) if "LaunchTime" in raw else "",
        reason=(raw.get("StateReason") or {}).get("Message", ""),
    )


@needs("ec2:RunInstances", "ec2:CreateTags", "iam:PassRole")
def launch(ec2: "EC2Client", action: LaunchTest) -> str:
    """Launch a test instance without a key pair; the same token gives the same instance.

    It ends itself, in case nobody is there to do it.
    """
    tags = [{"Key": k, "Value": v} for k, v in sorted(action.tags.items())]
    request: dict[str, Any] = {
        "ImageId": action.image,
        "InstanceType": action.type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": action.token,
        "IamInstanceProfile": {"Name": action.profile},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required"},
        "UserData": _user_data(action),
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags}
            for kind in ("instance", "volume", "network-interface")
        ],
    }
    if action.subnet:
        request["SubnetId"] = action.subnet
    if action.groups:
        request["SecurityGroupIds"] = list(action.groups)
    return str(ec2.run_instances(**request)["Instances"][0]["InstanceId"])


def _user_data(action: LaunchTest) -> str:
    if action.platform == "windows":
        return f"<powershell>shutdown /s /t {action.minutes * 60}</powershell>"
    return f"#!/bin/sh\nshutdown -P +{action.minutes}\n"


@needs("ec2:TerminateInstances")
def end(ec2: "EC2Client", instance: str) -> None:
    """Terminate a test instance; one that is gone already is no error."""
    try:
        ec2.terminate_instances(InstanceIds=[instance])
    except ClientError as error:
        if not errors.code(error).startswith("InvalidInstanceID."):
            raise


@needs("ssm:DescribeInstanceInformation")
def online(ssm: "SSMClient", instances: Iterable[str]) -> frozenset[str]:
    """Those of the instances whose agent answers Systems Manager."""
    wanted = sorted(set(instances))
    found: set[str] = set()
    for begin in range(0, len(wanted), FILTER_VALUES):
        pages = ssm.get_paginator("describe_instance_information").paginate(
            Filters=[{"Key": "InstanceIds", "Values": wanted[begin : begin + FILTER_VALUES]}],
            PaginationConfig={"PageSize": PAGE},
        )
        found |= {
            raw["InstanceId"]
            for page in pages
            for raw in page["InstanceInformationList"]
            if raw.get("PingStatus") == "Online"
        }
    return frozenset(found)


@needs("ssm:SendCommand")
def run(ssm: "SSMClient", action: RunCheck) -> str:
    """Send a check to its test instance and nowhere else; the id of the command.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_SendCommand.html
    """
    parameters = {k: list(v) for k, v in action.parameters.items()}
    if action.document in SCRIPTS:
        parameters.setdefault("executionTimeout", [str(min(action.seconds, EXECUTION))])
    least, most = DELIVERY
    request: dict[str, Any] = {
        "InstanceIds": [action.instance],
        "DocumentName": action.document,
        "Parameters": parameters,
        "Comment": action.check,
        "TimeoutSeconds": max(least, min(action.seconds, most)),
    }
    if action.version:
        request["DocumentVersion"] = action.version
    return str(ssm.send_command(**request)["Command"]["CommandId"])


@needs("ssm:ListCommandInvocations")
def sent(ssm: "SSMClient", instances: Iterable[str], since: str = "") -> list[SeenCheck]:
    """Commands on these instances, of the whole Region's since an RFC 3339 time.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListCommandInvocations.html
    """
    wanted = frozenset(instances)
    filters: Any = {"Filters": [{"key": "InvokedAfter", "value": since}]} if since else {}
    pages = ssm.get_paginator("list_command_invocations").paginate(
        Details=True, PaginationConfig={"PageSize": PAGE}, **filters
    )
    return [
        _check(raw)
        for page in pages
        for raw in page["CommandInvocations"]
        if raw["InstanceId"] in wanted
    ]


def _check(raw: Mapping[str, Any]) -> SeenCheck:
    last = _telling(raw.get("CommandPlugins", []))
    return SeenCheck(
        instance=raw["InstanceId"],
        comment=raw.get("Comment", ""),
        status=raw["Status"],
        details=raw.get("StatusDetails", ""),
        output=last.get("Output", "")[:OUTPUT],
        code=last.get("ResponseCode", 0),
        command=raw["CommandId"],
    )


def _telling(plugins: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last step that did not succeed, or else the last one."""
    failed = [p for p in plugins if p.get("Status") in ("Failed", "TimedOut", "Cancelled")]
    return (failed or [*plugins] or [{}])[-1]
