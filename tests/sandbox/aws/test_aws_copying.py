"""CopyImage and CreateImage."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_key, make_snapshot, register, seed
from gilder.sandbox.aws.server import SandboxAws

HOME, DR = "eu-west-1", "eu-central-1"


@pytest.fixture
def dr(aws: SandboxAws) -> Any:
    return aws.client("ec2", DR)


@pytest.fixture
def dr_key(aws: SandboxAws) -> str:
    return make_key(aws, DR)


def image_of(client: Any, image_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.describe_images(ImageIds=[image_id])["Images"][0]
    return found


def snapshot_of(client: Any, image_id: str) -> dict[str, Any]:
    ebs = image_of(client, image_id)["BlockDeviceMappings"][0]["Ebs"]
    found: dict[str, Any] = client.describe_snapshots(SnapshotIds=[ebs["SnapshotId"]])["Snapshots"][
        0
    ]
    assert found["Encrypted"] == ebs["Encrypted"]
    return found


def copy(client: Any, source: str, name: str = "copied", **more: Any) -> str:
    request = {"Name": name, "SourceImageId": source, "SourceRegion": HOME, **more}
    image_id: str = client.copy_image(**request)["ImageId"]
    return image_id


def test_a_plain_copy(ec2: Any, dr: Any, base: str) -> None:
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"Group": "all"}]})
    copied = copy(dr, base, Description="in DR")
    image = image_of(dr, copied)
    assert image["State"] == "available"
    assert image["Description"] == "in DR"
    assert image["SourceImageId"] == base
    assert image["SourceImageRegion"] == HOME
    assert image["RootDeviceName"] == "/dev/xvda"
    assert image["Architecture"] == "x86_64"
    assert image["Public"] is False
    assert "Tags" not in image
    snapshot = snapshot_of(dr, copied)
    assert snapshot["Encrypted"] is False
    assert snapshot["VolumeSize"] == 8
    assert snapshot["State"] == "completed"
    assert copied in snapshot["Description"]
    assert base in snapshot["Description"]


@pytest.mark.parametrize("form", ["id", "arn", "alias", "alias-arn"])
def test_every_form_of_a_key_becomes_the_key_arn(
    dr: Any, base: str, dr_key: str, form: str
) -> None:
    written = {
        "id": dr_key.rpartition("/")[2],
        "arn": dr_key,
        "alias": "alias/golden",
        "alias-arn": f"arn:aws:kms:{DR}:123456789012:alias/golden",
    }[form]
    copied = copy(dr, base, Encrypted=True, KmsKeyId=written)
    assert snapshot_of(dr, copied)["KmsKeyId"] == dr_key


def test_encrypted_without_a_key_takes_aws_ebs(aws: SandboxAws, dr: Any, base: str) -> None:
    copied = copy(dr, base, Encrypted=True)
    arn = snapshot_of(dr, copied)["KmsKeyId"]
    metadata = aws.client("kms", DR).describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]
    assert metadata["Arn"] == arn
    assert metadata["KeyManager"] == "AWS"


def test_a_copy_of_something_encrypted_stays_encrypted(
    aws: SandboxAws, dr: Any, encrypted: str
) -> None:
    copied = copy(dr, encrypted)
    arn = aws.client("kms", DR).describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    assert snapshot_of(dr, copied)["KmsKeyId"] == arn


def test_encryption_by_default_applies_to_copies(dr: Any, base: str, dr_key: str) -> None:
    dr.enable_ebs_encryption_by_default()
    dr.modify_ebs_default_kms_key_id(KmsKeyId=dr_key)
    assert snapshot_of(dr, copy(dr, base))["KmsKeyId"] == dr_key


@pytest.mark.parametrize("why", ["unknown", "other-region", "disabled", "deleting", "alias"])
def test_an_unusable_key_fails_the_copy_later(
    aws: SandboxAws, dr: Any, base: str, dr_key: str, why: str
) -> None:
    kms, written = aws.client("kms", DR), dr_key
    if why == "unknown":
        written = f"arn:aws:kms:{DR}:123456789012:key/00000000-0000-0000-0000-000000000000"
    elif why == "other-region":
        written = make_key(aws, HOME, None)
    elif why == "disabled":
        kms.disable_key(KeyId=dr_key)
    elif why == "deleting":
        kms.schedule_key_deletion(KeyId=dr_key, PendingWindowInDays=7)
    else:
        written = "alias/missing"
    aws.settings.update(image_delay=30.0)
    copied = copy(dr, base, Encrypted=True, KmsKeyId=written)
    assert image_of(dr, copied)["State"] == "pending"
    aws.clock.advance(31)
    image = image_of(dr, copied)
    assert image["State"] == "failed"
    assert image["StateReason"] == {
        "Code": "Client.InternalError",
        "Message": "Given key ID is not accessible",
    }
    assert snapshot_of(dr, copied)["State"] == "error"
    dr.deregister_image(ImageId=copied, DeleteAssociatedSnapshots=True)


def test_the_source_key_must_be_usable_too(kms: Any, dr: Any, encrypted: str, key: str) -> None:
    kms.disable_key(KeyId=key)
    assert image_of(dr, copy(dr, encrypted))["State"] == "failed"


def test_key_parameters_that_are_refused_at_once(dr: Any, base: str, refused: Any) -> None:
    with refused("InvalidParameterValue", "KmsKeyId"):
        copy(dr, base, Encrypted=True, KmsKeyId="not a key")
    with refused("InvalidParameterDependency", "Encrypted"):
        copy(dr, base, KmsKeyId="alias/golden")


def test_tags_of_image_and_snapshot(dr: Any, base: str) -> None:
    copied = copy(
        dr,
        base,
        CopyImageTags=True,
        TagSpecifications=[
            {"ResourceType": "image", "Tags": [{"Key": "role", "Value": "replica"}]},
            {"ResourceType": "snapshot", "Tags": [{"Key": "of", "Value": "copy"}]},
        ],
    )
    assert sorted((t["Key"], t["Value"]) for t in image_of(dr, copied)["Tags"]) == [
        ("Name", "base"),
        ("role", "replica"),
    ]
    assert snapshot_of(dr, copied)["Tags"] == [{"Key": "of", "Value": "copy"}]


def test_tags_of_another_accounts_ami_are_not_copied(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    other = aws.client("ec2", DR, "222222222222")
    permission = {"Add": [{"UserId": "222222222222"}]}
    with refused("InvalidAMIID.NotFound"):
        copy(other, base)
    ec2.modify_image_attribute(ImageId=base, LaunchPermission=permission)
    # The storage has a permission of its own.
    with refused("InvalidRequest", "permission to access the storage of this ami"):
        copy(other, base)
    snapshot = image_of(ec2, base)["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshot, OperationType="add", UserIds=["222222222222"]
    )
    copied = image_of(other, copy(other, base, CopyImageTags=True))
    assert copied["OwnerId"] == "222222222222"
    assert "Tags" not in copied


def test_a_client_token_makes_it_idempotent(dr: Any, base: str, refused: Any) -> None:
    first = copy(dr, base, ClientToken="t-1", Description="one")
    assert copy(dr, base, ClientToken="t-1", Description="one") == first
    with refused("IdempotentParameterMismatch"):
        copy(dr, base, ClientToken="t-1", Description="two")
    assert copy(dr, base, "copied-again", ClientToken="t-2") != first


def test_concurrent_calls_with_one_token_make_one_ami(dr: Any, base: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(copy, dr, base, ClientToken="t") for _ in range(16)]
        assert len({f.result() for f in futures}) == 1
    assert len(dr.describe_images(Owners=["self"])["Images"]) == 1


def test_copies_that_are_refused(
    aws: SandboxAws, ec2: Any, dr: Any, base: str, refused: Any
) -> None:
    copied = copy(dr, base)
    with refused("InvalidAMIName.Duplicate", f"copied is already in use by AMI {copied}"):
        copy(dr, base)
    with refused("InvalidAMIID.NotFound"):
        copy(dr, "ami-00000000000000001", "other")
    with refused("DryRunOperation"):
        copy(dr, base, "other", DryRun=True)
    store = ec2.register_image(Name="store", ImageLocation="b/m.xml")["ImageId"]
    with refused("InvalidRequest", "instance-store"):
        copy(dr, store, "other", Encrypted=True)
    copy(dr, store, "store-copy")
    aws.edit_image(base, product_codes=["abc"])
    with refused("InvalidRequest", "BillingProduct"):
        copy(dr, base, "other")
    ec2.disable_image(ImageId=base)
    with refused("InvalidAMIID.Unavailable"):
        copy(dr, base, "other")


def test_pending_for_the_image_delay_and_counted_against_the_limit(
    aws: SandboxAws, dr: Any, base: str, refused: Any
) -> None:
    aws.settings.update(image_delay=10.0, max_concurrent_copies=2)
    first = copy(dr, base, "copy-1")
    copy(dr, base, "copy-2")
    assert image_of(dr, first)["State"] == "pending"
    assert snapshot_of(dr, first)["State"] == "pending"
    with refused("ResourceLimitExceeded", "Too many image copies"):
        copy(dr, base, "copy-3")
    with refused("InvalidAMIID.Unavailable"):
        dr.modify_image_attribute(
            ImageId=first, LaunchPermission={"Add": [{"UserId": "222222222222"}]}
        )
    aws.clock.advance(11)
    assert image_of(dr, first)["State"] == "available"
    assert snapshot_of(dr, first)["State"] == "completed"
    copy(dr, base, "copy-3")


def test_create_image_captures_the_instances_volumes(
    aws: SandboxAws, ec2: Any, encrypted: str, key: str
) -> None:
    instance = ec2.run_instances(ImageId=encrypted, MinCount=1, MaxCount=1)["Instances"][0]
    data = ec2.create_volume(Size=33, AvailabilityZone="eu-west-1a")["VolumeId"]
    ec2.attach_volume(VolumeId=data, InstanceId=instance["InstanceId"], Device="/dev/sdf")
    aws.settings.update(image_delay=10.0)
    image_id = ec2.create_image(
        InstanceId=instance["InstanceId"],
        Name="captured",
        Description="by test",
        NoReboot=True,
        TagSpecifications=[
            {"ResourceType": "image", "Tags": [{"Key": "a", "Value": "1"}]},
            {"ResourceType": "snapshot", "Tags": [{"Key": "b", "Value": "2"}]},
        ],
    )["ImageId"]
    image = image_of(ec2, image_id)
    assert image["State"] == "pending"
    aws.clock.advance(11)
    image = image_of(ec2, image_id)
    assert image["State"] == "available"
    assert image["SourceInstanceId"] == instance["InstanceId"]
    assert image["SourceImageId"] == encrypted
    assert image["RootDeviceName"] == "/dev/xvda"
    assert image["Tags"] == [{"Key": "a", "Value": "1"}]
    by_device = {m["DeviceName"]: m["Ebs"] for m in image["BlockDeviceMappings"]}
    assert by_device["/dev/xvda"]["Encrypted"] is True
    assert by_device["/dev/xvda"]["VolumeSize"] == 8
    assert by_device["/dev/sdf"]["VolumeSize"] == 33
    snapshot = snapshot_of(ec2, image_id)
    assert snapshot["KmsKeyId"] == key
    assert snapshot["Tags"] == [{"Key": "b", "Value": "2"}]
    assert snapshot["Description"] == (
        f"Created by CreateImage({instance['InstanceId']}) for {image_id}"
    )
    assert aws.image(image_id).no_reboot is True


def test_create_image_refuses(aws: SandboxAws, ec2: Any, base: str, refused: Any) -> None:
    instance = ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1)["Instances"][0]
    instance_id = instance["InstanceId"]
    with refused("InvalidAMIName.Duplicate", base):
        ec2.create_image(InstanceId=instance_id, Name="base-image")
    with refused("InvalidInstanceID.NotFound"):
        ec2.create_image(InstanceId="i-00000000000000001", Name="new-image")
    with refused("DryRunOperation"):
        ec2.create_image(InstanceId=instance_id, Name="new-image", DryRun=True)
    aws.edit_instance(instance_id, root_device_type="instance-store")
    assert (
        ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0][
            "RootDeviceType"
        ]
        == "instance-store"
    )
    with refused("InvalidParameterValue", "EBS root volume"):
        ec2.create_image(InstanceId=instance_id, Name="new-image")


def test_an_instance_of_an_instance_store_ami_has_such_a_root(ec2: Any, refused: Any) -> None:
    store = ec2.register_image(Name="store", ImageLocation="b/m.xml")["ImageId"]
    instance = ec2.run_instances(ImageId=store, MinCount=1, MaxCount=1)["Instances"][0]
    found = ec2.describe_instances(InstanceIds=[instance["InstanceId"]])
    assert found["Reservations"][0]["Instances"][0]["RootDeviceType"] == "instance-store"
    with refused("InvalidParameterValue", "EBS root volume"):
        ec2.create_image(InstanceId=instance["InstanceId"], Name="new-image")


def test_the_seed_is_complete(aws: SandboxAws) -> None:
    seeded = seed(aws)
    ec2 = aws.client("ec2")
    base = image_of(ec2, seeded.base_image)
    assert base["Name"] == "base-al2023-2026.11.01"
    assert snapshot_of(ec2, seeded.base_image)["Encrypted"] is False
    value = aws.client("ssm").get_parameter(Name=seeded.base_parameter)["Parameter"]["Value"]
    assert value == seeded.base_image
    found = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["builder"]}])
    assert found["Reservations"][0]["Instances"][0]["InstanceId"] == seeded.instance
    assert image_of(ec2, seeded.instance_store_image)["RootDeviceType"] == "instance-store"
    default = snapshot_of(ec2, seeded.default_key_image)["KmsKeyId"]
    assert aws.client("kms").describe_key(KeyId=default)["KeyMetadata"]["KeyManager"] == "AWS"
    for region, arn in seeded.keys.items():
        metadata = aws.client("kms", region).describe_key(KeyId="alias/golden")["KeyMetadata"]
        assert metadata["Arn"] == arn
        assert metadata["KeyManager"] == "CUSTOMER"
    organizations = aws.client("organizations", "us-east-1")
    assert organizations.describe_organization()["Organization"]["Arn"] == seeded.organization_arn
    in_unit = organizations.list_accounts_for_parent(ParentId=seeded.unit_id)["Accounts"]
    assert [a["Id"] for a in in_unit] == ["222222222222", "333333333333"]
    assert seeded.members == ("222222222222", "333333333333", "444444444444")


def test_a_seed_helper_registers_for_any_account(aws: SandboxAws) -> None:
    snapshot = make_snapshot(aws, "us-east-1", "222222222222")
    image_id = register(aws, "foreign", snapshot, "us-east-1", "222222222222")
    assert image_of(aws.client("ec2", "us-east-1", "222222222222"), image_id)["Name"] == "foreign"


def test_a_time_based_copy(aws: SandboxAws, dr: Any, base: str, refused: Any) -> None:
    name = "SnapshotCopyCompletionDurationMinutes"
    for minutes in (0, 14, 20, 2895):
        with refused("InvalidParameterValue", "multiple of 15"):
            copy(dr, base, **{name: minutes})
    copied = copy(dr, base, ClientToken="one", **{name: 45})
    assert aws.image(copied, DR).copy_minutes == 45
    assert copy(dr, base, ClientToken="one", **{name: 45}) == copied
    with refused("IdempotentParameterMismatch"):
        copy(dr, base, ClientToken="one", **{name: 60})
    snapshot = snapshot_of(dr, copied)
    assert (snapshot["TransferType"], snapshot["CompletionDurationMinutes"]) == ("time-based", 45)
    plain = copy(dr, base, name="plain")
    assert aws.image(plain, DR).copy_minutes is None
    assert snapshot_of(dr, plain)["TransferType"] == "standard"


def test_the_progress_of_copied_snapshots(aws: SandboxAws, dr: Any, base: str) -> None:
    with aws.settings.changed(image_delay=100.0):
        copied = copy(dr, base)
    assert snapshot_of(dr, copied)["Progress"] == "0%"
    aws.clock.advance(42)
    snapshot = snapshot_of(dr, copied)
    assert (snapshot["State"], snapshot["Progress"][-1]) == ("pending", "%")
    assert 42 <= int(snapshot["Progress"][:-1]) <= 50
    assert "CompletionTime" not in snapshot
    found = dr.describe_snapshots(
        OwnerIds=["self"], Filters=[{"Name": "progress", "Values": [snapshot["Progress"]]}]
    )
    assert [s["SnapshotId"] for s in found["Snapshots"]] == [snapshot["SnapshotId"]]
    aws.clock.advance(60)
    snapshot = snapshot_of(dr, copied)
    assert (snapshot["State"], snapshot["Progress"]) == ("completed", "100%")
    took = snapshot["CompletionTime"] - snapshot["StartTime"]
    assert 98 <= took.total_seconds() <= 101


def test_copies_of_snapshots_have_a_limit_of_their_own(
    aws: SandboxAws, dr: Any, base: str, refused: Any
) -> None:
    source = make_snapshot(aws)

    def copy_snapshot(**more: Any) -> str:
        made = dr.copy_snapshot(SourceRegion=HOME, SourceSnapshotId=source, **more)
        return str(made["SnapshotId"])

    limits = {"max_concurrent_copies": 1, "max_concurrent_snapshot_copies": 1}
    with aws.settings.changed(image_delay=60.0, snapshot_delay=60.0, **limits):
        copied = copy_snapshot(CompletionDurationMinutes=30)
        (shown,) = dr.describe_snapshots(SnapshotIds=[copied])["Snapshots"]
        assert (shown["State"], shown["CompletionDurationMinutes"]) == ("pending", 30)
        with refused("ResourceLimitExceeded", "snapshot copies"):
            copy_snapshot()
        with refused("InvalidParameterValue", "multiple of 15"):
            copy_snapshot(CompletionDurationMinutes=31)
        # The snapshots of an AMI's copy do not count, and neither does a time-based one alone.
        copy(dr, base, SnapshotCopyCompletionDurationMinutes=15)
        with refused("ResourceLimitExceeded", "image copies"):
            copy(dr, base, name="second")
        aws.clock.advance(61)
        copy_snapshot()
        copy(dr, base, name="second")
