"""ImageShare: who may launch which AMIs, and the KMS access that takes."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from gilder.api.base import (
    AccountId,
    ApiModel,
    ImageId,
    OrganizationalUnitArn,
    OrganizationArn,
    RegionName,
    rules,
)
from gilder.api.conditions import Condition
from gilder.api.metadata import Metadata

SET = {"x-kubernetes-list-type": "set"}

# What launching from an encrypted AMI of another account needs:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/sharingamis-explicit.html
# and https://docs.aws.amazon.com/ebs/latest/userguide/share-kms-key.html
GrantOperation = Literal[
    "Decrypt",
    "DescribeKey",
    "CreateGrant",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "GenerateDataKey",
    "Encrypt",
    "RetireGrant",
]
DEFAULT_OPERATIONS: tuple[GrantOperation, ...] = (
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
)


def _config(*pairs: tuple[str, str]) -> ConfigDict:
    return ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        json_schema_extra=rules(*pairs),
    )


class LabelRequirement(ApiModel):
    """One label selector requirement."""

    key: Annotated[str, Field(max_length=317)]
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[Annotated[str, Field(max_length=63)], ...] = ()


class LabelSelector(ApiModel):
    """A Kubernetes label selector; an empty one selects nothing, so that a slip shares nothing."""

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = {}
    match_expressions: tuple[LabelRequirement, ...] = ()

    model_config = _config(
        (
            "(has(self.matchLabels) && size(self.matchLabels) > 0) || "
            "(has(self.matchExpressions) && size(self.matchExpressions) > 0)",
            "give matchLabels or matchExpressions: an empty selector selects nothing",
        )
    )

    @model_validator(mode="after")
    def _some(self) -> "LabelSelector":
        if not self.match_labels and not self.match_expressions:
            raise ValueError(
                "give matchLabels or matchExpressions: an empty selector selects nothing"
            )
        return self

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        if any(labels.get(k) != v for k, v in self.match_labels.items()):
            return False
        for r in self.match_expressions:
            value = labels.get(r.key)
            ok = {
                "In": value in r.values,
                "NotIn": value not in r.values,
                "Exists": value is not None,
                "DoesNotExist": value is None,
            }[r.operator]
            if not ok:
                return False
        return True


class PlainImage(ApiModel):
    """An AMI by id, owned by the operator's account but not made by a GoldenImage."""

    id: ImageId
    region: RegionName


class ImageRef(ApiModel):
    """Which images: exactly one of name, selector and images."""

    name: Annotated[
        str | None,
        Field(max_length=253, description="Name of a GoldenImage of this namespace."),
    ] = None
    selector: Annotated[
        LabelSelector | None, Field(description="Labels of GoldenImages of this namespace.")
    ] = None
    images: Annotated[
        tuple[PlainImage, ...], Field(max_length=100, description="AMIs by id and Region.")
    ] = ()

    model_config = _config(
        (
            "[has(self.name), has(self.selector), has(self.images) && size(self.images) > 0]"
            ".filter(x, x).size() == 1",
            "give exactly one of name, selector and images",
        )
    )

    @model_validator(mode="after")
    def _one(self) -> "ImageRef":
        if sum((self.name is not None, self.selector is not None, bool(self.images))) != 1:
            raise ValueError("give exactly one of name, selector and images")
        return self


class Versions(ApiModel):
    """Which versions of the GoldenImages."""

    select: Annotated[
        Literal["Latest", "All", "Newest"],
        Field(description="Latest version, all of them, or the newest `count`."),
    ] = "Latest"
    count: Annotated[int | None, Field(ge=1, le=200, description="For select: Newest.")] = None

    model_config = _config(
        ("(self.select == 'Newest') == has(self.count)", "count goes with select: Newest, only")
    )

    @model_validator(mode="after")
    def _counted(self) -> "Versions":
        if (self.select == "Newest") != (self.count is not None):
            raise ValueError("count goes with select: Newest, only")
        return self


