"""ImageShare: who may launch which AMIs, and the KMS access that takes."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from gilder.api.base import (
    FREE_TAG_KEYS,
    AccountId,
    ApiModel,
    ImageId,
    OrganizationalUnitArn,
    OrganizationArn,
    RegionName,
    check_tag_keys,
    configured,
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

    name: Annotated[str | None, Field(max_length=253, description="Name of a GoldenImage.")] = None
    selector: Annotated[LabelSelector | None, Field(description="Labels of GoldenImages.")] = None
    namespace: Annotated[
        str | None,
        Field(
            max_length=63,
            description="Namespace of the GoldenImages, with name and selector; absent: that of "
            "the ImageShare. Another one must be let in by spec.allowedNamespaces of each image.",
        ),
    ] = None
    images: Annotated[
        tuple[PlainImage, ...], Field(max_length=100, description="AMIs by id and Region.")
    ] = ()
    account: Annotated[
        AccountId | None,
        Field(description="AWS account of `images`; absent: the operator's own."),
    ] = None

    model_config = _config(
        (
            "[has(self.name), has(self.selector), has(self.images) && size(self.images) > 0]"
            ".filter(x, x).size() == 1",
            "give exactly one of name, selector and images",
        ),
        (
            "!has(self.images) || size(self.images) == 0 || !has(self.namespace)",
            "namespace goes with name and selector, only",
        ),
        (
            "!has(self.account) || (has(self.images) && size(self.images) > 0)",
            "account goes with images, only: a GoldenImage has its own spec.account",
        ),
    )

    @model_validator(mode="after")
    def _one(self) -> "ImageRef":
        if sum((self.name is not None, self.selector is not None, bool(self.images))) != 1:
            raise ValueError("give exactly one of name, selector and images")
        if self.images and self.namespace is not None:
            raise ValueError("namespace goes with name and selector, only")
        if self.account is not None and not self.images:
            raise ValueError(
                "account goes with images, only: a GoldenImage has its own spec.account"
            )
        return self


class Versions(ApiModel):
    """Which versions of the GoldenImages."""

    select: Annotated[
        Literal["Latest", "All", "Newest", "Candidate"],
        Field(
            description="Latest: the released version; All: each that ever was released; Newest: "
            "the newest `count` of these. Candidate: the newest that passed its gates, released or "
            "not, for accounts in spec.promotion.testAccounts of the GoldenImage alone."
        ),
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


# {account} stands for the id of each account of the share.
GranteePrincipal = Annotated[
    str,
    StringConstraints(
        pattern=r"^arn:aws[a-z-]*:iam::([0-9]{12}|\{account\}):(root|(role|user)/[a-zA-Z0-9+=,.@/_-]+)$",
        max_length=600,
    ),
]


class Kms(ApiModel):
    """KMS access that goes with the launch permission of an encrypted AMI."""

    mode: Annotated[
        Literal["Grant", "KeyPolicy", "None"],
        Field(
            description="Grant: one grant per key and account; organizations and OUs must be let "
            "in by the key policy already. KeyPolicy: grants for accounts, and one statement of "
            "ours in the key policy for organizations and OUs, which no grant can name. None: "
            "somebody else gives key access; the launch permission is given regardless."
        ),
    ] = "Grant"
    operations: Annotated[
        tuple[GrantOperation, ...],
        Field(min_length=1, max_length=16, json_schema_extra=SET),
    ] = DEFAULT_OPERATIONS
    grantee_principals: Annotated[
        tuple[GranteePrincipal, ...],
        Field(
            max_length=20,
            json_schema_extra=SET,
            description="Principals that get a grant of their own besides the account, for each "
            "account that {account} in the ARN stands for: such as "
            "arn:aws:iam::{account}:role/aws-service-role/autoscaling.amazonaws.com/"
            "AWSServiceRoleForAutoScaling.",
        ),
    ] = ()

    @property
    def grants(self) -> bool:
        """Whether accounts get grants of ours."""
        return self.mode != "None"

    @property
    def edits_policy(self) -> bool:
        return self.mode == "KeyPolicy"

    def grantees(self, account: str) -> tuple[str, ...]:
        """Who gets a grant for an account: the account itself, and the principals of it."""
        more = (p.replace("{account}", account) for p in self.grantee_principals)
        return (account, *(p for p in more if p.split(":")[4] == account))


class ConfigMapList(ApiModel):
    """Account ids in a ConfigMap of the ImageShare's namespace."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            description='Name of a ConfigMap with the label goldenimage.dev/accounts: "true".',
        ),
    ]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            description="Key whose value lists account ids, apart by commas, spaces or lines; "
            "what follows a # is left out.",
        ),
    ] = "accounts"


