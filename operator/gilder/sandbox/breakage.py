"""What the sandbox breaks in AWS behind the operator's back, and how it tells that it healed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from gilder.sandbox.aws.server import SandboxAws

HOME, REPLICA = "eu-west-1", "eu-central-1"
ACCOUNT, STRANGER = "222222222222", "999999999999"


@dataclass(frozen=True)
class Breakage:
    """One thing done by hand: `broken` and `healed` read AWS, they do not ask the operator."""

    title: str
    do: Callable[[], None]
    broken: Callable[[], bool]
    healed: Callable[[], bool]


@dataclass(frozen=True)
class Step:
    """One thing declared or done, and how AWS tells that it took effect."""

    title: str
    do: Callable[[], None]
    done: Callable[[], bool]  # false before


def image_of(documents: Iterable[Mapping[str, Any]], region: str) -> str:
    """AMI id of the current version in a Region, from GoldenImage objects."""
    for document in documents:
        for version in document.get("status", {}).get("versions", []):
            for image in version["images"]:
                right = version.get("current") and image["region"] == region
                if right and image["state"] == "available":
                    return str(image["imageId"])
    raise LookupError(f"no available AMI in {region}")


def amis_of(aws: SandboxAws, name: str, version: int, region: str) -> list[str]:
    """AMIs of one version of a sample that can be launched in a Region, by their tags."""
    filters = [
        {"Name": "tag:goldenimage.dev/image", "Values": [f"images/{name}"]},
        {"Name": "tag:goldenimage.dev/version", "Values": [str(version)]},
        {"Name": "state", "Values": ["available"]},
    ]
    found = aws.client("ec2", region).describe_images(Owners=["self"], Filters=filters)["Images"]
    return [str(i["ImageId"]) for i in found]


def breakages(aws: SandboxAws, base: Mapping[str, Any], key: str) -> list[Breakage]:
    """The demonstration, in order. `base` is the GoldenImage object, `key` its home key's ARN."""
    home = image_of([base], HOME)
    replica = image_of([base], REPLICA)
    ec2, dr, kms = aws.client("ec2", HOME), aws.client("ec2", REPLICA), aws.client("kms", HOME)

    def users(client: Any, image: str) -> set[str]:
        found = client.describe_image_attribute(ImageId=image, Attribute="launchPermission")
        return {p["UserId"] for p in found["LaunchPermissions"] if "UserId" in p}

    def grants() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = kms.list_grants(KeyId=key)["Grants"]
        return [g for g in found if f":{ACCOUNT}:" in g["GranteePrincipal"]]

    def copies() -> list[str]:
        filters = [
            {"Name": "tag:goldenimage.dev/image", "Values": ["images/base-linux"]},
            {"Name": "state", "Values": ["available"]},
        ]
        found = dr.describe_images(Owners=["self"], Filters=filters)["Images"]
        return [i["ImageId"] for i in found]

    def change(operation: str, account: str) -> None:
        ec2.modify_image_attribute(
            ImageId=home, LaunchPermission={operation: [{"UserId": account}]}
        )

    def revoke() -> None:
        for grant in grants():
            kms.revoke_grant(KeyId=key, GrantId=grant["GrantId"])

    return [
        Breakage(
            f"revoke the launch permission of {ACCOUNT} on {home}",
            lambda: change("Remove", ACCOUNT),
            lambda: ACCOUNT not in users(ec2, home),
            lambda: ACCOUNT in users(ec2, home) and can_launch(aws, home, HOME, ACCOUNT),
        ),
        Breakage(
            f"let stranger {STRANGER} launch {home}",
            lambda: change("Add", STRANGER),
            lambda: STRANGER in users(ec2, home),
            lambda: STRANGER not in users(ec2, home),
        ),
        Breakage(
            f"retire the KMS grant of {ACCOUNT} on the key of {HOME}",
            revoke,
            lambda: not grants(),
            lambda: bool(grants()) and can_launch(aws, home, HOME, ACCOUNT),
        ),
        Breakage(
            f"deregister the DR copy {replica} in {REPLICA}",
            lambda: dr.deregister_image(ImageId=replica),
            lambda: replica not in copies(),
            lambda: any(
                i != replica and ACCOUNT in users(dr, i) and can_launch(aws, i, REPLICA, ACCOUNT)
                for i in copies()
            ),
        ),
    ]


def can_launch(aws: SandboxAws, image: str, region: str, account: str) -> bool:
    """A fact from the consumer's side: launch an instance there, see whether it lives, end it.

    An instance whose key may not be used starts and is terminated by EC2 with
    Client.InternalError, so only its state tells.
    """
    ec2 = aws.client("ec2", region, account)
    try:
        made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    except ClientError:
        return False
    instance = made["Instances"][0]["InstanceId"]
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    alive = found["State"]["Name"] in ("pending", "running")
    ec2.terminate_instances(InstanceIds=[instance])
    return alive
