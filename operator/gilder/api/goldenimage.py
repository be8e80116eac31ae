"""GoldenImage: an AMI with versions, kept in a home Region and copied to replica Regions."""

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from gilder.api.base import (
    FREE_TAG_KEYS,
    TAG_LIMIT,
    AccountId,
    ApiModel,
    InstanceId,
    KmsKeyId,
    RegionName,
    TagKey,
    TagValue,
    check_tag_keys,
    configured,
    rules,
)
from gilder.api.building import ImageBuilderSource, JobSource
from gilder.api.conditions import Condition
from gilder.api.gates import Gates
from gilder.api.lifecycle import (
    Duration,
    Promotion,
    Publish,
    Refresh,
    Retention,
    parameter_wrong,
)
from gilder.api.metadata import Metadata
from gilder.api.schedule import Schedule
from gilder.api.selection import ImageSource

KEY_LIMIT = TAG_LIMIT  # of <namespace>/<name>
DEFAULT_NAME_TEMPLATE = "{namespace}-{name}-v{version}"


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

    model_config = configured(
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


ONE_SOURCE = "give exactly one of image, instance, imageBuilder and job"


class Source(ApiModel):
    """Where versions come from: exactly one of image, instance, imageBuilder and job."""

    image: Annotated[ImageSource | None, Field(description="An existing AMI.")] = None
    instance: Annotated[InstanceSource | None, Field(description="An EC2 instance.")] = None
    image_builder: Annotated[
        ImageBuilderSource | None, Field(description="A build by EC2 Image Builder.")
    ] = None
    job: Annotated[JobSource | None, Field(description="A build by a Kubernetes Job.")] = None

    model_config = configured(
        (
            "[has(self.image), has(self.instance), has(self.imageBuilder), has(self.job)]"
            ".filter(x, x).size() == 1",
            ONE_SOURCE,
        )
    )

    @model_validator(mode="after")
    def _one(self) -> "Source":
        given = (self.image, self.instance, self.image_builder, self.job)
        if sum(x is not None for x in given) != 1:
            raise ValueError(ONE_SOURCE)
        return self

    @property
    def built(self) -> bool:
        """Whether an AMI must be built first, rather than found or captured."""
        return self.image_builder is not None or self.job is not None


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
            "KMS keys are Regional. Not needed where encryption.kmsKeyId is a multi-Region key "
            "with a replica key there."
        ),
    ] = None
    schedule: Annotated[
        Refresh | None,
        Field(
            description="When this Region gets the version that is released by then; absent: each "
            "new version is copied once it passed its gates."
        ),
    ] = None
    max_lag: Annotated[
        Duration,
        Field(
            description="How long a newer version may be released without being here before the "
            "condition DRStale is True."
        ),
    ] = "24h"
    copy_duration_minutes: Annotated[
        int | None,
        Field(
            ge=15,
            le=2880,
            multiple_of=15,
            description="Have AWS complete copies within this time, at a price; in steps of 15. "
            "Absent: as fast as AWS does without.",
        ),
    ] = None
    retention: Annotated[
        Retention | None,
        Field(description="Retention in this Region; absent: spec.retention."),
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


REPLICA_KEYS = (
    "replicas: each needs a kmsKeyId when encryption is set: KMS keys are Regional. Only a "
    "multi-Region key (mrk-...) need not be named again"
)
OWN_ACCOUNT = (
    "publish.ssmParameter.accounts: the image's own account has the parameter anyway; take it out"
)
NO_SCHEDULE = "schedule: source.image is followed as it changes; there is nothing to build anew"


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
            description="AWS account the image lives in; absent: that of the operator's own "
            "credentials. Another one must be in the operator's access file, with the role to act "
            "there, and open to this namespace."
        ),
    ] = None
    source: Source
    schedule: Annotated[
        Schedule | None,
        Field(description="When to build anew. Not for source.image, which is followed."),
    ] = None
    gates: Annotated[
        Gates | None,
        Field(
            description="What a new version must pass before it is copied or shared. One that "
            "fails is kept aside."
        ),
    ] = None
    promotion: Annotated[
        Promotion | None,
        Field(
            description="When a version that passed its gates is released. Absent: at once, and "
            "in each replica Region once its copy is there."
        ),
    ] = None
    pinned_version: Annotated[
        int | None,
        Field(
            ge=1,
            description="Roll back, or stay: this version is the released one. Newer ones are "
            "made, checked and copied, and not released.",
        ),
    ] = None
    publish: Publish | None = None
    retention: Annotated[
        Retention | None,
        Field(description="What becomes of superseded versions. Absent: they all stay."),
    ] = None
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
            json_schema_extra=rules(FREE_TAG_KEYS),
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
    allowed_namespaces: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9*?-]+$")], ...],
        Field(
            max_length=100,
            json_schema_extra={"x-kubernetes-list-type": "set"},
            description="Namespaces whose ImageShares may share this image, besides its own; "
            "patterns with * and ? are understood.",
        ),
    ] = ()
    suspend: Annotated[bool, Field(description="Change nothing in AWS, and observe nothing.")] = (
        False
    )
    management_policy: Annotated[
        Literal["Full", "Observe"],
        Field(description="Observe: change nothing in AWS, show the plan in status."),
    ] = "Full"

    model_config = configured(
        (
            "!has(self.replicas) || self.replicas.all(r, r.region != self.region)",
            "replicas: the home Region cannot be a replica",
        ),
        (
            "!has(self.encryption) || !has(self.replicas) || "
            "self.encryption.kmsKeyId.contains('mrk-') || self.replicas.all(r, has(r.kmsKeyId))",
            REPLICA_KEYS,
        ),
        ("!has(self.schedule) || !has(self.source.image)", NO_SCHEDULE),
        (
            "!has(self.account) || !has(self.publish) || !has(self.publish.ssmParameter) || "
            "!has(self.publish.ssmParameter.accounts) || "
            "!(self.account in self.publish.ssmParameter.accounts)",
            OWN_ACCOUNT,
        ),
    )

    @property
    def promoting(self) -> Promotion:
        """What counts; where nothing is said each Region goes as soon as it can."""
        return self.promotion if self.promotion is not None else Promotion(replicas="Follow")

    def retention_in(self, region: str) -> Retention | None:
        """What counts for the AMIs of a Region; one that is no replica any more is as the home."""
        own = (r.retention for r in self.replicas if r.region == region)
        return next((r for r in own if r is not None), self.retention)

    @model_validator(mode="after")
    def _whole(self) -> "GoldenImageSpec":
        regions = [r.region for r in self.replicas]
        if self.region in regions:
            raise ValueError("replicas: the home Region cannot be a replica")
        if len(set(regions)) != len(regions):
            raise ValueError("replicas: a Region may be listed once")
        if self.encryption and any(self.key_of(r) is None for r in self.replicas):
            raise ValueError(REPLICA_KEYS)
        if self.schedule is not None and self.source.image is not None:
            raise ValueError(NO_SCHEDULE)
        builder = self.source.image_builder
        if builder is not None and builder.pipeline_arn is not None:
            there = builder.pipeline_arn.split(":")[3]
            if there != self.region:
                raise ValueError(
                    f"source.imageBuilder.pipelineArn: a pipeline of {there}, but the home Region "
                    f"is {self.region}. Name one of that Region"
                )
        infrastructure = builder.infrastructure if builder is not None else None
        # https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateInfrastructureConfiguration.html
        if infrastructure and len({**self.tags, **infrastructure.tags}) > 30:
            raise ValueError(
                "source.imageBuilder.infrastructure.tags: with spec.tags more than 30, which is "
                "what Image Builder puts on its instances. Use fewer tags"
            )
        check_tag_keys(self.tags)
        self._published()
        return self

    def _published(self) -> None:
        publish = self.publish
        if publish is None:
            return
        places = [(t.region or self.region, t.id or t.name) for t in publish.launch_templates]
        for place in places:
            if places.count(place) > 1:
                raise ValueError(
                    f"publish.launchTemplates: {place[1]} of {place[0]} is there twice. Name it "
                    "once"
                )
        told = publish.ssm_parameter
        if told is not None and self.account is not None and self.account in told.accounts:
            raise ValueError(OWN_ACCOUNT)

    def key_of(self, replica: Replica) -> str | None:
        """The key of a replica as written, or the home key's own replica there if that is a
        multi-Region key: these have the same id in each Region.

        https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html
        """
        if replica.kms_key_id is not None or self.encryption is None:
            return replica.kms_key_id
        found = re.search(r"mrk-[0-9a-f-]{32,36}$", self.encryption.kms_key_id)
        return found[0] if found else None


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
    progress: Annotated[
        str | None, Field(description="How far the copying of its snapshots is, such as 45%.")
    ] = None
    message: str | None = None