class ParameterList(ApiModel):
    """Account ids in an SSM parameter of the operator's own account."""

    name: Annotated[
        str,
        Field(
            pattern=r"^/?[a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)*$",
            max_length=1011,
            description="Name of a String or StringList parameter: ids apart by commas, spaces or "
            "lines.",
        ),
    ]
    region: RegionName


ONE_LIST = "give exactly one of configMap, ssmParameter, organization and organizationalUnit"


class AccountList(ApiModel):
    """A list of accounts that is followed as it changes: exactly one of the four."""

    config_map: ConfigMapList | None = None
    ssm_parameter: ParameterList | None = None
    organization: Annotated[
        OrganizationArn | None,
        Field(description="All active accounts of the organization, one by one."),
    ] = None
    organizational_unit: Annotated[
        OrganizationalUnitArn | None,
        Field(description="All active accounts at and below the OU, one by one."),
    ] = None
    allow_empty: Annotated[
        bool,
        Field(
            description="Whether an empty list counts. Otherwise it is a problem, and the "
            "accounts last listed stay."
        ),
    ] = False

    model_config = configured(
        (
            "[has(self.configMap), has(self.ssmParameter), has(self.organization), "
            "has(self.organizationalUnit)].filter(x, x).size() == 1",
            ONE_LIST,
        )
    )

    @model_validator(mode="after")
    def _one(self) -> "AccountList":
        given = (self.config_map, self.ssm_parameter, self.organization, self.organizational_unit)
        if sum(x is not None for x in given) != 1:
            raise ValueError(ONE_LIST)
        return self

    @property
    def source(self) -> str:
        """What is listed where, in words; also its name in status.lists."""
        if self.config_map is not None:
            return f"configMap {self.config_map.name}/{self.config_map.key}"
        if self.ssm_parameter is not None:
            return f"ssmParameter {self.ssm_parameter.name} in {self.ssm_parameter.region}"
        return f"organizations {self.organization or self.organizational_unit}"


Moment = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        max_length=40,
    ),
]

ONE_PRINCIPAL = "give exactly one of account, organization and organizationalUnit"


class Temporary(ApiModel):
    """A principal that may launch until a time."""

    account: AccountId | None = None
    organization: OrganizationArn | None = None
    organizational_unit: OrganizationalUnitArn | None = None
    until: Annotated[
        Moment,
        Field(
            description="RFC 3339 time with its offset, such as 2026-12-31T18:00:00Z. Access ends "
            "then, unless it is declared elsewhere too."
        ),
    ]

    model_config = configured(
        (
            "[has(self.account), has(self.organization), has(self.organizationalUnit)]"
            ".filter(x, x).size() == 1",
            ONE_PRINCIPAL,
        )
    )

    @model_validator(mode="after")
    def _one(self) -> "Temporary":
        if len([x for x in (self.account, self.organization, self.organizational_unit) if x]) != 1:
            raise ValueError(ONE_PRINCIPAL)
        try:
            # Of the first and the last day some times are none in UTC.
            datetime.fromisoformat(self.until).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"until: {self.until} is no such time: {error}") from None
        return self

    @property
    def ends(self) -> datetime:
        return datetime.fromisoformat(self.until)

    @property
    def name(self) -> str:
        return self.account or (self.organization or self.organizational_unit or "").split("/")[-1]


