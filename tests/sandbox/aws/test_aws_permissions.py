"""Launch permissions, other image attributes, public access, and who sees what."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_snapshot, register, seed
from gilder.sandbox.aws.server import SandboxAws

A, B, C = "123456789012", "222222222222", "333333333333"
ORG = f"arn:aws:organizations::{A}:organization/o-abcdefghij"
ORG2 = f"arn:aws:organizations::{A}:organization/o-bbbbbbbbbb"
OU = f"arn:aws:organizations::{A}:ou/o-abcdefghij/ou-abcd-12345678"
OU2 = f"arn:aws:organizations::{A}:ou/o-abcdefghij/ou-abcd-87654321"


def permissions(client: Any, image_id: str) -> list[dict[str, str]]:
    answer = client.describe_image_attribute(ImageId=image_id, Attribute="launchPermission")
    found: list[dict[str, str]] = answer["LaunchPermissions"]
    return found


def test_the_struct_form_adds_and_removes_every_kind(ec2: Any, base: str) -> None:
    everything = [
        {"UserId": B},
        {"UserId": C},
        {"Group": "all"},
        {"OrganizationArn": ORG},
        {"OrganizationArn": ORG2},
        {"OrganizationalUnitArn": OU},
        {"OrganizationalUnitArn": OU2},
    ]
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": everything})
    assert permissions(ec2, base) == everything
    assert ec2.describe_images(ImageIds=[base])["Images"][0]["Public"] is True
    # Adding what is there already changes nothing.
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": everything})
    assert permissions(ec2, base) == everything
    ec2.modify_image_attribute(
        ImageId=base,
        LaunchPermission={"Remove": everything[:-1], "Add": [{"UserId": "444444444444"}]},
    )
    assert permissions(ec2, base) == [
        {"OrganizationalUnitArn": OU2},
        {"UserId": "444444444444"},
    ]
    ec2.reset_image_attribute(ImageId=base, Attribute="launchPermission")
    assert permissions(ec2, base) == []


def test_the_flat_form_keeps_every_value(ec2: Any, base: str) -> None:
    values = {
        "UserIds": [B, C],
        "UserGroups": ["all"],
        "OrganizationArns": [ORG, ORG2],
        "OrganizationalUnitArns": [OU, OU2],
    }
    ec2.modify_image_attribute(ImageId=base, OperationType="add", **values)
    assert len(permissions(ec2, base)) == 7
    ec2.modify_image_attribute(ImageId=base, OperationType="remove", **values)
    assert permissions(ec2, base) == []


@pytest.mark.parametrize(
    "permission",
    [
        {"UserId": "12345"},
        {"Group": "everybody"},
        {"OrganizationArn": "arn:aws:organizations::1:organization/o-1"},
        {"OrganizationArn": OU},
        {"OrganizationalUnitArn": ORG},
        {"OrganizationalUnitArn": "ou-abcd-12345678"},
    ],
)
def test_malformed_principals_change_nothing(
    ec2: Any, base: str, refused: Any, permission: dict[str, str]
) -> None:
    with refused("InvalidAMIAttributeItemValue", "Invalid attribute item value"):
        ec2.modify_image_attribute(
            ImageId=base, LaunchPermission={"Add": [{"UserId": B}, permission]}
        )
    assert permissions(ec2, base) == []


def test_only_the_owner_may(aws: SandboxAws, ec2: Any, base: str, refused: Any) -> None:
    other = aws.client("ec2", account=B)
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"UserId": B}]})
    with refused("AuthFailure", f"Not authorized for image:{base}"):
        permissions(other, base)
    with refused("AuthFailure"):
        other.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"UserId": C}]})
    with refused("AuthFailure"):
        other.reset_image_attribute(ImageId=base, Attribute="launchPermission")
    with refused("AuthFailure"):
        other.deregister_image(ImageId=base)
    with refused("InvalidAMIID.NotFound"):
        permissions(ec2, "ami-00000000000000001")


def test_public_is_refused_while_blocked(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    public = {"Add": [{"Group": "all"}]}
    assert ec2.get_image_block_public_access_state()["ImageBlockPublicAccessState"] == "unblocked"
    ec2.enable_image_block_public_access(ImageBlockPublicAccessState="block-new-sharing")
    state = ec2.get_image_block_public_access_state()["ImageBlockPublicAccessState"]
    assert state == "block-new-sharing"
    us = aws.client("ec2", "us-east-1").get_image_block_public_access_state()
    assert us["ImageBlockPublicAccessState"] == "unblocked"
    with refused("OperationNotPermitted", "block public access for AMIs is enabled"):
        ec2.modify_image_attribute(ImageId=base, LaunchPermission=public)
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"UserId": B}]})
    ec2.disable_image_block_public_access()
    ec2.modify_image_attribute(ImageId=base, LaunchPermission=public)
    aws.settings.update(image_block_public_access="block-new-sharing")
    us = aws.client("ec2", "us-east-1").get_image_block_public_access_state()
    assert us["ImageBlockPublicAccessState"] == "block-new-sharing"


def test_encrypted_amis(aws: SandboxAws, ec2: Any, encrypted: str, refused: Any) -> None:
    with refused("UnsupportedOperation", "can't be shared publicly"):
        ec2.modify_image_attribute(ImageId=encrypted, LaunchPermission={"Add": [{"Group": "all"}]})
    ec2.modify_image_attribute(ImageId=encrypted, LaunchPermission={"Add": [{"UserId": B}]})
    default = register(aws, "default-key", make_snapshot(aws, encrypted=True))
    with refused("InvalidParameter", "AWS Managed CMK can't be shared"):
        ec2.modify_image_attribute(ImageId=default, LaunchPermission={"Add": [{"UserId": B}]})


def test_states_and_product_codes_refuse_sharing(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    add = {"Add": [{"UserId": B}]}
    aws.edit_image(base, product_codes=["abc"])
    with refused("InvalidParameterValue", "product codes"):
        ec2.modify_image_attribute(ImageId=base, LaunchPermission=add)
    aws.edit_image(base, product_codes=[], failure="broken")
    with refused("InvalidAMIID.Unavailable"):
        ec2.modify_image_attribute(ImageId=base, LaunchPermission=add)
    aws.edit_image(base, failure=None)
    ec2.disable_image(ImageId=base)
    with refused("InvalidAMIID.Unavailable"):
        ec2.modify_image_attribute(ImageId=base, LaunchPermission=add)
    ec2.enable_image(ImageId=base)
    with refused("DryRunOperation"):
        ec2.modify_image_attribute(ImageId=base, LaunchPermission=add, DryRun=True)
    assert permissions(ec2, base) == []


def test_description_and_imds_support_are_stored(ec2: Any, base: str, refused: Any) -> None:
    ec2.modify_image_attribute(ImageId=base, Description={"Value": "new"})
    ec2.modify_image_attribute(ImageId=base, ImdsSupport={"Value": "v2.0"})
    for attribute, name, value in (
        ("description", "Description", "new"),
        ("imdsSupport", "ImdsSupport", "v2.0"),
        ("deregistrationProtection", "DeregistrationProtection", "disabled"),
    ):
        answer = ec2.describe_image_attribute(ImageId=base, Attribute=attribute)
        assert answer[name] == {"Value": value}
    image = ec2.describe_images(ImageIds=[base])["Images"][0]
    assert (image["Description"], image["ImdsSupport"]) == ("new", "v2.0")
    ec2.modify_image_attribute(ImageId=base, Attribute="description", Value="newer")
    assert ec2.describe_images(ImageIds=[base])["Images"][0]["Description"] == "newer"
    with refused("InvalidParameterValue"):
        ec2.modify_image_attribute(ImageId=base, ImdsSupport={"Value": "v9"})
    with refused("AuthFailure"):
        ec2.describe_image_attribute(ImageId=base, Attribute="blockDeviceMapping")


def test_boot_mode_and_last_launch_attributes(aws: SandboxAws, ec2: Any) -> None:
    image_id = register(aws, "booting", make_snapshot(aws), BootMode="uefi")
    answer = ec2.describe_image_attribute(ImageId=image_id, Attribute="bootMode")
    assert answer["BootMode"] == {"Value": "uefi"}
    before = ec2.describe_image_attribute(ImageId=image_id, Attribute="lastLaunchedTime")
    assert "Value" not in before.get("LastLaunchedTime", {})
    ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)
    after = ec2.describe_image_attribute(ImageId=image_id, Attribute="lastLaunchedTime")
    assert after["LastLaunchedTime"]["Value"].endswith("Z")
    assert "LastLaunchedTime" in ec2.describe_images(ImageIds=[image_id])["Images"][0]


def test_shared_amis_are_visible_by_user_id(aws: SandboxAws, ec2: Any, base: str) -> None:
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"UserId": B}]})
    shared = aws.client("ec2", account=B)
    image = shared.describe_images(ImageIds=[base])["Images"][0]
    assert image["OwnerId"] == A
    # Tags and protection are the owner's business.
    assert "Tags" not in image
    assert "DeregistrationProtection" not in image
    assert aws.client("ec2", account=C).describe_images()["Images"] == []
    for users, count in ((["self"], 1), ([B], 1), (["all"], 0), ([C], 0)):
        found = shared.describe_images(ExecutableUsers=users)["Images"]
        assert len(found) == count, users
    assert len(ec2.describe_images(ExecutableUsers=[B])["Images"]) == 1
    assert ec2.describe_images(ExecutableUsers=["self"])["Images"] == []


def test_organizations_and_nested_units_reach_their_members(aws: SandboxAws) -> None:
    seeded = seed(aws)
    ec2, image = aws.client("ec2"), seeded.base_image
    organizations = aws.client("organizations", "us-east-1")
    nested = organizations.create_organizational_unit(ParentId=seeded.unit_id, Name="nested")[
        "OrganizationalUnit"
    ]
    organizations.move_account(
        AccountId=C, SourceParentId=seeded.unit_id, DestinationParentId=nested["Id"]
    )

    def seen_by() -> set[str]:
        return {
            account
            for account in (*seeded.members, "555555555555")
            if aws.client("ec2", account=account).describe_images(
                ExecutableUsers=["self"], Owners=[A]
            )["Images"]
        }

    for permission, expected in (
        ({"OrganizationArn": seeded.organization_arn}, set(seeded.members)),
        ({"OrganizationalUnitArn": seeded.unit_arn}, {B, C}),
        ({"OrganizationalUnitArn": nested["Arn"]}, {C}),
        ({"OrganizationArn": ORG}, set()),
    ):
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [permission]})
        assert seen_by() == expected, permission
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Remove": [permission]})
    # "AMIs that are shared with an organization or OU of another account are not returned."
    ec2.modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"OrganizationArn": seeded.organization_arn}]}
    )
    assert ec2.describe_images(ExecutableUsers=[B])["Images"] == []
