"""Start, accounts, counting and what happens to calls that moto cannot serve."""

import os
import subprocess
import sys
from typing import Any

import boto3
import pytest

from gilder.sandbox.aws.counting import CallKey
from gilder.sandbox.aws.seed import make_role
from gilder.sandbox.aws.server import DEFAULT_ACCOUNT, SandboxAws, start_aws


def test_a_second_one_is_refused_while_one_runs(aws: SandboxAws) -> None:
    with pytest.raises(RuntimeError, match="only one per process"):
        start_aws()
    assert aws.url.startswith("http://127.0.0.1:")


def test_unknown_settings_are_refused(aws: SandboxAws) -> None:
    with pytest.raises(TypeError, match="no such setting: imagedelay"):
        aws.settings.update(imagedelay=3)


def test_the_environment_is_enough_for_any_sdk(aws: SandboxAws) -> None:
    program = (
        "import boto3; print(boto3.client('sts').get_caller_identity()['Account'], "
        "boto3.client('ec2').meta.region_name)"
    )
    env = {**os.environ, **aws.client_env("222222222222", "eu-central-1")}
    out = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["222222222222", "eu-central-1"]


@pytest.mark.parametrize("account", [DEFAULT_ACCOUNT, "222222222222"])
def test_a_12_digit_access_key_acts_as_that_account(aws: SandboxAws, account: str) -> None:
    identity = aws.client("sts", account=account).get_caller_identity()
    assert identity["Account"] == account
    assert identity["Arn"] == f"arn:aws:iam::{account}:user/sandbox"


def test_any_other_access_key_is_the_default_account(aws: SandboxAws) -> None:
    client = boto3.client(
        "sts",
        region_name="eu-west-1",
        endpoint_url=aws.url,
        aws_access_key_id="testing",
        aws_secret_access_key="x",
    )
    assert client.get_caller_identity()["Account"] == DEFAULT_ACCOUNT


@pytest.mark.usefixtures("base")
def test_an_assumed_role_acts_in_its_account(aws: SandboxAws) -> None:
    role = make_role(aws, "333333333333", "gilder", trust=[DEFAULT_ACCOUNT])
    answer = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="test")
    credentials = answer["Credentials"]
    session = {
        "region_name": "eu-west-1",
        "endpoint_url": aws.url,
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }
    identity = boto3.client("sts", **session).get_caller_identity()
    assert identity["Account"] == "333333333333"
    assert identity["Arn"] == "arn:aws:sts::333333333333:assumed-role/gilder/test"
    boto3.client("ec2", **session).describe_images(Owners=["self"])
    assert aws.requests.total("DescribeImages", account="333333333333") == 1


@pytest.mark.usefixtures("base")
def test_accounts_have_separate_state(aws: SandboxAws) -> None:
    other = aws.client("ec2", account="222222222222")
    assert other.describe_images(Owners=["self"])["Images"] == []
    assert other.describe_images()["Images"] == []


def test_calls_are_counted_by_service_action_region_and_account(aws: SandboxAws) -> None:
    aws.client("ec2").describe_images()
    aws.client("ec2").describe_images()
    aws.client("kms", "us-east-1", "222222222222").list_keys()
    assert aws.requests.snapshot() == {
        CallKey("ec2", "DescribeImages", "eu-west-1", DEFAULT_ACCOUNT): 2,
        CallKey("kms", "ListKeys", "us-east-1", "222222222222"): 1,
    }
    assert [k.action for k in aws.requests.history()] == [
        "DescribeImages",
        "DescribeImages",
        "ListKeys",
    ]
    assert aws.requests.total(service="ec2") == 2
    assert aws.requests.by_action() == {"ec2:DescribeImages": 2, "kms:ListKeys": 1}
    aws.requests.reset()
    assert aws.requests.snapshot() == {}


def test_an_unimplemented_action_is_an_error_of_aws(ec2: Any, refused: Any) -> None:
    with refused("UnsupportedOperation", "does not implement"):
        ec2.describe_fast_launch_images()


@pytest.mark.usefixtures("base")
def test_reset_forgets_state_and_restores_settings(aws: SandboxAws) -> None:
    aws.settings.update(image_delay=5.0)
    aws.clock.advance(100)
    aws.reset()
    assert aws.client("ec2").describe_images()["Images"] == []
    assert aws.settings.image_delay == 0.0
    with aws.settings.changed(image_delay=1.0):
        assert aws.settings.image_delay == 1.0
    assert aws.settings.image_delay == 0.0


def test_regions_are_listed_with_their_opt_in_status(ec2: Any) -> None:
    regions = ec2.describe_regions()["Regions"]
    statuses = {r["RegionName"]: r["OptInStatus"] for r in regions}
    assert statuses["eu-west-1"] == "opt-in-not-required"