class ConsumerTags(ApiModel):
    """Tags on the AMI as consumer accounts see it: tags do not travel with a share."""

    copy_keys: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...],
        Field(
            max_length=50,
            json_schema_extra=SET,
            description="Keys of the AMI's own tags to copy; `*` stands for all of them. Keys of "
            "aws: and goldenimage.dev/ are left out.",
        ),
    ] = ()
    tags: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=128)],
            Annotated[str, Field(max_length=256)],
        ],
        Field(
            max_length=40,
            description="Tags to set besides; they win.",
            json_schema_extra=rules(FREE_TAG_KEYS),
        ),
    ] = {}

    @model_validator(mode="after")
    def _free(self) -> "ConsumerTags":
        check_tag_keys(self.tags)
        return self


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
    accounts_from: Annotated[
        tuple[AccountList, ...],
        Field(max_length=20, description="Lists of accounts that are followed as they change."),
    ] = ()
    ignore_accounts: Annotated[
        tuple[AccountId, ...],
        Field(
            max_length=1000,
            json_schema_extra=SET,
            description="Accounts that get nothing, whatever list they are in.",
        ),
    ] = ()
    temporary: Annotated[
        tuple[Temporary, ...],
        Field(max_length=200, description="Principals whose access ends by itself."),
    ] = ()
    kms: Kms = Kms()
    snapshots: Annotated[
        bool,
        Field(
            description="Let the accounts create volumes of the AMIs' snapshots too. Snapshots "
            "cannot be shared with organizations and OUs."
        ),
    ] = False
    consumer_tags: Annotated[
        ConsumerTags | None,
        Field(
            description="Tags to keep on the AMIs in the accounts that they are shared with. "
            "Takes a role there, from the operator's access file."
        ),
    ] = None
    verify_from_consumer: Annotated[
        bool,
        Field(
            description="See from the accounts' own side whether they can launch: AMI visible, "
            "dry run of a launch, key usable. Takes a role there, from the operator's access file."
        ),
    ] = False
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
        once = ("regions", "accounts", "organizations", "organizational_units", "ignore_accounts")
        for name in once:
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{to_camel(name)}: an entry may be listed once")
        return self

    @property
    def changes_by_itself(self) -> bool:
        """Whether who is declared depends on more than this spec: on lists, or on time."""
        return bool(self.accounts_from or self.temporary)


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
    snapshots: Annotated[
        bool, Field(description="Its snapshots too are shared, with the same accounts.")
    ] = False
    missing: Annotated[tuple[str, ...], Field(description="Declared and not in place.")] = ()
    kms_key_id: str | None = None
    kms_key_ids: Annotated[
        tuple[str, ...], Field(description="All keys of its snapshots, where they are several.")
    ] = ()
    account: Annotated[
        str | None, Field(description="Owner; absent: the operator's own account.")
    ] = None

    @property
    def keys(self) -> tuple[str, ...]:
        return self.kms_key_ids or ((self.kms_key_id,) if self.kms_key_id else ())


class LackingAccess(ApiModel):
    """A declared principal that cannot launch an AMI (yet), and which permission is missing."""

    principal: str
    region: str
    image_id: str
    launch_permission: Literal["Given", "Missing"]
    key_access: Literal["Given", "Missing", "NotNeeded", "NotOurs"]
    message: str


class SharedGrant(ApiModel):
    """A KMS grant that this share needs."""

    region: str
    key_id: str
    principal: str
    grant_id: str
    account: str | None = None


class SharedKeyPolicy(ApiModel):
    """A key policy that holds a statement of ours which this share needs."""

    region: str
    key_id: str
    account: str | None = None


class ListedAccounts(ApiModel):
    """What a list of accounts said when it could be read last."""

    source: str
    accounts: tuple[str, ...] = ()
    problem: str | None = None


class Consumer(ApiModel):
    """What was seen from the side of one account that the AMIs are shared with."""

    account: str
    checked: str | None = None
    launchable: Annotated[str, Field(description="AMIs that it can launch, of all: 3/3.")] = ""
    message: str | None = None
    tags: Annotated[tuple[str, ...], Field(description="Keys of tags that were set there.")] = ()
    digest: str = ""


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
    lacking: Annotated[
        tuple[LackingAccess, ...],
        Field(description="Who is declared and cannot launch what; the first 50."),
    ] = ()
    grants: Annotated[
        tuple[SharedGrant, ...],
        Field(description="Grants that this share needs; of more than 2000 some of each key."),
    ] = ()
    key_policies: tuple[SharedKeyPolicy, ...] = ()
    lists: tuple[ListedAccounts, ...] = ()
    consumers: Annotated[
        tuple[Consumer, ...], Field(description="As seen from the consumers' side.")
    ] = ()
    shared: str | None = None
    principals: int = 0
    next_expiry: Annotated[
        str | None, Field(description="When the next temporary principal loses access.")
    ] = None
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
