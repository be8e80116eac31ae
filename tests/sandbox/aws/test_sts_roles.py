"""Assumed roles: who may, as whom they act, for how long, and how their calls fail."""

import json
from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_role, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

A, B, C = "123456789012", "222222222222", "333333333333"


def trust(aws: SandboxAws, account: str, role: str, *statements: dict[str, Any]) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    aws.client("iam", "us-east-1", account).update_assume_role_policy(
        RoleName=role, PolicyDocument=document
    )


def test_calls_of_a_session_act_in_the_roles_account(aws: SandboxAws) -> None:
    arn = make_role(aws, B, "reader", trust=[A])
    assert arn == f"arn:aws:iam::{B}:role/reader"
    answer = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="gilder")
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{B}:assumed-role/reader/gilder"
    session = aws.assume(arn, name="gilder")
    told = aws.client_as(session, "sts").get_caller_identity()
    assert (told["Account"], told["Arn"]) == (B, f"arn:aws:sts::{B}:assumed-role/reader/gilder")
    assert told["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    theirs = register(aws, "theirs", make_snapshot(aws, account=B), account=B)
    register(aws, "ours", make_snapshot(aws))
    found = aws.client_as(session, "ec2").describe_images(Owners=["self"])["Images"]
    assert [i["ImageId"] for i in found] == [theirs]
    key = aws.client_as(session, "kms").create_key()["KeyMetadata"]["Arn"]
    assert key.split(":")[4] == B
    aws.client_as(session, "ssm").put_parameter(Name="/x", Value="y", Type="String")
    assert aws.client("ssm", account=B).get_parameter(Name="/x")["Parameter"]["Value"] == "y"
    assert aws.requests.total("DescribeImages", account=B) == 1


def test_a_role_that_does_not_exist_or_does_not_trust(aws: SandboxAws, refused: Any) -> None:
    missing = f"arn:aws:iam::{B}:role/missing"
    words = (
        rf"^User: arn:aws:iam::{A}:user/sandbox is not authorized to perform: sts:AssumeRole "
        rf"on resource: {missing}$"
    )
    with refused("AccessDenied", words):
        aws.assume(missing)
    arn = make_role(aws, B, "reader", trust=[C])
    with refused("AccessDenied", f"sts:AssumeRole on resource: {arn}$"):
        aws.assume(arn)
    assert aws.assume(arn, account=C)["AccessKeyId"].startswith("ASIA")
    for bad in (f"arn:aws:iam::{B}:user/x", "not-an-arn-but-long-enough"):
        with refused("ValidationError"):
            aws.assume(bad)


@pytest.mark.parametrize(
    "trusted", [A, f"arn:aws:iam::{A}:root", f"arn:aws:iam::{A}:user/sandbox", "*"]
)
def test_trusted_principals(aws: SandboxAws, trusted: str) -> None:
    assert aws.assume(make_role(aws, B, "reader", trust=[trusted]))


def test_the_external_id(aws: SandboxAws, refused: Any) -> None:
    arn = make_role(aws, B, "reader", trust=[A], external_id="secret-1")
    with refused("AccessDenied"):
        aws.assume(arn)
    with refused("AccessDenied"):
        aws.assume(arn, ExternalId="secret-2")
    assert aws.assume(arn, ExternalId="secret-1")


def test_a_deny_in_the_trust_policy_wins(aws: SandboxAws, refused: Any) -> None:
    arn = make_role(aws, B, "reader", trust=[A])
    allow = {"Effect": "Allow", "Principal": {"AWS": A}, "Action": "sts:AssumeRole"}
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sts:AssumeRole",
        "Condition": {"StringNotEquals": {"sts:RoleSessionName": "gilder"}},
    }
    trust(aws, B, "reader", allow, deny)
    with refused("AccessDenied"):
        aws.assume(arn)
    assert aws.assume(arn, name="gilder")


def test_roles_are_chained(aws: SandboxAws, refused: Any) -> None:
    hub = make_role(aws, A, "hub", trust=[A])
    spoke = make_role(aws, B, "spoke", trust=[hub])
    with refused("AccessDenied"):
        aws.assume(spoke)
    first = aws.assume(hub)
    second = aws.assume(spoke, by=first)
    told = aws.client_as(second, "sts").get_caller_identity()
    assert told["Arn"] == f"arn:aws:sts::{B}:assumed-role/spoke/sandbox"
    # A chain does not go back by itself.
    with refused("AccessDenied", f"User: arn:aws:sts::{B}:assumed-role/spoke/sandbox is not"):
        aws.assume(make_role(aws, C, "far", trust=[hub]), by=second)


def test_a_session_itself_can_be_trusted(aws: SandboxAws, refused: Any) -> None:
    hub = make_role(aws, A, "hub", trust=[A])
    spoke = make_role(aws, B, "spoke", trust=[f"arn:aws:sts::{A}:assumed-role/hub/one"])
    assert aws.assume(spoke, by=aws.assume(hub, name="one"))
    with refused("AccessDenied"):
        aws.assume(spoke, by=aws.assume(hub, name="two"))