class GateResult(ApiModel):
    """What one gate or check says of a version."""

    name: str
    state: Literal["Pending", "Running", "Passed", "Failed"]
    message: str = ""
    log: Annotated[str, Field(description="Where to read more.")] = ""


class Build(ApiModel):
    """One build: under way, or the last one that ended."""

    id: Annotated[str, Field(description="Build id; the AMI of a Job carries it as a tag.")]
    kind: Annotated[str, Field(description="imageBuilder or job.")] = ""
    trigger: str = ""
    version: int = 0
    attempt: int = 1
    state: Annotated[
        str, Field(description="Pending, Running, Succeeded, Failed or Cancelled.")
    ] = ""
    stage: str = ""
    ref: Annotated[str, Field(description="Image build version ARN, or name of the Job.")] = ""
    inputs: Annotated[str, Field(description="Digest of what spec.source says.")] = ""
    parent: Annotated[str, Field(description="AMI it started from.")] = ""
    image_id: str | None = None
    message: str = ""
    log: Annotated[str, Field(description="Where to read more.")] = ""
    started_at: str | None = None
    finished_at: str | None = None


class ImageVersion(ApiModel):
    """One version with its AMIs per Region."""

    version: int
    source: Annotated[str, Field(description="AMI or instance it was made from.")] = ""
    fingerprint: Annotated[str, Field(description="Digest of source and home key.")] = ""
    created_at: str | None = None
    current: bool = False
    gate: Annotated[str, Field(description="Pending, Passed, Failed, or empty: no gates.")] = ""
    gates: tuple[GateResult, ...] = ()
    gates_asked: Annotated[str, Field(description="Digest of the gates that were asked.")] = ""
    tested_since: str | None = None
    origin: Annotated[str, Field(description="Why and from what it was built.")] = ""
    held: Annotated[bool, Field(description="Not released yet, or never was.")] = False
    complete_since: Annotated[
        str | None, Field(description="Since when nothing is missing for its release.")
    ] = None
    released_at: Annotated[str | None, Field(description="When it was released first.")] = None
    images: tuple[RegionalImage, ...] = ()


