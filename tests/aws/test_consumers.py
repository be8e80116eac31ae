"""A shared AMI as a consumer's role sees it, read back from both accounts."""

import pytest
from botocore.exceptions import ClientError
from trust import PROD, make_role

from gilder.api.access import AssumedRole
from gilder.aws import consumers, images, keys
from gilder.aws.sessions import Sessions
from gilder.core.observed import NOBODY, Principals
from gilder.sandbox.aws.seed import Seeded, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"
OPERATIONS = (
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
)


@pytest.fixture
def consumer(aws: SandboxAws) -> Sessions:
    arn = make_role(aws, PROD, "gilder-consumer", external_id="xyz")
    return Sessions(HOME, roles=[AssumedRole(arn=arn, external_id="xyz")], expected=PROD)


def share(sessions: Sessions, image: str) -> None:
    who = Principals(frozenset({PROD}))
    images.modify_permissions(sessions.ec2(HOME), image, who, NOBODY)


def test_only_shared_amis_are_visible_and_unknown_ids_do_no_harm(
    sessions: Sessions, consumer: Sessions, seeded: Seeded
) -> None:
    ids = [seeded.base_image, *(f"ami-{n:017x}" for n in range(450))]
    assert consumers.visible(consumer.ec2(HOME), ids) == {}
    share(sessions, seeded.base_image)
    assert consumers.visible(consumer.ec2(HOME), ids) == {seeded.base_image: {}}


def test_tags_of_the_consumer_are_its_own(
    sessions: Sessions, consumer: Sessions, seeded: Seeded
) -> None:
    share(sessions, seeded.base_image)
    ec2, image = consumer.ec2(HOME), seeded.base_image
    consumers.tag(ec2, [image], {"team": "a", "env": "prod"})
    assert consumers.visible(ec2, [image]) == {image: {"team": "a", "env": "prod"}}
    (own,) = images.by_ids(sessions.ec2(HOME), [image])
    assert own["Tags"] == [{"Key": "Name", "Value": "base-al2023"}]
    consumers.untag(ec2, [image], ["env"])
    assert consumers.visible(ec2, [image]) == {image: {"team": "a"}}


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_a_dry_run_tells_whether_a_launch_is_allowed(
    sessions: Sessions, consumer: Sessions, seeded: Seeded, architecture: str
) -> None:
    ec2 = consumer.ec2(HOME)
    said = consumers.dry_run(ec2, seeded.base_image, architecture)
    assert said.startswith("InvalidAMIID.NotFound: ")
    share(sessions, seeded.base_image)
    assert consumers.dry_run(ec2, seeded.base_image, architecture) == ""
    found = ec2.describe_instances()["Reservations"]
    assert found == []


def test_what_says_nothing_about_the_ami_is_raised(
    aws: SandboxAws, consumer: Sessions, seeded: Seeded
) -> None:
    consumer.account()
    aws.faults.throttle(None, "RunInstances")
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        consumers.dry_run(consumer.ec2(HOME), seeded.base_image, "x86_64")
    aws.faults.clear()
    aws.faults.deny("RunInstances")
    assert "UnauthorizedOperation" in consumers.dry_run(
        consumer.ec2(HOME), seeded.base_image, "x86_64"
    )


def test_a_key_is_usable_with_a_grant_and_not_after(
    sessions: Sessions, consumer: Sessions, seeded: Seeded
) -> None:
    kms, key = consumer.kms(HOME), seeded.keys[HOME]
    assert "AccessDeniedException" in consumers.key_usable(kms, key)
    grant = keys.create_grant(
        sessions.kms(HOME),
        key=key,
        principal=f"arn:aws:iam::{PROD}:root",
        operations=OPERATIONS,
        name="x",
    )
    assert consumers.key_usable(kms, key) == ""
    sessions.kms(HOME).disable_key(KeyId=key)
    assert consumers.key_usable(kms, key) != ""
    sessions.kms(HOME).enable_key(KeyId=key)
    keys.revoke_grant(sessions.kms(HOME), key, grant)
    assert consumers.key_usable(kms, key) != ""


def test_a_key_that_may_only_be_described_is_not_usable(
    sessions: Sessions, consumer: Sessions, seeded: Seeded
) -> None:
    keys.create_grant(
        sessions.kms(HOME),
        key=seeded.keys[HOME],
        principal=f"arn:aws:iam::{PROD}:root",
        operations=("DescribeKey",),
        name="x",
    )
    said = consumers.key_usable(consumer.kms(HOME), seeded.keys[HOME])
    assert "GenerateDataKeyWithoutPlaintext" in said


def test_an_encrypted_ami_is_launched_by_the_consumer_once_all_says_so(
    aws: SandboxAws, sessions: Sessions, consumer: Sessions, seeded: Seeded
) -> None:
    key = seeded.keys[HOME]
    image = register(aws, "encrypted", make_snapshot(aws, key=key))
    share(sessions, image)
    keys.create_grant(
        sessions.kms(HOME),
        key=key,
        principal=f"arn:aws:iam::{PROD}:root",
        operations=OPERATIONS,
        name="x",
    )
    ec2 = consumer.ec2(HOME)
    assert consumers.dry_run(ec2, image, "x86_64") == ""
    assert consumers.key_usable(consumer.kms(HOME), key) == ""
    made = ec2.run_instances(ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1)
    instance = made["Instances"][0]["InstanceId"]
    (there,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    assert there["Instances"][0]["State"]["Name"] == "running"
