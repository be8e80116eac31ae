"""Key policies, extra grantees, snapshots and multi-Region keys, seen from the consumers."""

import json
from typing import Any

from stage import DR, ENCRYPTED, HOME, REPLICATED, STRANGER, A, B, C, Stage
from systemworld import golden, share

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.breakage import can_launch

POLICY = {"mode": "KeyPolicy"}


def policy(stage: Stage, region: str = HOME) -> dict[str, Any]:
    kms = stage.aws.client("kms", region)
    text = kms.get_key_policy(KeyId=stage.seeded.keys[region], PolicyName="default")["Policy"]
    found: dict[str, Any] = json.loads(text)
    return found


def ours(stage: Stage, region: str = HOME) -> dict[str, Any] | None:
    found = [s for s in policy(stage, region)["Statement"] if s["Sid"].startswith("GilderShares")]
    assert len(found) <= 1
    return found[0] if found else None


def put(stage: Stage, document: dict[str, Any], region: str = HOME) -> None:
    stage.aws.client("kms", region).put_key_policy(
        KeyId=stage.seeded.keys[region], PolicyName="default", Policy=json.dumps(document)
    )


def launches(stage: Stage, account: str, region: str = HOME, name: str = "base") -> bool:
    return can_launch(stage.aws, stage.image(name, region), region, account)


def test_a_unit_is_let_in_by_one_statement_and_leaves_with_it(stage: Stage) -> None:
    before = policy(stage)
    stage.start()
    unit = stage.seeded.unit_arn
    stage.apply(golden(**REPLICATED), share("units", organizationalUnits=[unit], kms=POLICY))
    stage.wait_ready("ImageShare", "units")
    for region in (HOME, DR):
        assert launches(stage, A, region)
        assert launches(stage, B, region)
        assert not launches(stage, C, region), "C is not in the OU"
    # The key came first, and nothing of others was touched.
    order = stage.order()
    assert order.index("PutKeyPolicy") < order.index("ModifyImageAttribute")
    assert [s for s in policy(stage)["Statement"] if s != ours(stage)] == before["Statement"]
    stage.delete("ImageShare", "units")
    stage.gone("ImageShare", "units")
    assert policy(stage) == before
    assert not launches(stage, A)
    order = stage.order()
    last_put = len(order) - 1 - order[::-1].index("PutKeyPolicy")
    last_closed = len(order) - 1 - order[::-1].index("ModifyImageAttribute")
    assert last_closed < last_put


def test_the_statement_is_healed_and_the_rest_is_left_alone(stage: Stage) -> None:
    stage.start(resync=2)
    organization = stage.seeded.organization_arn
    stage.apply(golden(**ENCRYPTED), share("all", organizations=[organization], kms=POLICY))
    stage.wait_ready("ImageShare", "all")
    assert launches(stage, C)
    found = ours(stage)
    assert found is not None
    assert found["Condition"] == {
        "StringEquals": {"aws:PrincipalOrgID": [stage.seeded.organization_id]}
    }
    # Somebody removes it, somebody widens it, somebody adds one of their own.
    document = policy(stage)
    theirs = {**found, "Sid": "Theirs", "Principal": {"AWS": f"arn:aws:iam::{STRANGER}:root"}}
    theirs.pop("Condition")
    document["Statement"] = [s for s in document["Statement"] if s != found] + [theirs]
    put(stage, document)
    stage.wait(lambda: ours(stage) == found, "the statement is back")
    document = policy(stage)
    for statement in document["Statement"]:
        if statement["Sid"] == found["Sid"]:
            statement["Condition"]["StringEquals"]["aws:PrincipalOrgID"].append("o-strangers00")
    put(stage, document)
    stage.wait(lambda: ours(stage) == found, "the stranger is out")
    assert theirs in policy(stage)["Statement"]
    stage.wait_event("all", "DriftCorrected")


def test_shares_add_up_in_one_statement(stage: Stage) -> None:
    stage.start()
    unit, organization = stage.seeded.unit_arn, stage.seeded.organization_arn
    other = register(stage.aws, "other", make_snapshot(stage.aws, key=stage.seeded.keys[HOME]))
    stage.apply(
        golden(**ENCRYPTED),
        golden("other", source={"image": {"id": other}}),
        share("units", organizationalUnits=[unit], kms=POLICY),
        share("all", "other", organizations=[organization], kms=POLICY),
    )
    stage.wait_ready("ImageShare", "units", "all")
    stage.wait(
        lambda: (
            len((ours(stage) or {"Condition": {}})["Condition"]) == 1
            and json.dumps(ours(stage)).count("o-") >= 2
        ),
        "both in one statement",
    )
    assert launches(stage, A)
    assert launches(stage, C, name="other")
    assert not launches(stage, C), "the launch permission of base is the OU's alone"
    stage.delete("ImageShare", "units")
    stage.gone("ImageShare", "units")
    stage.wait(
        lambda: (
            (ours(stage) or {}).get("Condition")
            == {"StringEquals": {"aws:PrincipalOrgID": [stage.seeded.organization_id]}}
        ),
        "the OU is out of the statement",
    )
    assert launches(stage, C, name="other")


def test_an_edit_in_the_same_moment_is_not_lost(stage: Stage) -> None:
    """Somebody writes the key policy between our reading and our writing."""
    stage.start()
    stage.apply(golden(**ENCRYPTED))
    stage.wait_ready("GoldenImage", "base")
    theirs = {
        "Sid": "Theirs",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{STRANGER}:root"},
        "Action": "kms:DescribeKey",
        "Resource": "*",
    }
    written: list[bool] = []

    def meanwhile(_: Any) -> None:
        if not written:
            written.append(True)
            document = policy(stage)
            document["Statement"].append(theirs)
            put(stage, document)

    # After the plan has read the policy, before it is changed.
    stage.aws.faults.after("ListGrants", meanwhile)
    stage.apply(share("all", organizations=[stage.seeded.organization_arn], kms=POLICY))
    stage.wait_ready("ImageShare", "all")
    assert written
    assert theirs in policy(stage)["Statement"]
    assert launches(stage, C)


