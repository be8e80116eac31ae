"""The typed actions of a plan: what would be changed in AWS, one per call (or batch of tags)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from gilder.core.observed import NOBODY, Principals

AFTER_APPLY = "(known after apply)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One change. `drift` says what was found amiss, for Events and metrics."""

    kind: ClassVar[str] = "Action"
    region: str

    def describe(self) -> str:
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        out: dict[str, Any] = {"action": self.kind}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, Principals):
                value = list(value.names())
            elif isinstance(value, frozenset | tuple):
                value = sorted(value)
            elif isinstance(value, Mapping):
                value = dict(value)
            if value not in (None, "", [], {}):
                out[name] = value
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class TagResources(Action):
    """CreateTags on AMIs and snapshots."""

    kind: ClassVar[str] = "TagResources"
    resources: tuple[str, ...]
    tags: Mapping[str, str]
    adopts: bool = False

    def describe(self) -> str:
        verb = "adopt" if self.adopts else "tag"
        return f"{verb} {', '.join(self.resources)} in {self.region}: {_keys(self.tags)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UntagResources(Action):
    """DeleteTags on AMIs and snapshots."""

    kind: ClassVar[str] = "UntagResources"
    resources: tuple[str, ...]
    keys: tuple[str, ...]

    def describe(self) -> str:
        return f"untag {', '.join(self.resources)} in {self.region}: {', '.join(self.keys)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateImage(Action):
    """CreateImage from an instance. Unique by `name` in the account and Region."""

    kind: ClassVar[str] = "CreateImage"
    instance: str
    name: str
    description: str
    no_reboot: bool
    tags: Mapping[str, str]

    def describe(self) -> str:
        how = "without reboot" if self.no_reboot else "with reboot"
        return f"create AMI {self.name} in {self.region} from instance {self.instance}, {how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyImage(Action):
    """CopyImage into `region`. Unique by `token` (ClientToken)."""

    kind: ClassVar[str] = "CopyImage"
    source_region: str
    source_image: str
    name: str
    description: str
    key: str | None  # ARN, or None: not encrypted by us
    tags: Mapping[str, str]
    token: str
    minutes: int | None = None  # AWS completes it within that time; None: as it can

    def describe(self) -> str:
        how = f", encrypted with {self.key}" if self.key else ""
        how += f", within {self.minutes} minutes" if self.minutes else ""
        return (
            f"copy {self.source_image} from {self.source_region} to {self.region} "
            f"as {self.name}{how}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnableImage(Action):
    """EnableImage on an AMI that was disabled."""

    kind: ClassVar[str] = "EnableImage"
    image: str

    def describe(self) -> str:
        return f"enable {self.image} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisableImage(Action):
    """DisableImage: nobody launches it any more, and its launch permissions go."""

    kind: ClassVar[str] = "DisableImage"
    image: str

    def describe(self) -> str:
        return f"disable {self.image} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeprecateImage(Action):
    """EnableImageDeprecation, or DisableImageDeprecation without a time (RFC 3339, UTC)."""

    kind: ClassVar[str] = "DeprecateImage"
    image: str
    at: str = ""

    def describe(self) -> str:
        if not self.at:
            return f"undo the deprecation of {self.image} in {self.region}"
        return f"deprecate {self.image} in {self.region} at {self.at}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectImage(Action):
    """Enable- or DisableImageDeregistrationProtection; `mode` as AWS says it."""

    kind: ClassVar[str] = "ProtectImage"
    image: str
    mode: Literal["enabled-with-cooldown", "enabled-without-cooldown", "disabled"]

    def describe(self) -> str:
        verb = "stop protecting" if self.mode == "disabled" else "protect"
        how = ", with cooldown" if self.mode == "enabled-with-cooldown" else ""
        return f"{verb} {self.image} in {self.region} against being deregistered{how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreImage(Action):
    """RestoreImageFromRecycleBin."""

    kind: ClassVar[str] = "RestoreImage"
    image: str

    def describe(self) -> str:
        return f"restore {self.image} in {self.region} from the Recycle Bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportUsage(Action):
    """CreateImageUsageReport: which other accounts use an AMI."""

    kind: ClassVar[str] = "ReportUsage"
    image: str
    token: str

    def describe(self) -> str:
        return f"ask which other accounts use {self.image} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSnapshot(Action):
    """DeleteSnapshot of one that no AMI uses; AWS refuses it while one does."""

    kind: ClassVar[str] = "DeleteSnapshot"
    snapshot: str

    def describe(self) -> str:
        return f"delete left-over snapshot {self.snapshot} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeregisterImage(Action):
    """DeregisterImage, with its snapshots unless they are to stay."""

    kind: ClassVar[str] = "DeregisterImage"
    image: str
    snapshots: tuple[str, ...] = ()  # that are deleted with it
    leftover: bool = False  # of a build that came to nothing, or retired

    def describe(self) -> str:
        parts = " and delete its snapshots" if self.snapshots else ""
        return f"deregister {self.image} in {self.region}{parts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGrant(Action):
    """CreateGrant for one account on one key. Unique by `name`."""

    kind: ClassVar[str] = "CreateGrant"
    key: str
    account: str
    principal: str
    operations: tuple[str, ...]
    name: str
    extra: bool = False  # for a principal besides the account: no launch permission waits for it

    def describe(self) -> str:
        return f"grant {self.principal} use of {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeGrant(Action):
    """RevokeGrant of a grant of ours. Only after these accounts lost the launch permission."""

    kind: ClassVar[str] = "RevokeGrant"
    key: str
    grant: str
    principal: str
    account: str = ""
    images: tuple[str, ...] = ()  # AMIs with this key whose permission goes first
    replaced_by: str = ""  # name of the grant that must exist first

    def describe(self) -> str:
        return f"revoke grant {self.grant[:12]}... of {self.principal} on {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutKeyPolicy(Action):
    """PutKeyPolicy that changes one statement of ours; every other one stays as it is then.

    `add` and `remove` are `o-...` and `o-.../ou-...`. What is removed goes only after the launch
    permissions of `images`. `before` is the statement as it was seen: another one found in its
    place when it comes to it means that the plan is stale.
    """

    kind: ClassVar[str] = "PutKeyPolicy"
    key: str
    sid: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    statement: Mapping[str, Any] | None  # None: it goes
    before: Mapping[str, Any] | None
    images: tuple[str, ...] = ()  # AMIs with this key whose permission goes first

    def describe(self) -> str:
        parts = []
        if self.add:
            parts.append(f"let {_last(self.add)} use {self.key} by statement {self.sid}")
        if self.remove:
            parts.append(f"stop {_last(self.remove)} from using {self.key}")
        if not parts:
            parts.append(f"restore statement {self.sid} in the key policy of {self.key}")
        return " and ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"action": self.kind, "region": self.region, "key": self.key}
        out |= {"sid": self.sid, "add": list(self.add), "remove": list(self.remove)}
        return {**out, "statement": dict(self.statement) if self.statement else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifySnapshotPermission(Action):
    """ModifySnapshotAttribute of createVolumePermission: accounts (and everybody, to remove)."""

    kind: ClassVar[str] = "ModifySnapshotPermission"
    snapshot: str
    image: str
    add: Principals = NOBODY
    remove: Principals = NOBODY
    strangers: Principals = NOBODY
    needs: frozenset[tuple[str, str]] = frozenset()  # as in ModifyLaunchPermission

    def describe(self) -> str:
        parts = []
        if self.add:
            parts.append(f"let {', '.join(self.add.names())} create volumes of")
        if self.remove:
            parts.append(f"stop {', '.join(self.remove.names())} from creating volumes of")
        return f"{' and '.join(parts)} {self.snapshot} of {self.image} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagForConsumer(Action):
    """CreateTags and DeleteTags on an AMI as another account sees it, with a role there."""

    kind: ClassVar[str] = "TagForConsumer"
    account: str
    image: str
    tags: Mapping[str, str]
    gone: tuple[str, ...] = ()

    def describe(self) -> str:
        said = [_keys(self.tags)] if self.tags else []
        said += [f"without {', '.join(self.gone)}"] if self.gone else []
        return f"tag {self.image} in {self.region} for {self.account}: {'; '.join(said)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyLaunchPermission(Action):
    """One ModifyImageAttribute: principals added and removed together."""

    kind: ClassVar[str] = "ModifyLaunchPermission"
    image: str
    add: Principals = NOBODY
    remove: Principals = NOBODY
    strangers: Principals = NOBODY  # part of `remove` that nobody ever declared: drift
    # (account or `o-...[/ou-...]`, key ARN) that this plan must give key access to first.
    needs: frozenset[tuple[str, str]] = frozenset()

    def describe(self) -> str:
        parts = []
        if self.add:
            parts.append(f"let {', '.join(self.add.names())} launch")
        if self.remove:
            parts.append(f"stop {', '.join(self.remove.names())} from launching")
        return f"{' and '.join(parts)} {self.image} in {self.region}"


@dataclass(frozen=True, slots=True)
class ComponentOrder:
    """A component of a recipe: `arn`, or a document of ours to be kept as `name` and `version`."""

    arn: str = ""
    name: str = ""
    version: str = ""
    document: str = ""
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """All that Image Builder must have of ours for a build: what to call it, and what is in it.

    `devices`, `infrastructure` and `distributions` are in the shape of the API.
    """

    name: str  # of recipe, infrastructure and distribution configuration
    version: str  # of the recipe; made from its content
    parent: str
    platform: str
    components: tuple[ComponentOrder, ...]
    devices: tuple[Mapping[str, Any], ...] = ()
    working_directory: str = ""
    user_data: str = ""
    infrastructure: Mapping[str, Any]
    distributions: tuple[Mapping[str, Any], ...]
    tests: bool = True
    tests_minutes: int = 720


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBuild(Action):
    """CreateImage or StartImagePipelineExecution of Image Builder. Unique by `build`, the client
    token. `made` of its result is the ARN of the build."""

    kind: ClassVar[str] = "StartBuild"
    build: str
    tags: Mapping[str, str]
    pipeline: str = ""  # ARN of a pipeline of the user's, or
    order: BuildOrder | None = None  # a recipe of ours

    def describe(self) -> str:
        if self.order is not None:
            what = f"recipe {self.order.name} {self.order.version} on {self.order.parent}"
        else:
            what = f"pipeline {self.pipeline.rsplit('/', 1)[-1]}"
        return f"start build {self.build} of {what} in {self.region}"

    def as_dict(self) -> dict[str, Any]:
        out = {"action": self.kind, "region": self.region, "build": self.build}
        if self.order is None:
            return {**out, "pipeline": self.pipeline}
        return {**out, "recipe": self.order.name, "parent": self.order.parent}


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelBuild(Action):
    """CancelImageCreation; one that has ended is no error."""

    kind: ClassVar[str] = "CancelBuild"
    arn: str

    def describe(self) -> str:
        return f"cancel build {self.arn.split(':image/')[-1]} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRecipes(Action):
    """Delete every recipe, component and configuration of ours with this name in Image Builder."""

    kind: ClassVar[str] = "DeleteRecipes"
    name: str

    def describe(self) -> str:
        return f"delete recipes and configurations {self.name} of Image Builder in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateJob(Action):
    """Create a Kubernetes Job. Unique by its name, which holds the build id."""

    kind: ClassVar[str] = "CreateJob"
    build: str
    manifest: Mapping[str, Any]

    def describe(self) -> str:
        return f"create Job {self.manifest['metadata']['name']} for build {self.build}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "action": self.kind,
            "region": self.region,
            "build": self.build,
            "job": self.manifest["metadata"]["name"],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob(Action):
    """Delete a Kubernetes Job with its pods."""

    kind: ClassVar[str] = "DeleteJob"
    namespace: str
    name: str

    def describe(self) -> str:
        return f"delete Job {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTest(Action):
    """RunInstances of one test instance. Unique by `token`; it ends by itself after `minutes`."""

    kind: ClassVar[str] = "LaunchTest"
    image: str
    token: str
    type: str
    profile: str
    subnet: str = ""
    groups: tuple[str, ...] = ()
    tags: Mapping[str, str]
    minutes: int
    platform: str = "linux"

    def describe(self) -> str:
        return f"launch a test instance ({self.type}) of {self.image} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCheck(Action):
    """SendCommand to a test instance. Found again by `check`, its comment."""

    kind: ClassVar[str] = "RunCheck"
    instance: str
    check: str
    document: str
    version: str = ""
    parameters: Mapping[str, tuple[str, ...]]
    seconds: int

    def describe(self) -> str:
        return f"run check {self.check} on test instance {self.instance} in {self.region}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "action": self.kind,
            "region": self.region,
            "instance": self.instance,
            "check": self.check,
            "document": self.document,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EndTest(Action):
    """TerminateInstances of one test instance of ours."""

    kind: ClassVar[str] = "EndTest"
    instance: str

    def describe(self) -> str:
        return f"terminate test instance {self.instance} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutParameter(Action):
    """PutParameter of data type aws:ec2:image, with tags when it is new.

    One that is there is overwritten only while its tags name `owner`. `account` is a consumer's, in
    which it is done with the role there. `heals`: it was as it should be, and somebody changed it.
    """

    kind: ClassVar[str] = "PutParameter"
    name: str
    image: str
    version: int
    owner: str
    cluster: str
    exists: bool = False
    account: str = ""
    heals: bool = False

    def describe(self) -> str:
        verb = "set" if self.exists else "create"
        return f"{verb} parameter {self.name} {_where(self)} to {self.image}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteParameter(Action):
    """DeleteParameter, if its tags name `owner`; one that is gone is no error."""

    kind: ClassVar[str] = "DeleteParameter"
    name: str
    owner: str
    cluster: str
    account: str = ""

    def describe(self) -> str:
        return f"delete parameter {self.name} {_where(self)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseParameter(Action):
    """RemoveTagsFromResource: the parameter stays and is not ours any more."""

    kind: ClassVar[str] = "ReleaseParameter"
    name: str
    owner: str
    cluster: str
    account: str = ""

    def describe(self) -> str:
        return f"take our tags off parameter {self.name} {_where(self)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTemplateImage(Action):
    """CreateLaunchTemplateVersion from the default one, unless it was made already, and
    ModifyLaunchTemplate. Unique by `token` (ClientToken). `made` of its result is the version."""

    kind: ClassVar[str] = "SetTemplateImage"
    template: str  # id
    name: str
    image: str
    source: int  # the default version as it was seen
    description: str
    mark: str
    token: str
    heals: bool = False

    def describe(self) -> str:
        return (
            f"point launch template {self.name or self.template} in {self.region} to {self.image}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneTemplateVersions(Action):
    """DeleteLaunchTemplateVersions of versions that this operator made; `images` are theirs."""

    kind: ClassVar[str] = "PruneTemplateVersions"
    template: str  # id
    versions: tuple[int, ...]
    images: tuple[str, ...] = ()

    def describe(self) -> str:
        numbers = ", ".join(map(str, self.versions))
        return f"delete versions {numbers} of launch template {self.template} in {self.region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutConfigMap(Action):
    """Create a ConfigMap, or change ours as it was seen (`resource_version`)."""

    kind: ClassVar[str] = "PutConfigMap"
    manifest: Mapping[str, Any]
    resource_version: str = ""  # empty: there is none yet
    gone: tuple[str, ...] = ()  # keys that go
    heals: bool = False

    def describe(self) -> str:
        verb = "change" if self.resource_version else "create"
        said = ", ".join(f"{k}={v}" for k, v in sorted(self.manifest["data"].items()))
        return f"{verb} ConfigMap {self.manifest['metadata']['name']}: {said}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "action": self.kind,
            "region": self.region,
            "configMap": self.manifest["metadata"]["name"],
            "data": dict(self.manifest["data"]),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteConfigMap(Action):
    """Delete a ConfigMap of ours; one that is gone is no error."""

    kind: ClassVar[str] = "DeleteConfigMap"
    namespace: str
    name: str
    uid: str

    def describe(self) -> str:
        return f"delete ConfigMap {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseConfigMap(Action):
    """Take the owner off a ConfigMap of ours as it was seen, so that it stays when the GoldenImage
    goes; with `whole` our label too. One that is gone is no error."""

    kind: ClassVar[str] = "ReleaseConfigMap"
    namespace: str
    name: str
    resource_version: str
    whole: bool = False

    def describe(self) -> str:
        return f"let go of ConfigMap {self.name}"


AnyAction = (
    TagResources
    | UntagResources
    | CreateImage
    | CopyImage
    | EnableImage
    | DisableImage
    | DeprecateImage
    | ProtectImage
    | RestoreImage
    | ReportUsage
    | DeleteSnapshot
    | DeregisterImage
    | CreateGrant
    | RevokeGrant
    | ModifyLaunchPermission
    | ModifySnapshotPermission
    | PutKeyPolicy
    | TagForConsumer
    | StartBuild
    | CancelBuild
    | DeleteRecipes
    | CreateJob
    | DeleteJob
    | LaunchTest
    | RunCheck
    | EndTest
    | PutParameter
    | DeleteParameter
    | ReleaseParameter
    | SetTemplateImage
    | PruneTemplateVersions
    | PutConfigMap
    | DeleteConfigMap
    | ReleaseConfigMap
)

# Tells the released version to those who launch it. Only what `heals` is drift.
PUBLISHING = (
    PutParameter,
    DeleteParameter,
    ReleaseParameter,
    SetTemplateImage,
    PruneTemplateVersions,
    PutConfigMap,
    DeleteConfigMap,
    ReleaseConfigMap,
)

# Work on a new version. It follows from time and triggers, so it is never drift.
WORK = (
    StartBuild,
    CancelBuild,
    DeleteRecipes,
    CreateJob,
    DeleteJob,
    LaunchTest,
    RunCheck,
    EndTest,
)

# Follows from age, so that it is never drift.
RETIRING = (DisableImage, DeprecateImage, ReportUsage, DeleteSnapshot)


def _where(action: PutParameter | DeleteParameter | ReleaseParameter) -> str:
    return f"in {action.region}" + (f" of {action.account}" if action.account else "")


def _last(names: tuple[str, ...]) -> str:
    return ", ".join(n.rsplit("/", 1)[-1] for n in names)


def _keys(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(tags.items()))
