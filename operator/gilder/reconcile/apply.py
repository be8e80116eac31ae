"""Carry out a plan's actions: key before permission, Regions and stages apart, nothing raised."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from botocore.exceptions import ClientError

from gilder.aws import (
    builds,
    checks,
    errors,
    images,
    keys,
    parameters,
    policies,
    resources,
    snapshots,
    templates,
    usage,
)
from gilder.aws.sessions import Sessions
from gilder.aws.useview import UseViews
from gilder.aws.view import Views
from gilder.aws.workview import WorkViews
from gilder.core import rules
from gilder.core.actions import (
    PUBLISHING,
    WORK,
    AnyAction,
    CancelBuild,
    CopyImage,
    CreateGrant,
    CreateImage,
    CreateJob,
    DeleteConfigMap,
    DeleteJob,
    DeleteParameter,
    DeleteRecipes,
    DeleteSnapshot,
    DeprecateImage,
    DeregisterImage,
    DisableImage,
    EnableImage,
    EndTest,
    LaunchTest,
    ModifyLaunchPermission,
    ModifySnapshotPermission,
    ProtectImage,
    PruneTemplateVersions,
    PutConfigMap,
    PutKeyPolicy,
    PutParameter,
    ReleaseConfigMap,
    ReleaseParameter,
    ReportUsage,
    RestoreImage,
    RevokeGrant,
    RunCheck,
    SetTemplateImage,
    StartBuild,
    TagResources,
    UntagResources,
)
from gilder.core.observed import NOBODY, Problem
from gilder.core.publishing import not_ours
from gilder.core.publishing import refused as refused_parameter
from gilder.core.results import Result
from gilder.core.sharing import without
from gilder.reconcile.ports import (
    ClusterError,
    Jobs,
    NoJobs,
    NoPublishedMaps,
    NotOursError,
    PublishedMaps,
)

PARALLEL = 8  # changing calls at once, of one operator

IMAGES, KEYS, PERMISSIONS, REVOCATIONS = STAGES = range(4)


def stage_of(action: AnyAction) -> int:
    """Access is given key first, permission after, and taken in the opposite order."""
    match action:
        case CreateGrant():
            return KEYS
        case PutKeyPolicy():
            return REVOCATIONS if action.remove else KEYS
        case ModifyLaunchPermission() | ModifySnapshotPermission():
            return PERMISSIONS
        case RevokeGrant():
            return REVOCATIONS
        case _:
            return IMAGES


class Applier:
    """Runs actions on one account."""

    def __init__(
        self,
        sessions: Sessions,
        views: Views,
        work: WorkViews | None = None,
        jobs: Jobs | None = None,
        uses: UseViews | None = None,
        maps: PublishedMaps | None = None,
    ) -> None:
        self._uses = uses
        self._sessions = sessions
        self._maps: PublishedMaps = maps if maps is not None else NoPublishedMaps()
        self._views = views
        self._work = work
        self._jobs: Jobs = jobs if jobs is not None else NoJobs()
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="write")
        self._stopping = False

    def apply(self, actions: Sequence[AnyAction]) -> tuple[Result, ...]:
        """Try every action that may be tried; failures are results and hold up no other Region."""
        results: list[Result] = []
        for stage in STAGES:
            batch = [a for a in actions if stage_of(a) == stage]
            ready, skipped = _ready(batch, results)
            results += skipped
            if stage == IMAGES:
                results += self._by_region(ready)
            else:
                results += self._pool.map(self._one, ready)
        return tuple(results)

    def stop(self) -> None:
        """Start no further action; those under way finish, and the rest come back as not done."""
        self._stopping = True

    def close(self) -> None:
        """Wait for what is under way; call it after everybody who applies has come back."""
        self._pool.shutdown(wait=True)

    def _by_region(self, actions: Sequence[AnyAction]) -> list[Result]:
        """Image actions of one Region in their order, Regions side by side."""
        regions: dict[str, list[AnyAction]] = {}
        for action in actions:
            regions.setdefault(action.region, []).append(action)

        def run(batch: list[AnyAction]) -> list[Result]:
            return [self._one(a) for a in batch]

        return [r for batch in self._pool.map(run, regions.values()) for r in batch]

    def _one(self, action: AnyAction) -> Result:
        if self._stopping:
            return Result(action, Problem("Stopping", "the operator stops", False, action.region))
        try:
            made = self._call(action)
        except errors.AWS_ERRORS as error:
            # The call may have taken effect all the same.
            self._touched(action)
            found = errors.problem(error, action.describe(), action.region)
            if self._uses is not None and isinstance(action, RestoreImage) and found.permanent:
                self._uses.refused(action.region, action.image)
            return Result(action, _refused(action, found))
        except policies.PolicyChangedError as error:
            self._touched(action)
            told = f"{action.describe()}: {error}. It is planned anew"
            return Result(action, Problem("KeyPolicyConflict", told, False, action.region))
        except parameters.NotOursError as error:
            self._touched(action)
            return Result(action, _parameter_not_ours(action, error.owner))
        except templates.KeptError as error:
            self._touched(action)
            told = f"{action.describe()}: {error}. It stays, and is looked at again"
            return Result(action, Problem("TemplateVersionsKept", told, False, action.region))
        except NotOursError as error:
            told = (
                f"spec.publish.configMap.name: {error}. Choose another name, or delete the one "
                "that is there"
            )
            return Result(action, Problem("ConfigMapNotOurs", told, True))
        except ClusterError as error:
            told = f"{action.describe()}: {error}"
            return Result(action, Problem("KubernetesError", told, error.permanent, action.region))
        self._touched(action, done=True)
        return Result(action, made=made)

    def _touched(self, action: AnyAction, *, done: bool = False) -> None:
        if self._uses is not None and isinstance(
            action, ReportUsage | RestoreImage | DeregisterImage
        ):
            self._uses.forget(action.region, action.image)
        if self._uses is not None and isinstance(action, PruneTemplateVersions):
            for image in action.images:
                self._uses.forget(action.region, image)
        if not isinstance(action, WORK):
            self._views.touched(action, done=done)
        elif self._work is not None:
            self._work.touched(action)

    def _call(self, action: AnyAction) -> str:
        ec2 = self._sessions.ec2(action.region)
        match action:
            case TagResources():
                resources.tag(ec2, action.resources, action.tags)
            case UntagResources():
                resources.untag(ec2, action.resources, action.keys)
            case CreateImage():
                return self._create(action)
            case CopyImage():
                return images.copy(
                    ec2,
                    source_region=action.source_region,
                    source_image=action.source_image,
                    name=action.name,
                    description=action.description,
                    key=action.key,
                    tags=action.tags,
                    token=action.token,
                    minutes=action.minutes,
                )
            case DeregisterImage():
                images.deregister(ec2, action.image, snapshots=bool(action.snapshots))
            case CreateGrant():
                return keys.create_grant(
                    self._sessions.kms(action.region),
                    key=action.key,
                    principal=action.principal,
                    operations=action.operations,
                    name=action.name,
                )
            case RevokeGrant():
                keys.revoke_grant(self._sessions.kms(action.region), action.key, action.grant)
            case ModifyLaunchPermission():
                images.modify_permissions(ec2, action.image, action.add, action.remove)
            case ModifySnapshotPermission():
                snapshots.modify(ec2, action.snapshot, add=action.add, remove=action.remove)
            case PutKeyPolicy():
                policies.change(
                    self._sessions.kms(action.region),
                    action.key,
                    action.sid,
                    action.statement,
                    action.before,
                )
            case _ if isinstance(action, PUBLISHING):
                return self._publish(action)
            case _ if isinstance(action, WORK):
                return self._do_work(action)
            case _:
                return self._do_stages(action)
        return ""

    def _do_stages(self, action: AnyAction) -> str:
        """What happens to an AMI between its making and its end."""
        ec2 = self._sessions.ec2(action.region)
        match action:
            case EnableImage():
                images.enable(ec2, action.image)
            case DisableImage():
                images.disable(ec2, action.image)
            case DeprecateImage():
                images.deprecate(ec2, action.image, action.at)
            case ProtectImage():
                images.protect(ec2, action.image, action.mode)
            case RestoreImage():
                images.restore(ec2, action.image)
            case ReportUsage():
                return usage.ask(ec2, action.image, action.token)
            case DeleteSnapshot():
                resources.delete_snapshot(ec2, action.snapshot)
        return ""

    def _publish(self, action: AnyAction) -> str:
        sessions, region = self._sessions, action.region
        match action:
            case PutParameter() | DeleteParameter() | ReleaseParameter():
                parameters.change(sessions.ssm(region), action)
            case SetTemplateImage():
                return templates.set_image(
                    sessions.ec2(region),
                    action.template,
                    action.image,
                    source=action.source,
                    description=action.description,
                    mark=action.mark,
                    token=action.token,
                )
            case PruneTemplateVersions():
                templates.delete_versions(sessions.ec2(region), action.template, action.versions)
            case PutConfigMap():
                self._maps.put(action)
            case DeleteConfigMap():
                self._maps.remove(action.namespace, action.name, action.uid)
            case ReleaseConfigMap():
                self._maps.release(action)
        return ""

    def _do_work(self, action: AnyAction) -> str:
        sessions, region = self._sessions, action.region
        match action:
            case StartBuild():
                return builds.start(sessions.imagebuilder(region), action, sessions.account())
            case CancelBuild():
                builds.cancel(sessions.imagebuilder(region), action.arn)
            case DeleteRecipes():
                account = sessions.account()
                builds.delete_recipes(sessions.imagebuilder(region), action.name, account)
            case CreateJob():
                return self._jobs.create(action.manifest)
            case DeleteJob():
                self._jobs.delete(action.namespace, action.name)
            case LaunchTest():
                return checks.launch(sessions.ec2(region), action)
            case RunCheck():
                return checks.run(sessions.ssm(region), action)
            case EndTest():
                checks.end(sessions.ec2(region), action.instance)
        return ""

    def _create(self, action: CreateImage) -> str:
        ec2 = self._sessions.ec2(action.region)
        try:
            return images.create(
                ec2,
                instance=action.instance,
                name=action.name,
                description=action.description,
                no_reboot=action.no_reboot,
                tags=action.tags,
            )
        except ClientError as error:
            if errors.code(error) != "InvalidAMIName.Duplicate":
                raise
            # Ours from a call whose answer was lost, or else somebody's who took the name.
            made = images.id_of_name(ec2, action.name, action.tags)
            if made is None:
                raise
            return made


def _parameter_not_ours(action: AnyAction, owner: str) -> Problem:
    """Somebody took the parameter since it was looked at."""
    assert isinstance(action, parameters.Change)
    return not_ours(action.name, action.region, owner, action.owner, action.cluster, action.account)


def _ready(
    actions: Iterable[AnyAction], before: Sequence[Result]
) -> tuple[list[AnyAction], list[Result]]:
    """Actions whose precondition in earlier stages came true, and the others as failures."""
    failed: dict[tuple[str, str], Problem] = {}  # name as in `needs`, key
    unmade: dict[str, Problem] = {}  # grants by name
    kept_open: dict[str, Problem] = {}  # by AMI
    for result in before:
        if result.problem is None:
            continue
        match result.action:
            case CreateGrant() as grant:
                unmade[grant.name] = result.problem
                if not grant.extra:
                    failed[(grant.account, grant.key)] = result.problem
            case PutKeyPolicy() as put:
                failed |= {(name, put.key): result.problem for name in put.add}
            case ModifyLaunchPermission() | ModifySnapshotPermission() as permission:
                kept_open[permission.image] = result.problem
    ready: list[AnyAction] = []
    skipped: list[Result] = []
    for action in actions:
        match action:
            case ModifyLaunchPermission() | ModifySnapshotPermission():
                lacking = frozenset(a for a, k in action.needs if (a, k) in failed)
                add = without(action.add, lacking)
                if add or action.remove:
                    ready.append(replace(action, add=add))
                if lacking:
                    why = next(p for pair, p in failed.items() if pair in action.needs)
                    lost = replace(action, add=action.add - add, remove=NOBODY)
                    skipped.append(Result(lost, _held(lost, why)))
            case RevokeGrant() | PutKeyPolicy():
                blocking = [p for i in action.images if (p := kept_open.get(i))]
                if isinstance(action, RevokeGrant) and (p := unmade.get(action.replaced_by)):
                    blocking.append(p)
                if blocking:
                    skipped.append(Result(action, _held(action, blocking[0])))
                else:
                    ready.append(action)
            case _:
                ready.append(action)
    return ready, skipped


def _refused(action: AnyAction, problem: Problem) -> Problem:
    """What a person must mend, with the field that the action came from."""
    if problem.reason == "AccessDenied":
        return _denied(action, problem)
    if problem.reason != "AWSError":
        return problem
    told, region = f"{problem.message}. Correct it", problem.region
    match action:
        case StartBuild():
            return Problem("BuildRefused", f"spec.source.imageBuilder: {told}", True, region)
        case LaunchTest():
            return Problem("TestRefused", f"spec.gates.ssm.instance: {told}", True, region)
        case PutParameter():
            return refused_parameter(problem)
        case SetTemplateImage():
            field = "spec.publish.launchTemplates"
            return Problem("LaunchTemplateRefused", f"{field}: {told}", True, region)
        case RunCheck():
            return Problem("TestRefused", f"spec.gates.ssm: {told}", True, region)
        case DeregisterImage():
            # AWS's words for protection and its cooldown, among others.
            return Problem(
                "DeregisterRefused", f"{problem.message}. It is tried again", False, region
            )
        case DeleteSnapshot():
            return Problem("SnapshotInUse", f"{problem.message}. It stays", False, region)
        case _:
            return problem


def _denied(action: AnyAction, problem: Problem) -> Problem:
    """A denial by a key policy, with the statement that whoever owns the key must add."""
    match action:
        case PutKeyPolicy() if action.statement is not None:
            # Under another Sid: a statement with ours would be taken for the operator's own.
            statement = {**action.statement, "Sid": "AllowLaunchFromSharedAMIs"}
            told = (
                f"{problem.message}, or add this statement to the key policy yourself, and set "
                f"spec.kms.mode to Grant: {json.dumps(statement)}"
            )
            return replace(problem, message=told)
        case CreateGrant():
            account = action.key.split(":")[4]
            statement = rules.operator_statement(account, action.key)
            told = (
                f"{problem.message}, and see that the key policy lets the operator's account in: "
                f"{json.dumps(statement)}"
            )
            return replace(problem, message=told)
        case _:
            return problem


def _held(action: AnyAction, why: Problem) -> Problem:
    return Problem(
        why.reason,
        f"not tried: {action.describe()}, since what must come before failed ({why.reason})",
        why.permanent,
        action.region,
    )
