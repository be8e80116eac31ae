"""GoldenImage: an AMI with versions, kept in a home Region and copied to replica Regions."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from gilder.api.base import (
    AccountId,
    ApiModel,
    ImageId,
    InstanceId,
    KmsKeyId,
    RegionName,
    TagKey,
    TagValue,
    rules,
)
from gilder.api.conditions import Condition
from gilder.api.metadata import Metadata

DEFAULT_NAME_TEMPLATE = "{namespace}-{name}-v{version}"


def _config(*pairs: tuple[str, str]) -> ConfigDict:
    return ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        json_schema_extra=rules(*pairs),
    )


class NewestImage(ApiModel):
    """The newest available AMI that matches every given filter."""

    owners: Annotated[
        tuple[Annotated[str, Field(pattern=r"^([0-9]{12}|self|amazon|aws-marketplace)$")], ...],
        Field(
            min_length=1,
            max_length=20,
            description="Account ids, `self`, `amazon` or `aws-marketplace`. Required, so that a "
            "stranger's AMI of the same name is never taken.",
        ),
    ]
    name: Annotated[
        str | None,
        Field(min_length=1, max_length=128, description="Name, with the wildcards * and ?."),
    ] = None
    tags: Annotated[
        dict[TagKey, TagValue],
        Field(max_length=20, description="Tags the AMI must carry (seen by its owner only)."),
    ] = {}
    architecture: Literal["x86_64", "arm64", "i386", "x86_64_mac", "arm64_mac"] | None = None

    model_config = _config(
        (
            "has(self.name) || (has(self.tags) && size(self.tags) > 0)",
            "give a name pattern or tags: the newest AMI of an owner alone is arbitrary",
        )
    )

    @model_validator(mode="after")
    def _filtered(self) -> "NewestImage":
        if not self.name and not self.tags:
            raise ValueError(
                "give a name pattern or tags: the newest AMI of an owner alone is arbitrary"
            )
        return self


class ImageSource(ApiModel):
    """An existing AMI of the home Region: exactly one of id, ssmParameter and newest."""

    id: Annotated[ImageId | None, Field(description="AMI id.")] = None
    ssm_parameter: Annotated[
        str | None,
        Field(
            pattern=r"^/?[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)*$",
            max_length=1011,
            description="SSM parameter whose value is an AMI id; followed as it changes.",
        ),
    ] = None
    newest: Annotated[
        NewestImage | None, Field(description="Newest AMI by owner and filters; followed.")
    ] = None

    model_config = _config(
        (
            "[has(self.id), has(self.ssmParameter), has(self.newest)].filter(x, x).size() == 1",
            "give exactly one of id, ssmParameter and newest",
        )
    )

    @model_validator(mode="after")
    def _one(self) -> "ImageSource":
        if sum(x is not None for x in (self.id, self.ssm_parameter, self.newest)) != 1:
            raise ValueError("give exactly one of id, ssmParameter and newest")
        return self


class InstanceSource(ApiModel):
    """An EC2 instance of the home Region, captured with CreateImage: exactly one of id and tags."""

    id: Annotated[InstanceId | None, Field(description="Instance id.")] = None
    tags: Annotated[
        dict[TagKey, TagValue],
        Field(max_length=20, description="Tags that exactly one running or stopped instance has."),
    ] = {}
    no_reboot: Annotated[
        bool,
        Field(
            description="Do not reboot the instance for the capture. The file system may then be "
            "inconsistent; the default reboots, as EC2 does."
        ),
    ] = False

    model_config = _config(
        (
            "has(self.id) != (has(self.tags) && size(self.tags) > 0)",
            "give exactly one of id and tags",
        )
    )

    @model_validator(mode="after")
    def _one(self) -> "InstanceSource":
        if (self.id is not None) == bool(self.tags):
            raise ValueError("give exactly one of id and tags")
        return self


class Source(ApiModel):
    """Where versions come from: exactly one of image and instance."""

    image: Annotated[ImageSource | None, Field(description="An existing AMI.")] = None
    instance: Annotated[InstanceSource | None, Field(description="An EC2 instance.")] = None

    model_config = _config(
        ("has(self.image) != has(self.instance)", "give exactly one of image and instance")
    )

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if (self.image is None) == (self.instance is None):
            raise ValueError("give exactly one of image and instance")
        return self


class Encryption(ApiModel):
    """Encryption of the AMI in the home Region."""

    kms_key_id: Annotated[
        KmsKeyId,
        Field(
            description="Customer-managed key of the home Region: id, alias or ARN. A source that "
            "is not encrypted with it is re-encrypted by copy."
        ),
    ]


class Replica(ApiModel):
    """A copy of every new version in another Region."""

    region: Annotated[RegionName, Field(description="Region of the copy.")]
    kms_key_id: Annotated[
        KmsKeyId | None,
        Field(
            description="Customer-managed key of that Region. Required when the AMI is encrypted: "
            "KMS keys are Regional."
        ),
    ] = None


class Naming(ApiModel):
    """Names of the AMIs that the operator makes; adopted AMIs keep theirs."""

    template: Annotated[
        str,
        Field(
            min_length=3,
            max_length=128,
            # AMI name characters: CreateImage, parameter Name, in the EC2 API reference.
            pattern=r"^([a-zA-Z0-9()\[\] ./'@_-]|\{(namespace|name|version)\})+$",
            description="May hold {namespace}, {name} and must hold {version}.",
            json_schema_extra=rules(
                ("self.contains('{version}')", "must contain {version}: AMI names are unique")
            ),
        ),
    ] = DEFAULT_NAME_TEMPLATE

    @model_validator(mode="after")
    def _versioned(self) -> "Naming":
        if "{version}" not in self.template:
            raise ValueError("template must contain {version}: AMI names are unique")
        return self


class GoldenImageSpec(ApiModel):
    """What should exist in AWS."""

    region: Annotated[
        RegionName,
        Field(
            description="Home Region; cannot be changed.",
            json_schema_extra=rules(
                ("self == oldSelf", "is immutable: delete and create the GoldenImage to move it")
            ),
        ),
    ]
    account: Annotated[
        AccountId | None,
        Field(
            description="AWS account the image must live in. The operator refuses to act when its "
            "credentials belong to another one."
        ),
    ] = None
    source: Source
    encryption: Encryption | None = None
    replicas: Annotated[
        tuple[Replica, ...],
        Field(
            max_length=32,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["region"],
            },
        ),
    ] = ()
    naming: Naming = Naming()
    description: Annotated[
        str, Field(max_length=255, description="Description of the AMIs that are made.")
    ] = ""
    tags: Annotated[
        dict[TagKey, TagValue],
        Field(
            max_length=40,
            description="Tags of the AMIs and their snapshots, beside the ownership tags.",
            json_schema_extra=rules(
                (
                    "self.all(k, !k.startsWith('aws:') && !k.startsWith('goldenimage.dev/'))",
                    "keys that start with aws: or goldenimage.dev/ are reserved",
                )
            ),
        ),
    ] = {}
    deletion_policy: Annotated[
        Literal["Retain", "Orphan", "Delete"],
        Field(
            description="What becomes of the AMIs when this object is deleted. Retain: they stay "
            "as they are. Orphan: they stay, our ownership tags go. Delete: they are deregistered "
            "with their snapshots, unless in use."
        ),
    ] = "Retain"
    suspend: Annotated[bool, Field(description="Change nothing in AWS, and observe nothing.")] = (
        False
    )
    management_policy: Annotated[
        Literal["Full", "Observe"],
        Field(description="Observe: change nothing in AWS, show the plan in status."),
    ] = "Full"

    model_config = _config(
        (
            "!has(self.replicas) || self.replicas.all(r, r.region != self.region)",
            "replicas: the home Region cannot be a replica",
        ),
        (
            "!has(self.encryption) || !has(self.replicas) || self.replicas.all(r, has(r.kmsKeyId))",
            "replicas: each needs a kmsKeyId when encryption is set: KMS keys are Regional",
        ),
    )

    @model_validator(mode="after")
    def _whole(self) -> "GoldenImageSpec":
        regions = [r.region for r in self.replicas]
        if self.region in regions:
            raise ValueError("replicas: the home Region cannot be a replica")
        if len(set(regions)) != len(regions):
            raise ValueError("replicas: a Region may be listed once")
        if self.encryption and any(r.kms_key_id is None for r in self.replicas):
            raise ValueError(
                "replicas: each needs a kmsKeyId when encryption is set: KMS keys are Regional"
            )
        if any(k.startswith(("aws:", "goldenimage.dev/")) for k in self.tags):
            raise ValueError("tags: keys that start with aws: or goldenimage.dev/ are reserved")
        return self


class RegionalImage(ApiModel):
    """One AMI of a version."""

    region: str
    image_id: str
    name: str = ""
    role: str = ""
    state: str = ""
    encrypted: bool = False
    kms_key_id: str | None = None
    snapshot_ids: tuple[str, ...] = ()
    requested_at: Annotated[
        str | None, Field(description="When AWS was asked for it, until it is seen.")
    ] = None
    message: str | None = None


class ImageVersion(ApiModel):
    """One version with its AMIs per Region."""

    version: int
    source: Annotated[str, Field(description="AMI or instance it was made from.")] = ""
    fingerprint: Annotated[str, Field(description="Digest of source and home key.")] = ""
    created_at: str | None = None
    current: bool = False
    images: tuple[RegionalImage, ...] = ()


class LatestVersion(ApiModel):
    """The version that shares follow: current and available in the home Region."""

    version: int
    image_id: str


class GoldenImageStatus(ApiModel):
    """What was observed last. AWS tags are the memory: losing this loses nothing."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )

    observed_generation: int | None = None
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            }
        ),
    ] = ()
    account: str | None = None
    latest: LatestVersion | None = None
    versions: Annotated[tuple[ImageVersion, ...], Field(max_length=200)] = ()
    source_id: str | None = None
    root_device_type: str | None = None
    product_codes: tuple[str, ...] = ()
    replicas_ready: str | None = None
    plan: tuple[str, ...] = ()
    managed_tag_keys: tuple[str, ...] = ()
    synced_digest: str | None = None
    drift_corrected: int = 0
    last_drift: str | None = None
    last_handled_reconcile_at: str | None = None


class GoldenImage(ApiModel):
    """A GoldenImage object."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid"
    )

    api_version: str = "goldenimage.dev/v1alpha1"
    kind: Literal["GoldenImage"] = "GoldenImage"
    metadata: Metadata
    spec: GoldenImageSpec
    status: GoldenImageStatus = GoldenImageStatus()