def test_when_the_operator_may_not_write_the_policy_the_message_has_the_statement(
    stage: Stage,
) -> None:
    stage.start()
    denied = stage.aws.faults.fail("PutKeyPolicy", "AccessDeniedException", times=1000)
    stage.apply(
        golden(**ENCRYPTED),
        share("all", organizations=[stage.seeded.organization_arn], accounts=[A], kms=POLICY),
    )
    stage.wait_reason("ImageShare", "all", "AccessDenied")
    message = stage.message("ImageShare", "all")
    statement, _ = json.JSONDecoder().raw_decode(message[message.index("{") :])
    # The account has its grant all the same, and nobody else can launch.
    stage.wait(lambda: launches(stage, A), "A launches")
    assert not launches(stage, C)
    # As the administrator of the key: the statement, and a share that leaves the policy alone.
    denied.remove()
    stage.edit("ImageShare", "all", kms={"mode": "Grant"})
    document = policy(stage)
    put(stage, {**document, "Statement": [*document["Statement"], statement]})
    stage.look("ImageShare", "all", "done by hand")
    stage.wait_ready("ImageShare", "all")
    assert launches(stage, C)
    assert stage.order().count("PutKeyPolicy") > 0


def test_an_extra_grantee_that_does_not_exist_holds_up_nobody(stage: Stage) -> None:
    role = "role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
    stage.start()
    template = "arn:aws:iam::{account}:" + role
    stage.apply(
        golden(**ENCRYPTED),
        share("scaling", accounts=[A, B], kms={"granteePrincipals": [template]}),
    )
    stage.wait_ready("ImageShare", "scaling")
    wanted = {f"arn:aws:iam::{a}:{p}" for a in (A, B) for p in ("root", role)}
    assert {g["GranteePrincipal"] for g in stage.grants()} == wanted
    stage.edit("ImageShare", "scaling", kms={"granteePrincipals": []})
    stage.wait(lambda: stage.grantees() == [A, B], "the extra grants are revoked")
    assert launches(stage, A)


def volume_users(stage: Stage, image: str, region: str = HOME) -> set[str]:
    ec2 = stage.aws.client("ec2", region)
    (found,) = ec2.describe_images(ImageIds=[image])["Images"]
    snapshot = found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    attribute = ec2.describe_snapshot_attribute(
        SnapshotId=snapshot, Attribute="createVolumePermission"
    )
    return {p["UserId"] for p in attribute["CreateVolumePermissions"]}


def test_snapshots_are_shared_healed_and_closed(stage: Stage) -> None:
    stage.start(resync=2)
    stage.apply(golden(**ENCRYPTED), share("restorers", accounts=[A, B], snapshots=True))
    stage.wait_ready("ImageShare", "restorers")
    image = stage.image("base", HOME)
    assert volume_users(stage, image) == {A, B}
    ec2 = stage.aws.client("ec2")
    (found,) = ec2.describe_images(ImageIds=[image])["Images"]
    snapshot = found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    # A fact from B's side: a volume of the snapshot.
    made = stage.aws.client("ec2", HOME, B).create_volume(
        SnapshotId=snapshot, AvailabilityZone=f"{HOME}a"
    )
    assert made["VolumeId"]
    for operation, account in (("Remove", A), ("Add", STRANGER)):
        ec2.modify_snapshot_attribute(
            SnapshotId=snapshot,
            Attribute="createVolumePermission",
            CreateVolumePermission={operation: [{"UserId": account}]},
        )
    stage.wait(lambda: volume_users(stage, image) == {A, B}, "healed")
    stage.edit("ImageShare", "restorers", accounts=[A])
    stage.wait(lambda: volume_users(stage, image) == {A}, "B is out")
    stage.edit("ImageShare", "restorers", snapshots=False)
    stage.wait(lambda: volume_users(stage, image) == set(), "the snapshot is closed")
    stage.wait_ready("ImageShare", "restorers")
    assert stage.users(image) == {A}


def test_snapshots_are_closed_with_the_share(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**ENCRYPTED), share("restorers", accounts=[A], snapshots=True))
    stage.wait_ready("ImageShare", "restorers")
    image = stage.image("base", HOME)
    assert volume_users(stage, image) == {A}
    stage.delete("ImageShare", "restorers")
    stage.gone("ImageShare", "restorers")
    assert volume_users(stage, image) == set()
    assert stage.grants() == []


def test_a_multi_region_key_need_not_be_named_again(stage: Stage) -> None:
    kms = stage.aws.client("kms", HOME)
    made = kms.create_key(MultiRegion=True)["KeyMetadata"]
    kms.replicate_key(KeyId=made["KeyId"], ReplicaRegion=DR)
    stage.start()
    stage.apply(
        golden(encryption={"kmsKeyId": made["Arn"]}, replicas=[{"region": DR}]),
        share("workloads", accounts=[A]),
    )
    stage.wait_ready("ImageShare", "workloads")
    for region in (HOME, DR):
        arn = f"arn:aws:kms:{region}:{stage.seeded.account}:key/{made['KeyId']}"
        (image,) = stage.owned(region, role="home" if region == HOME else "replica")
        snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
        (found,) = stage.aws.client("ec2", region).describe_snapshots(SnapshotIds=[snapshot])[
            "Snapshots"
        ]
        assert found["KmsKeyId"] == arn
        assert launches(stage, A, region)