class Kms(ApiModel):
    """KMS access that goes with the launch permission of an encrypted AMI."""

    mode: Annotated[
        Literal["Grant", "None"],
        Field(
            description="Grant: one grant per key and account. None: somebody else gives key "
            "access; the launch permission is given regardless."
        ),
    ] = "Grant"
    operations: Annotated[
        tuple[GrantOperation, ...],
        Field(min_length=1, max_length=16, json_schema_extra=SET),
    ] = DEFAULT_OPERATIONS


class ImageShareSpec(ApiModel):
    """Who may launch what."""

    image_ref: ImageRef
    versions: Versions = Versions()
    regions: Annotated[
        tuple[RegionName, ...],
        Field(
            max_length=32,
            json_schema_extra=SET,
            description="Only these Regions; empty: wherever the image is.",
        ),
    ] = ()
    accounts: Annotated[tuple[AccountId, ...], Field(max_length=1000, json_schema_extra=SET)] = ()
    organizations: Annotated[
        tuple[OrganizationArn, ...], Field(max_length=50, json_schema_extra=SET)
    ] = ()
    organizational_units: Annotated[
        tuple[OrganizationalUnitArn, ...], Field(max_length=100, json_schema_extra=SET)
    ] = ()
    public: Annotated[
        bool,
        Field(description="Everybody may launch. Needs confirmPublic; never for encrypted AMIs."),
    ] = False
    confirm_public: Annotated[
        bool, Field(description="The second declaration that `public: true` needs.")
    ] = False
    kms: Kms = Kms()
    mode: Annotated[
        Literal["Authoritative", "Additive"],
        Field(
            description="Authoritative: launch permissions that no ImageShare declares are "
            "removed. Additive: only ours are added, and removed."
        ),
    ] = "Authoritative"
    suspend: Annotated[
        bool, Field(description="Change nothing in AWS for this share; what it declares stays.")
    ] = False
    management_policy: Annotated[
        Literal["Full", "Observe"],
        Field(description="Observe: change nothing in AWS, show the plan in status."),
    ] = "Full"

    model_config = _config(
        (
            "!(has(self.public) && self.public) || (has(self.confirmPublic) && self.confirmPublic)",
            "public: needs confirmPublic: true beside it",
        )
    )

    @model_validator(mode="after")
    def _whole(self) -> "ImageShareSpec":
        if self.public and not self.confirm_public:
            raise ValueError("public: needs confirmPublic: true beside it")
        for name in ("regions", "accounts", "organizations", "organizational_units"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{to_camel(name)}: an entry may be listed once")
        return self


class SharedImage(ApiModel):
    """One AMI of this share: what this share declares of it and what is in place."""

    region: str
    image_id: str
    image: Annotated[str | None, Field(description="GoldenImage it belongs to.")] = None
    version: int | None = None
    state: Annotated[str, Field(description="Shared, Waiting, Refused or Removing.")] = ""
    message: str | None = None
    accounts: Annotated[tuple[str, ...], Field(description="Ours: declared by this share.")] = ()
    organizations: tuple[str, ...] = ()
    organizational_units: tuple[str, ...] = ()
    public: bool = False
    missing: Annotated[tuple[str, ...], Field(description="Declared and not in place.")] = ()
    kms_key_id: str | None = None


class SharedGrant(ApiModel):
    """A KMS grant that this share needs."""

    region: str
    key_id: str
    principal: str
    grant_id: str


class ImageShareStatus(ApiModel):
    """What was observed last, and which principals are ours (so that only these are removed)."""

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
    images: tuple[SharedImage, ...] = ()
    grants: tuple[SharedGrant, ...] = ()
    shared: str | None = None
    principals: int = 0
    removed: Annotated[
        tuple[str, ...], Field(description="Principals removed as drift by the last correction.")
    ] = ()
    plan: tuple[str, ...] = ()
    synced_digest: str | None = None
    drift_corrected: int = 0
    last_drift: str | None = None
    last_handled_reconcile_at: str | None = None


class ImageShare(ApiModel):
    """An ImageShare object."""

    api_version: str = "goldenimage.dev/v1alpha1"
    kind: Literal["ImageShare"] = "ImageShare"
    metadata: Metadata
    spec: ImageShareSpec
    status: ImageShareStatus = ImageShareStatus()