class LatestVersion(ApiModel):
    """The version that shares and parameters follow."""

    version: int
    image_id: str


class ReplicaStatus(ApiModel):
    """One DR Region: what could be launched there now, and what is on its way."""

    region: str
    version: Annotated[int, Field(description="The newest good version there; 0: none.")] = 0
    image_id: str | None = None
    state: Annotated[
        str, Field(description="Current, Copying, Queued, Scheduled, Failed, Unreachable, Missing.")
    ] = ""
    progress: str | None = None
    recovery_point: Annotated[
        str | None, Field(description="When the version that is there was made, at home.")
    ] = None
    behind_since: Annotated[
        str | None, Field(description="Since when a newer version is released and not there.")
    ] = None
    next_copy: Annotated[str | None, Field(description="When the schedule copies next.")] = None
    stale: bool = False
    message: str = ""


class Retiring(ApiModel):
    """An AMI or snapshot that goes: announced, and then carried out unless it is in use."""

    id: str
    region: str
    version: int = 0
    action: Annotated[str, Field(description="Disable, Deregister or DeleteSnapshot.")]
    reason: str = ""
    since: Annotated[str, Field(description="When it was announced first.")]
    at: Annotated[str, Field(description="When it goes, unless something uses it then.")]
    held_by: Annotated[str, Field(description="What keeps it from going.")] = ""
    unprotected: Annotated[
        str | None, Field(description="When its deregistration protection was taken off.")
    ] = None
    tried: Annotated[str | None, Field(description="When AWS refused it last.")] = None


class Leftover(ApiModel):
    """A snapshot with our tags that no AMI uses, or an AMI whose tags do not say what it is."""

    id: str
    region: str
    version: int = 0


class Published(ApiModel):
    """One place where the released version is told."""

    kind: Annotated[str, Field(description="Parameter, LaunchTemplate or ConfigMap.")]
    name: str
    region: str = ""
    account: Annotated[str, Field(description="A consumer account; empty: that of the image.")] = ""
    image_id: str = ""
    version: int = 0
    at: Annotated[str | None, Field(description="When it was looked at or written last.")] = None
    message: str = ""

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Kind, account, Region and name: there is one entry for each."""
        return (self.kind, self.account, self.region, self.name)


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
    build: Annotated[Build | None, Field(description="The build under way.")] = None
    last_build: Annotated[Build | None, Field(description="The last build that ended.")] = None
    next_build: Annotated[str | None, Field(description="When the schedule builds next.")] = None
    last_handled_rebuild: str | None = None
    candidate: Annotated[
        LatestVersion | None, Field(description="A version that is not released yet.")
    ] = None
    replicas: Annotated[tuple[ReplicaStatus, ...], Field(max_length=32)] = ()
    next_copy: Annotated[
        str | None, Field(description="When a replica's schedule copies next.")
    ] = None
    published: Annotated[tuple[Published, ...], Field(max_length=1000)] = ()
    retiring: Annotated[
        tuple[Retiring, ...], Field(max_length=100, description="What goes next, and when.")
    ] = ()
    leftovers: Annotated[tuple[Leftover, ...], Field(max_length=100)] = ()
    leftover_count: Annotated[
        int, Field(description="How many left-over snapshots there are, beyond the list too.")
    ] = 0
    recycle_bin: Annotated[
        tuple[str, ...],
        Field(max_length=50, description="AMIs that can be had back from the Recycle Bin."),
    ] = ()
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

    @model_validator(mode="after")
    def _fits_a_tag(self) -> "GoldenImage":
        if len(self.metadata.key) > KEY_LIMIT:
            raise ValueError(
                f"metadata.name: with the namespace it is longer than the {KEY_LIMIT} characters "
                "that an ownership tag holds. Use a shorter name"
            )
        return self

    @model_validator(mode="after")
    def _parameter_can_be(self) -> "GoldenImage":
        """The name of the parameter as it is with the namespace and the name filled in."""
        told = self.spec.publish.ssm_parameter if self.spec.publish is not None else None
        if told is not None:
            name = told.named(self.metadata.namespace, self.metadata.name)
            if wrong := parameter_wrong(name):
                raise ValueError(f"spec.publish.ssmParameter.name: {wrong}")
        return self
