"""What events bring to light of sharing: the sweep is an hour away, and nothing is asked for."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stage import ENCRYPTED, HOME, A, B, C, Stage
from systemworld import golden, share
from test_e2e_accounts import PROD, access, in_prod, roles, users, write

from gilder.sandbox.aws.seed import make_key
from gilder.sandbox.breakage import can_launch
from gilder.sandbox.world import World

SECONDS = 10.0  # from what was done by hand to its correction, on a machine with other things to do
LIST = "/org/accounts"
OUT = "555555555555"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two accounts with AMIs; one share that follows lists, one of an organization, one by key."""
    directory: Path = tmp_path_factory.mktemp("sharing-events")
    with World(directory, events=True, event_accounts=[PROD]) as started:
        stage = Stage(started)
        roles(stage)
        make_key(stage.aws, HOME, "alias/policy")  # on which nobody has a grant
        stage.aws.client("ssm").put_parameter(Name=LIST, Value=C, Type="StringList")
        stage.start(ACCESS_FILE=str(write(stage, access())))
        listed = [
            {"ssmParameter": {"name": LIST, "region": HOME}},
            {"organizationalUnit": stage.seeded.unit_arn},
        ]
        stage.apply(
            golden(**ENCRYPTED),
            golden("policy", encryption={"kmsKeyId": "alias/policy"}),
            golden("disks", **ENCRYPTED),
            in_prod(stage),
            share("listed", accountsFrom=listed),
            share(
                "units",
                "policy",
                organizationalUnits=[stage.seeded.unit_arn],
                kms={"mode": "KeyPolicy"},
            ),
            share("disks", "disks", accounts=[A], snapshots=True),
            share("prod", "payments", accounts=[A]),
        )
        for kind, names in (
            ("GoldenImage", ("base", "policy", "disks", "payments")),
            ("ImageShare", ("listed", "units", "disks", "prod")),
        ):
            stage.wait_ready(kind, *names)
        yield stage


@pytest.fixture
def stage(world: Stage) -> Stage:
    """The world with nothing to do."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        before = _calls(world)
        time.sleep(1.0)
        if _calls(world) == before:
            world.aws.requests.reset()
            return world
    pytest.fail(f"no rest\n{world.world.operator.tail()}")


def _calls(stage: Stage) -> dict[str, int]:
    """Calls to AWS since the last reset, without those that are made at all times."""
    found: dict[str, int] = {}
    for key, count in stage.aws.requests.snapshot().items():
        if key.service not in ("sts", "sqs"):
            found[key.action] = found.get(key.action, 0) + count
    return found


def corrected(stage: Stage, done: Callable[[], object], what: str) -> None:
    """It happens soon; the next sweep is an hour away."""
    stage.wait(done, what, SECONDS)


def test_a_parameter_with_accounts_changes(stage: Stage) -> None:
    image = stage.image("base", HOME)
    assert stage.users(image) == {A, B, C}
    ssm = stage.aws.client("ssm")
    ssm.put_parameter(Name=LIST, Value=f"{C},{OUT}", Type="StringList", Overwrite=True)
    corrected(stage, lambda: stage.users(image) == {A, B, C, OUT}, "the new account is in")
    assert can_launch(stage.aws, image, HOME, OUT)
    ssm.put_parameter(Name=LIST, Value=C, Type="StringList", Overwrite=True)
    corrected(stage, lambda: stage.users(image) == {A, B, C}, "and out again")


def test_an_account_moves_between_ous(stage: Stage) -> None:
    image = stage.image("base", HOME)
    organizations = stage.aws.client("organizations", "us-east-1")
    unit, root = stage.seeded.unit_id, stage.seeded.root_id
    organizations.move_account(AccountId=B, SourceParentId=unit, DestinationParentId=root)
    corrected(stage, lambda: stage.users(image) == {A, C}, "who left the OU is out")
    corrected(stage, lambda: not can_launch(stage.aws, image, HOME, B), "and cannot launch")
    organizations.move_account(AccountId=B, SourceParentId=root, DestinationParentId=unit)
    corrected(stage, lambda: stage.users(image) == {A, B, C}, "who came into it is in")
    corrected(stage, lambda: can_launch(stage.aws, image, HOME, B), "and can launch")


def test_our_statement_in_a_key_policy_is_removed(stage: Stage) -> None:
    kms, image = stage.aws.client("kms", HOME), stage.image("policy", HOME)
    key = kms.describe_key(KeyId="alias/policy")["KeyMetadata"]["Arn"]

    def statements() -> list[str]:
        text = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
        return [s.get("Sid", "") for s in json.loads(text)["Statement"]]

    def ours() -> bool:
        return any(s.startswith("GilderShares") for s in statements())

    assert ours()
    assert can_launch(stage.aws, image, HOME, B)
    assert not kms.list_grants(KeyId=key)["Grants"]
    text = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    document = json.loads(text)
    document["Statement"] = [
        s for s in document["Statement"] if not s.get("Sid", "").startswith("GilderShares")
    ]
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(document))
    corrected(stage, ours, "the statement is back")
    assert can_launch(stage.aws, image, HOME, B)


def test_a_permission_to_create_volumes_is_removed(stage: Stage) -> None:
    ec2 = stage.aws.client("ec2", HOME)
    image = stage.image("disks", HOME)
    devices = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
    (snapshot,) = [d["Ebs"]["SnapshotId"] for d in devices if "Ebs" in d]

    def may() -> set[str]:
        found = ec2.describe_snapshot_attribute(
            SnapshotId=snapshot, Attribute="createVolumePermission"
        )
        return {p["UserId"] for p in found["CreateVolumePermissions"]}

    assert may() == {A}
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshot,
        Attribute="createVolumePermission",
        OperationType="remove",
        UserIds=[A],
    )
    corrected(stage, lambda: may() == {A}, "A may create volumes again")


def test_a_launch_permission_of_another_aws_account_is_removed(stage: Stage) -> None:
    image = stage.image("payments", HOME)
    ec2 = stage.aws.client("ec2", HOME, PROD)
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Remove": [{"UserId": A}]})
    corrected(stage, lambda: users(stage, image) == {A}, "A is in again")
    assert can_launch(stage.aws, image, HOME, A)
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": OUT}]})
    corrected(stage, lambda: users(stage, image) == {A}, "the stranger is out")