def test_durations(aws: SandboxAws, refused: Any) -> None:
    long = make_role(aws, B, "long", trust=[A], max_seconds=43_200)
    short = make_role(aws, B, "short", trust=[A])
    with refused("ValidationError", "MaxSessionDuration"):
        aws.assume(short, DurationSeconds=3601)
    with refused("ValidationError", "less than or equal to 43200"):
        aws.assume(long, DurationSeconds=43_201)
    session = aws.assume(long, DurationSeconds=43_200)
    assert session["Expiration"].timestamp() == pytest.approx(aws.clock.time() + 43_200, abs=60)
    chained = make_role(aws, C, "chained", trust=[B], max_seconds=43_200)
    with refused("ValidationError", "role chaining"):
        aws.assume(chained, by=session, DurationSeconds=3601)
    assert aws.assume(chained, by=session, DurationSeconds=3600)


def test_credentials_expire_by_the_sandboxs_clock(aws: SandboxAws, refused: Any) -> None:
    session = aws.assume(make_role(aws, B, "reader", trust=[A]), DurationSeconds=900)
    clients = {s: aws.client_as(session, s) for s in ("ec2", "kms", "ssm", "sts", "organizations")}
    aws.clock.advance(870)
    clients["ec2"].describe_images()
    aws.clock.advance(60)
    for service, call, code in (
        ("ec2", "describe_images", "RequestExpired"),
        ("kms", "list_keys", "ExpiredTokenException"),
        ("ssm", "describe_parameters", "ExpiredTokenException"),
        ("sts", "get_caller_identity", "ExpiredToken"),
        ("organizations", "list_accounts", "ExpiredTokenException"),
    ):
        with refused(code, "expired"):
            getattr(clients[service], call)()


def test_sessions_end_with_their_role(aws: SandboxAws, refused: Any) -> None:
    session = aws.assume(make_role(aws, B, "reader", trust=[A]))
    aws.client("iam", "us-east-1", B).delete_role(RoleName="reader")
    with refused("UnrecognizedClientException"):
        aws.client_as(session, "kms").list_keys()
    make_role(aws, B, "reader", trust=[A])
    with refused("AuthFailure"):
        aws.client_as(session, "ec2").describe_images()
    with refused("InvalidClientTokenId"):
        aws.client_as({**session, "SessionToken": "other"}, "sts").get_caller_identity()


def test_session_tags(aws: SandboxAws, refused: Any) -> None:
    plain = make_role(aws, B, "plain", trust=[A])
    team = [{"Key": "team", "Value": "images"}]
    with refused("AccessDenied", "sts:TagSession"):
        aws.assume(plain, Tags=team)
    tagged = make_role(aws, B, "tagged", trust=[A], tag_session=True)
    asked = {
        "Effect": "Allow",
        "Principal": {"AWS": A},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {"StringEquals": {"aws:RequestTag/team": "images"}},
    }
    trust(aws, B, "tagged", asked)
    with refused("AccessDenied"):
        aws.assume(tagged)
    with refused("AccessDenied"):
        aws.assume(tagged, Tags=[{"Key": "team", "Value": "other"}])
    session = aws.assume(tagged, Tags=team, TransitiveTagKeys=["team"])
    far = make_role(aws, C, "far", trust=[B], tag_session=True)
    carried = {
        "Effect": "Allow",
        "Principal": {"AWS": B},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "images"}},
    }
    trust(aws, C, "far", carried)
    assert aws.assume(far, by=session)
    with refused("AccessDenied"):
        aws.assume(far, account=B)
    with refused("InvalidParameterValue"):
        aws.assume(far, by=session, Tags=team)


def test_key_policies_name_the_role_of_a_session(aws: SandboxAws, kms: Any, refused: Any) -> None:
    reader, other = (make_role(aws, B, name, trust=[A]) for name in ("reader", "other"))
    statements = json.loads(kms.get_key_policy(KeyId=(key := _key(kms)))["Policy"])
    statements["Statement"].append(
        {
            "Effect": "Allow",
            "Principal": {"AWS": reader},
            "Action": "kms:DescribeKey",
            "Resource": "*",
        }
    )
    kms.put_key_policy(KeyId=key, Policy=json.dumps(statements))
    assert aws.client_as(aws.assume(reader), "kms").describe_key(KeyId=key)
    with refused("AccessDeniedException", "assumed-role/other/sandbox"):
        aws.client_as(aws.assume(other), "kms").describe_key(KeyId=key)


def _key(kms: Any) -> str:
    arn: str = kms.create_key()["KeyMetadata"]["Arn"]
    return arn


def test_faults_of_one_account_or_role(aws: SandboxAws, refused: Any) -> None:
    reader, other = (make_role(aws, B, name, trust=[A]) for name in ("reader", "other"))
    sessions = {arn: aws.client_as(aws.assume(arn), "ec2") for arn in (reader, other)}
    fault = aws.faults.deny("DescribeImages", role=reader)
    with refused("UnauthorizedOperation", "assumed-role/reader/sandbox"):
        sessions[reader].describe_images()
    sessions[other].describe_images()
    fault.remove()
    aws.faults.throttle(1, role="reader")
    with refused("RequestLimitExceeded"):
        sessions[reader].describe_images()
    down = aws.faults.account_down(B)
    with refused("ServiceUnavailable"):
        sessions[other].describe_images()
    aws.client("ec2").describe_images()
    down.remove()
    aws.faults.fail("sts:AssumeRole", "AccessDenied", account=A)
    with refused("AccessDenied"):
        aws.assume(reader)
    assert aws.assume(reader)
