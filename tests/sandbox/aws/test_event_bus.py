"""Events of several accounts, of parameters, of keys and snapshots, and of organizations."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_key, make_role, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

A, B, C = "123456789012", "222222222222", "333333333333"
Read = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def read(aws: SandboxAws) -> Iterator[Read]:
    """Opens the queue for account B's events too; then reads so many events from it."""
    sqs, queue = aws.client("sqs"), aws.events(accounts=[B])

    def events(count: int, seconds: float = 5.0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < deadline:
            answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
        assert len(found) == count, found
        return found

    yield events
    aws.bus.reset()


def test_events_tell_whose_they_are(aws: SandboxAws, read: Read) -> None:
    images = {
        a: register(aws, "image", make_snapshot(aws, account=a), account=a) for a in (A, B, C)
    }
    # Each account makes a volume, a snapshot and an AMI, whose state is told of as well.
    told = [e for e in read(10) if e["detail-type"] == "EC2 AMI State Change"]
    assert {(e["account"], e["detail"]["ImageId"]) for e in told} == {
        (A, images[A]),
        (B, images[B]),
    }


def test_calls_of_other_accounts(aws: SandboxAws, base: str, read: Read) -> None:
    role = make_role(aws, B, "reader", trust=[A])
    reader = aws.client_as(aws.assume(role, name="gilder"), "ec2")
    aws.client("ec2").modify_image_attribute(
        ImageId=base, LaunchPermission={"Add": [{"UserId": B}, {"UserId": C}]}
    )
    reader.create_tags(Resources=[base], Tags=[{"Key": "a", "Value": "b"}])
    aws.client("ec2", account=C).create_tags(Resources=[base], Tags=[{"Key": "a", "Value": "b"}])
    shared, tagged = read(2)
    assert (shared["account"], shared["detail"]["eventName"]) == (A, "ModifyImageAttribute")
    assert (tagged["account"], tagged["detail"]["recipientAccountId"]) == (B, B)
    identity = tagged["detail"]["userIdentity"]
    assert identity["type"] == "AssumedRole"
    assert identity["arn"] == f"arn:aws:sts::{B}:assumed-role/reader/gilder"
    assert identity["sessionContext"]["sessionIssuer"]["arn"] == role


def test_use_of_another_accounts_key_is_told_to_both(aws: SandboxAws, read: Read) -> None:
    key, kms = make_key(aws, "eu-west-1", None), aws.client("kms")
    grant = {"KeyId": key, "Operations": ["CreateGrant", "Decrypt"]}
    kms.create_grant(GranteePrincipal=f"arn:aws:iam::{B}:root", **grant)
    aws.client("kms", account=B).create_grant(
        KeyId=key, GranteePrincipal=f"arn:aws:iam::{C}:root", Operations=["Decrypt"]
    )
    events = read(4)
    assert [e["detail"]["eventName"] for e in events] == ["CreateKey"] + 3 * ["CreateGrant"]
    assert [e["account"] for e in events] == [A, A, A, B]
    for event in events[2:]:
        assert event["detail"]["userIdentity"]["accountId"] == B
        assert event["detail"]["resources"][0]["ARN"] == key


def test_changes_of_parameters(aws: SandboxAws, base: str, read: Read, refused: Any) -> None:
    ssm = aws.client("ssm", "us-east-1")
    ssm.put_parameter(Name="/golden/x", Value="1", Type="String")
    ssm.put_parameter(Name="/golden/x", Value="2", Type="String", Overwrite=True)
    with refused("ParameterAlreadyExists"):
        ssm.put_parameter(Name="/golden/x", Value="3", Type="String")
    ssm.get_parameter(Name="/golden/x")
    ssm.delete_parameter(Name="/golden/x")
    aws.client("ssm", account=B).put_parameter(
        Name="plain", Value="1", Type="StringList", Description="d"
    )
    aws.client("ssm").put_parameter(
        Name="/golden/ami", Value=base, Type="String", DataType="aws:ec2:image"
    )
    events = read(5)
    assert all(
        (e["source"], e["detail-type"]) == ("aws.ssm", "Parameter Store Change") for e in events
    )
    assert [(e["account"], e["detail"]["operation"], e["detail"]["name"]) for e in events] == [
        (A, "Create", "/golden/x"),
        (A, "Update", "/golden/x"),
        (A, "Delete", "/golden/x"),
        (B, "Create", "plain"),
        (A, "Create", "/golden/ami"),
    ]
    assert events[0]["region"] == "us-east-1"
    assert events[0]["resources"] == [f"arn:aws:ssm:us-east-1:{A}:parameter/golden/x"]
    assert events[3]["resources"] == [f"arn:aws:ssm:eu-west-1:{B}:parameter/plain"]
    assert (events[3]["detail"]["type"], events[3]["detail"]["description"]) == ("StringList", "d")
    assert events[4]["detail"]["dataType"] == "aws:ec2:image"
    assert "dataType" not in events[0]["detail"]


def test_key_policies_and_snapshot_permissions(aws: SandboxAws, ec2: Any, kms: Any) -> None:
    key, snapshot = make_key(aws, "eu-west-1", None), make_snapshot(aws)
    policy = kms.get_key_policy(KeyId=key)["Policy"]
    aws.events()
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, OperationType="add", UserIds=[B])
    put, shared = aws.bus.sent
    aws.bus.reset()
    assert (put["source"], put["detail"]["eventName"]) == ("aws.kms", "PutKeyPolicy")
    assert put["detail"]["requestParameters"] == {
        "keyId": key,
        "policyName": "default",
        "policy": policy,
    }
    assert put["detail"]["resources"][0]["ARN"] == key
    assert shared["detail"]["eventName"] == "ModifySnapshotAttribute"
    assert shared["detail"]["requestParameters"]["createVolumePermission"] == {
        "add": {"items": [{"userId": B}]}
    }


def test_moves_of_accounts_are_told_in_us_east_1(aws: SandboxAws, read: Read) -> None:
    org = aws.client("organizations", "eu-west-1")
    org.create_organization()
    root = org.list_roots()["Roots"][0]["Id"]
    unit = org.create_organizational_unit(ParentId=root, Name="u")["OrganizationalUnit"]["Id"]
    aws.choose_account_ids(B)
    org.create_account(AccountName="b", Email="b@example.com")
    org.move_account(AccountId=B, SourceParentId=root, DestinationParentId=unit)
    org.close_account(AccountId=B)
    events = read(5)
    assert [e["detail"]["eventName"] for e in events] == [
        "CreateOrganization",
        "CreateOrganizationalUnit",
        "CreateAccount",
        "MoveAccount",
        "CloseAccount",
    ]
    moved = events[3]
    assert (moved["source"], moved["account"], moved["region"]) == (
        "aws.organizations",
        A,
        "us-east-1",
    )
    assert moved["detail"]["eventSource"] == "organizations.amazonaws.com"
    assert moved["detail"]["awsRegion"] == "us-east-1"
    assert moved["detail"]["requestParameters"] == {
        "accountId": B,
        "sourceParentId": root,
        "destinationParentId": unit,
    }
    assert moved["detail"]["responseElements"] is None


def test_what_is_not_forwarded_does_not_come(aws: SandboxAws, base: str) -> None:
    aws.events()
    aws.client("ec2").modify_image_attribute(
        ImageId=base, LaunchPermission={"Add": [{"UserId": B}]}
    )
    for account in (A, B):
        aws.client("ec2", account=account).create_tags(
            Resources=[base], Tags=[{"Key": "a", "Value": "b"}]
        )
    assert [e["account"] for e in aws.bus.sent] == [A, A]
    aws.bus.reset()
