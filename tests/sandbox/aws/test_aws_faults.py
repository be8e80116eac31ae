"""Faults surface to an SDK as AWS's own errors do."""

import time
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.parsers import ResponseParserError

from gilder.sandbox.aws.server import SandboxAws
from gilder.sandbox.process import wait_for


def test_throttling_the_next_calls(aws: SandboxAws, ec2: Any, kms: Any, refused: Any) -> None:
    fault = aws.faults.throttle(2, "DescribeImages|ListKeys")
    with refused("RequestLimitExceeded"):
        ec2.describe_images()
    with refused("ThrottlingException"):
        kms.list_keys()
    ec2.describe_images()
    assert fault.hits == 2


def test_throttling_is_retried_by_the_standard_mode(aws: SandboxAws) -> None:
    aws.faults.throttle(2, "DescribeImages")
    client = boto3.client(
        "ec2",
        region_name="eu-west-1",
        endpoint_url=aws.url,
        aws_access_key_id="123456789012",
        aws_secret_access_key="x",
        config=Config(retries={"mode": "standard", "total_max_attempts": 4}),
    )
    answer = client.describe_images()
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2


def test_a_share_of_calls_is_throttled(aws: SandboxAws, ec2: Any) -> None:
    fault = aws.faults.throttle(rate=0.5)
    for _ in range(40):
        with suppress(ClientError):
            ec2.describe_regions()
    assert 5 < fault.hits < 35
    fault.remove()
    ec2.describe_regions()


def test_one_failure_without_effect(aws: SandboxAws, ec2: Any, base: str, refused: Any) -> None:
    aws.faults.fail("ec2:DeregisterImage", "InternalError", "broken", status=500)
    with refused("InternalError", "broken"):
        ec2.deregister_image(ImageId=base)
    assert ec2.describe_images(ImageIds=[base])["Images"]
    ec2.deregister_image(ImageId=base)


def test_denials_in_the_words_of_each_service(
    aws: SandboxAws, ec2: Any, kms: Any, refused: Any
) -> None:
    aws.faults.deny(".*")
    with refused("UnauthorizedOperation", "not authorized"):
        ec2.describe_images()
    with refused("AccessDeniedException", "kms:ListKeys"):
        kms.list_keys()
    with refused("AccessDenied"):
        aws.client("sts").get_caller_identity()
    aws.faults.clear()
    ec2.describe_images()


def test_faults_can_be_limited_to_a_region_and_an_account(
    aws: SandboxAws, ec2: Any, refused: Any
) -> None:
    aws.faults.deny("DescribeImages", region="us-east-1")
    aws.faults.deny("DescribeImages", account="222222222222")
    ec2.describe_images()
    with refused("UnauthorizedOperation"):
        aws.client("ec2", "us-east-1").describe_images()
    with refused("UnauthorizedOperation"):
        aws.client("ec2", account="222222222222").describe_images()


@pytest.mark.parametrize("drop", [True, False])
def test_an_answer_lost_after_the_effect(aws: SandboxAws, ec2: Any, base: str, drop: bool) -> None:
    aws.faults.timeout_after_effect("CopyImage", drop=drop)
    request = {
        "Name": "copied",
        "SourceImageId": base,
        "SourceRegion": "eu-west-1",
        "ClientToken": "token-1",
    }
    with pytest.raises(ConnectionClosedError if drop else ClientError):
        ec2.copy_image(**request)
    found = ec2.describe_images(Filters=[{"Name": "name", "Values": ["copied"]}])["Images"]
    assert [i["ImageId"] for i in found] == [ec2.copy_image(**request)["ImageId"]]


