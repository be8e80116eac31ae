"""The three questions of the field: instance store, encrypted sharing, DR copies."""

import pytest
from systemworld import System, golden, share

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.breakage import can_launch

A, B = "222222222222", "333333333333"
ENCRYPTED = {"encryption": {"kmsKeyId": "alias/golden"}}


@pytest.mark.parametrize("source", ["image", "instance"])
def test_instance_store_is_refused(system: System, source: str) -> None:
    if source == "image":
        wanted = {"image": {"id": system.seeded.instance_store_image}}
    else:
        system.aws.edit_instance(system.seeded.instance, root_device_type="instance-store")
        wanted = {"instance": {"id": system.seeded.instance}}
    system.start()
    system.apply(golden(source=wanted, **ENCRYPTED))
    ready = system.wait_reason("GoldenImage", "base", "InstanceStoreUnsupported")
    assert ready["status"] == "False"
    assert f"spec.source.{source}" in ready["message"]
    assert "EBS" in ready["message"]
    assert system.condition("GoldenImage", "base", "Stalled")["status"] == "True"
    assert system.get("GoldenImage", "base")["status"]["rootDeviceType"] == "instance-store"
    assert system.wait_event("base", "InstanceStoreUnsupported")
    assert system.changes() == {}


def test_sharing_an_encrypted_ami_gives_permission_and_key_access_in_order(
    system: System,
) -> None:
    system.start(RESYNC_SECONDS="3600")
    system.apply(golden(**ENCRYPTED), share(accounts=[A, B]))
    system.wait_ready("GoldenImage", "base")
    system.wait_ready("ImageShare", "team")
    image = system.image("base", "eu-west-1")
    assert system.users(image) == {A, B}
    assert {g["GranteePrincipal"].split(":")[4] for g in system.grants()} == {A, B}
    assert can_launch(system.aws, image, "eu-west-1", A)
    assert not can_launch(system.aws, image, "eu-west-1", "444444444444")
    order = [k.action for k in system.aws.requests.history()]
    assert max(i for i, a in enumerate(order) if a == "CreateGrant") < order.index(
        "ModifyImageAttribute"
    )
    # Taken in the opposite order.
    system.aws.requests.reset()
    system.patch("ImageShare", "team", {"spec": {"accounts": [B]}}).raise_for_status()
    system.wait(lambda: len(system.grants()) == 1, "the grant revoked")
    order = [k.action for k in system.aws.requests.history()]
    assert order.index("ModifyImageAttribute") < order.index("RevokeGrant")
    assert system.users(image) == {B}
    assert not can_launch(system.aws, image, "eu-west-1", A)


def test_without_key_access_no_launch_permission_is_given(system: System) -> None:
    system.aws.faults.deny("CreateGrant")
    system.start(RESYNC_SECONDS="2")
    system.apply(golden(**ENCRYPTED), share(accounts=[A]))
    system.wait_ready("GoldenImage", "base")
    denied = system.wait_reason("ImageShare", "team", "AccessDenied")
    assert "CreateGrant" in denied["message"]
    assert system.condition("ImageShare", "team", "KeyAccessReady")["status"] == "False"
    image = system.image("base", "eu-west-1")
    assert system.users(image) == set()
    assert "ModifyImageAttribute" not in system.changes()
    system.aws.faults.clear()
    system.wait_ready("ImageShare", "team")
    assert system.users(image) == {A}
    assert can_launch(system.aws, image, "eu-west-1", A)


def test_a_dr_copy_is_kept_up_to_date(system: System) -> None:
    replicas = [{"region": "eu-central-1", "kmsKeyId": "alias/golden"}]
    system.start(RESYNC_SECONDS="1")
    system.apply(golden(replicas=replicas, tags={"team": "a"}, **ENCRYPTED))
    system.wait_ready("GoldenImage", "base")
    (copy,) = system.owned("eu-central-1")
    assert {t["Key"]: t["Value"] for t in copy["Tags"]}["team"] == "a"
    snapshot = copy["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    dr = system.aws.client("ec2", "eu-central-1")
    (found,) = dr.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert found["KmsKeyId"] == system.seeded.keys["eu-central-1"]

    # Gone by hand: made again, as a new AMI of the same version.
    dr.deregister_image(ImageId=copy["ImageId"])
    system.wait(
        lambda: [i["ImageId"] for i in system.owned("eu-central-1")] not in ([], [copy["ImageId"]]),
        "the copy made again",
    )
    system.wait_ready("GoldenImage", "base")
    assert len(system.owned("eu-central-1", version="1")) == 1
    assert system.wait_event("base", "DriftCorrected")

    # A new source: version 2 here and there.
    newer = register(system.aws, "base-2", make_snapshot(system.aws))
    system.aws.client("ssm").put_parameter(
        Name="/golden/base", Value=newer, Type="String", Overwrite=True
    )
    system.wait(lambda: len(system.owned("eu-central-1", version="2")) == 1, "version 2 copied")
    system.wait(
        lambda: system.get("GoldenImage", "base")["status"]["latest"]["version"] == 2,
        "version 2 latest",
    )
    assert len(system.owned("eu-west-1", version="2")) == 1
    assert len(system.owned("eu-west-1", version="1")) == 1  # older versions stay