def test_a_dead_region(aws: SandboxAws, ec2: Any, refused: Any) -> None:
    fault = aws.faults.region_down("us-east-1")
    with refused("ServiceUnavailable"):
        aws.client("ec2", "us-east-1").describe_images()
    ec2.describe_images()
    fault.remove()
    dropped = aws.faults.region_down("us-east-1", drop=True)
    with pytest.raises(ConnectionClosedError):
        aws.client("ec2", "us-east-1").describe_images()
    dropped.remove()
    aws.client("ec2", "us-east-1").describe_images()


def test_hooks_before_and_after_may_call_aws(aws: SandboxAws, ec2: Any, base: str) -> None:
    seen: list[str] = []

    def interfere(_: Any) -> None:
        seen.append("before")
        ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"Group": "all"}]})

    aws.faults.before("DescribeImages", interfere, times=1)
    aws.faults.after("DescribeImages", lambda key: seen.append(key.action))
    assert ec2.describe_images(ImageIds=[base])["Images"][0]["Public"] is True
    assert seen == ["before", "DescribeImages"]


def test_latency(aws: SandboxAws, ec2: Any) -> None:
    aws.faults.latency(0.2, "DescribeRegions")
    start = time.monotonic()
    ec2.describe_regions()
    assert time.monotonic() - start >= 0.2


def test_reads_that_lag_behind_creation(aws: SandboxAws, ec2: Any, base: str, refused: Any) -> None:
    aws.faults.lag = 60
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    with refused("InvalidAMIID.NotFound"):
        ec2.describe_images(ImageIds=[base])
    aws.clock.advance(61)
    assert len(ec2.describe_images(Owners=["self"])["Images"]) == 1


def tag(ec2: Any, image: str, value: str) -> None:
    ec2.create_tags(Resources=[image], Tags=[{"Key": "n", "Value": value}])


def tagged(ec2: Any, image: str) -> str:
    (found,) = ec2.describe_images(ImageIds=[image])["Images"]
    return next((t["Value"] for t in found.get("Tags", []) if t["Key"] == "n"), "")


def test_a_call_that_is_cut_has_no_effect(aws: SandboxAws, ec2: Any, base: str) -> None:
    seen = []

    def second(key: Any) -> bool:
        seen.append(key.action)
        return len(seen) == 2

    aws.faults.cut("CreateTags", second)
    tag(ec2, base, "1")
    with pytest.raises(ConnectionClosedError):
        tag(ec2, base, "2")
    assert tagged(ec2, base) == "1"
    tag(ec2, base, "3")
    assert tagged(ec2, base) == "3"
    assert seen == ["CreateTags"] * 3


@pytest.mark.parametrize("body", [b"<html></html>", b"", b"<a>", b"{"])
def test_an_answer_that_is_none_after_the_effect(
    aws: SandboxAws, ec2: Any, base: str, body: bytes
) -> None:
    fault = aws.faults.garble(body, "CreateTags", times=1)
    with suppress(ResponseParserError):
        tag(ec2, base, "1")
    assert fault.hits == 1
    assert tagged(ec2, base) == "1"


def test_reads_are_answered_from_before_a_change(aws: SandboxAws, ec2: Any, base: str) -> None:
    aws.faults.stale.lag = 1.0
    assert tagged(ec2, base) == ""
    tag(ec2, base, "1")
    assert tagged(ec2, base) == "", "it was read before"
    (other,) = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["n"]}])["Tags"]
    assert other["Value"] == "1", "and this was not"
    assert wait_for(lambda: tagged(ec2, base) == "1", 5)
    tag(ec2, base, "2")
    aws.faults.clear()
    assert tagged(ec2, base) == "2"


def test_calls_by_hand_are_out_of_reach(aws: SandboxAws, base: str) -> None:
    aws.faults.throttle()
    aws.requests.reset()
    aws.hands = True
    try:
        tag(aws.client("ec2"), base, "1")
        assert tagged(aws.client("ec2"), base) == "1"
    finally:
        aws.hands = False
    assert aws.requests.by_action() == {}
    with pytest.raises(ClientError):
        tag(aws.client("ec2"), base, "2")
