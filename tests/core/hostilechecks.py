"""What must hold whatever a stranger hands to the operator; each check says what became of it."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hostilevalues import BUILD, INSTANCE_ID, SCHEMAS, TEMPLATE_ID, Body
from planworld import (
    CLUSTER,
    DR,
    DR_KEY,
    FOREIGN,
    GOLDEN,
    HOME,
    HOME_KEY,
    NOW,
    OTHER_KEY,
    OWNER,
    A,
    B,
    accounts,
    ami,
    gilded,
    grant,
    image,
    key,
    ours,
    view,
    world,
)

from gilder.api import GoldenImage, ImageShare, SpecError, parse_object
from gilder.api.names import TAG_CLUSTER, TAG_IMAGE, TAG_PREFIX, TAG_VERSION
from gilder.checks import CHECKS, platforms, script
from gilder.core import needs
from gilder.core.actions import (
    AnyAction,
    CancelBuild,
    CopyImage,
    CreateGrant,
    CreateImage,
    CreateJob,
    DeleteConfigMap,
    DeleteJob,
    DeleteParameter,
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
    PutConfigMap,
    PutKeyPolicy,
    PutParameter,
    ReleaseConfigMap,
    ReleaseParameter,
    RevokeGrant,
    RunCheck,
    StartBuild,
    TagResources,
    UntagResources,
)
from gilder.core.declared import declare
from gilder.core.deletion import plan_deletion
from gilder.core.explain import Seen, explain
from gilder.core.explain import Target as Asked
from gilder.core.grants import grant_prefix
from gilder.core.observed import Instance, Observed, Principals, Problem, Snapshot, Use
from gilder.core.published import Maps, Parameter, SeenMap, Template, TemplateVersion
from gilder.core.publishing import plan_publish, plan_unpublish
from gilder.core.question import Question
from gilder.core.report_image import report_deletion, report_image
from gilder.core.report_share import claims, report_share
from gilder.core.results import Event
from gilder.core.statements import sid
from gilder.core.times import rfc3339
from gilder.core.tree import tree
from gilder.core.versions import plan_image, plan_work_end
from gilder.core.wanted import Source, Wanted, wanted
from gilder.core.work import SeenBuild, SeenJob, SeenTest, Work
from gilder.handlers.controller import _trigger
from gilder.handlers.store import Store
from gilder.reconcile.engine import plan_scope
from gilder.reconcile.inventory import Inventory
from gilder.sandbox.kubernetes.rules import evaluate
from gilder.sandbox.kubernetes.schema import default, prune
from gilder.sandbox.kubernetes.validation import validate

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html
AMI_NAME = re.compile(r"[a-zA-Z0-9()\[\] ./'@_-]{3,128}")
# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
PARAMETER_NAME = re.compile(r"[a-zA-Z0-9_./-]{1,1011}")
RECIPE_NAME = re.compile(r"[-_A-Za-z0-9][-_A-Za-z0-9 ]{1,126}[-_A-Za-z0-9]")
LABEL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
FIELD = re.compile(r"(spec|metadata|kind|apiVersion)\b")
MOST_MESSAGE = 20_000  # characters of a refusal

STRANGER = image(9, tags={"Name": "of nobody"})
MANGLED = {TAG_IMAGE: GOLDEN, TAG_CLUSTER: CLUSTER, TAG_VERSION: "9" * 200}
SCRIPTS = [script(name, where) for name in CHECKS for where in platforms(name)]
BUILT_BY_US = f"arn:aws:imagebuilder:{HOME}:{OWNER}:image/base/1.0.0/1"
AWS_SCRIPTS = ("AWS-RunShellScript", "AWS-RunPowerShellScript")
TEST = SeenTest("i-0000000a", ami(4), GOLDEN, "running", online=True, launched=rfc3339(NOW))
BUILDS = (SeenBuild(BUILT_BY_US, BUILD["id"], "BUILDING"),)
OTHERS = frozenset({GOLDEN, "team/other", "other/theirs"})  # GoldenImages there are


def populated() -> Observed:
    """AMIs, snapshots, parameters and keys of ours, of others, of strangers, and mangled ones."""
    home = [
        image(1, tags={"team": "base"}),
        ours(2, version=2, key=HOME_KEY),
        ours(4, version=1, fingerprint="f0", tags={"old": "1"}),
        ours(5, version=3, fingerprint="f5", state="failed"),
        image(6, tags=MANGLED),
        ours(7, golden="team/other"),
        ours(8, cluster="test"),
        STRANGER,
        ours(10, owner=FOREIGN),
        image(11, owner=FOREIGN, key=OTHER_KEY),
        ours(12, golden="other/theirs", version=1, fingerprint="ff"),
    ]
    snapshots = {
        "snap-000000f1": Snapshot("snap-000000f1", {TAG_IMAGE: GOLDEN, TAG_CLUSTER: CLUSTER}),
        "snap-000000f2": Snapshot("snap-000000f2", {TAG_IMAGE: "team/other"}),
        **{s: Snapshot(s, i.tags) for i in home for s in i.snapshots if i.owner == OWNER},
    }
    template = Template(
        id=TEMPLATE_ID, name="web", default=TemplateVersion(1, ami(2), ""), named=frozenset()
    )
    return world(
        view(
            HOME,
            home,
            snapshots=snapshots,
            keys=[key(HOME_KEY), key(OTHER_KEY)],
            written={"alias/golden": key(HOME_KEY)},
            permissions={ami(2): accounts(A), ami(9): accounts(B), ami(7): accounts(B)},
            grants={HOME_KEY: [grant(A), grant(B, name="theirs")]},
            published={
                "/golden/base": Parameter("/golden/base", ami(4), GOLDEN),
                "/stranger": Parameter("/stranger", ami(9)),
                "base": Parameter("base", ami(9), "team/other"),
            },
            tagged={GOLDEN: ("/golden/base", "/golden/old")},
            templates={TEMPLATE_ID: template, "web": template},
        ),
        view(DR, [ours(3, DR, version=2, role="replica", key=DR_KEY)], keys=[key(DR_KEY)]),
    )


POPULATED = populated()
EMPTY = world()
UNREADABLE = Observed(OWNER, {})
WORLDS = (EMPTY, POPULATED, UNREADABLE)
SOURCES = (
    Source(image=POPULATED.region(HOME).images[ami(1)]),
    Source(image=POPULATED.region(HOME).images[ami(11)]),
    Source(image=POPULATED.region(HOME).images[ami(7)]),
    Problem("SourceNotFound", "spec.source: there is none"),
)
MAP = SeenMap(
    namespace="team", name="former", uid="m", resource_version="1", data={}, labels={}, digest="",
    owner="u-1",
)  # fmt: skip
MAPS = Maps(known=True, mine=(MAP,))
JOBS = (SeenJob("base-0123456789", BUILD["id"], "u-1"),)
GOLDEN_BODY: Body = {
    "apiVersion": "goldenimage.dev/v1alpha1",
    "kind": "GoldenImage",
    "metadata": {"name": "base", "namespace": "team", "labels": {"os": "linux"}},
    "spec": {
        "region": HOME,
        "source": {"image": {"id": ami(1)}},
        "replicas": [{"region": DR}],
        "allowedNamespaces": ["friend"],
    },
    "status": {
        "latest": {"version": 2, "imageId": ami(2)},
        "versions": [
            {
                "version": 2,
                "images": [{"region": HOME, "imageId": ami(2)}, {"region": DR, "imageId": ami(3)}],
            }
        ],
    },
}


# Specs


def refusals(body: Body) -> tuple[Body, list[str]]:
    """The object as an API server stores it, and what it refuses; nothing where it is taken."""
    schema = SCHEMAS[body["kind"]]
    stored = default(prune(body, schema)[0], schema)
    causes = validate(stored, schema)
    if not causes:
        causes = evaluate(stored, None, schema, "")
    return stored, [c.field for c in causes]


def check_object(body: Body) -> str:
    """Validated, parsed, planned and told; `refused` by the schema and the models, by either one
    of them alone (`refused by schema`, `refused by models`), or `planned`."""
    stored, causes = refusals(body)
    read(body)  # as `gilder plan` has it, from a file
    store = Store(CLUSTER, indexed=True, accounts=[A])
    store.put(stored)
    store.needs()
    if not causes:
        _trigger(stored)
    found = read(stored)
    if isinstance(found, SpecError):
        return "refused" if causes else "refused by models"
    plan(found)
    return "refused by schema" if causes else "planned"


def read(body: Body) -> GoldenImage | ImageShare | SpecError:
    """What the models make of it; a refusal names its field, on one line of some length."""
    try:
        return parse_object(body)
    except SpecError as error:
        text = str(error)
        assert FIELD.match(text), f"the field is not named: {text[:200]}"
        assert not CONTROL.search(text), f"control characters in {text[:200]!r}"
        assert len(text) <= MOST_MESSAGE, f"{len(text)} characters of refusal"
        return error


def plan(found: GoldenImage | ImageShare) -> int:
    """All plans of an object in all worlds, judged; how many actions there were."""
    if isinstance(found, GoldenImage):
        return sum(plan_golden(found, seen) for seen in WORLDS)
    return sum(plan_one_share(found, seen) for seen in WORLDS)


def plan_golden(found: GoldenImage, seen: Observed) -> int:
    want = replace(wanted(CLUSTER, found), others=OTHERS)
    needs.merge([needs.of_image(want, JOBS)])
    needs.of_work(want, seen)
    work = Work(builds=BUILDS, jobs=JOBS, tests=(TEST, replace(TEST, id="i-0000000b", owner="x/y")))
    count = 0
    sources: list[Source | Problem] = list(SOURCES)
    if found.spec.source.instance is not None:
        sources = [Source(instance=Instance(INSTANCE_ID, "running", "ebs")), SOURCES[-1]]
    uses = {ami(n): Use() for n in range(1, 13)}
    for source in sources:
        made = plan_image(want, source, seen, NOW, work, uses)
        whole = plan_publish(want, made, seen, NOW, MAPS, uses)
        again = plan_publish(want, plan_image(want, source, seen, NOW, work, uses), seen, NOW, MAPS,
                             uses)  # fmt: skip
        assert whole.plan == again.plan, "a plan is a function of what is seen"
        adopted = source.id if isinstance(source, Source) else ""
        judge(whole.plan.actions, want, seen, adopted)
        judge_status(found, *report_image(found, want, whole, seen, (), rfc3339(NOW)))
        count += len(whole.plan.actions)
    ended = plan_work_end(want, seen, work, NOW, discard=True)
    judge(ended.plan.actions, want, seen, "")
    leaving = plan_deletion(want, seen, uses, NOW)
    judge(leaving.actions, want, seen, "")
    judge_status(found, *report_deletion(found, leaving, ("team/x",), (), rfc3339(NOW)))
    judge(plan_unpublish(want, seen, MAPS, uses).actions, want, seen, "")
    tree(found, [], NOW).as_dict()
    return count


def once(actions: tuple[AnyAction, ...]) -> None:
    """No two actions are the same, and each can be shown."""
    told = [repr(a) for a in actions]
    assert len(set(told)) == len(told), f"an action is there twice: {told}"
    for action in actions:
        assert action.describe()
        json.dumps(action.as_dict(), default=str)


def judge(actions: tuple[AnyAction, ...], want: Wanted, seen: Observed, adopted: str) -> None:
    """Nothing is touched that is not owned, and what is made has names that AWS takes."""
    once(actions)
    owned = {i.id for i in seen.owned(want.cluster, want.key)}
    for action in actions:
        here = seen.region(action.region)
        parts = {s for i in owned if i in here.images for s in here.images[i].snapshots}
        parts |= {s.id for s in here.parts(want.cluster, want.key)}
        if isinstance(action, DeregisterImage):
            of_build = action.image not in here.images
            assert action.image in owned or of_build, f"{action} is not ours"
            assert set(action.snapshots) <= parts or of_build
        elif isinstance(action, DisableImage | EnableImage | DeprecateImage | ProtectImage):
            assert action.image in owned, f"{action} is not ours"
        elif isinstance(action, DeleteSnapshot):
            assert action.snapshot in parts, f"{action} is not ours"
        elif isinstance(action, UntagResources):
            assert set(action.resources) <= owned | parts, f"{action} is not ours"
            kept = want.spec.deletion_policy != "Orphan"
            assert not (kept and any(k.startswith(TAG_PREFIX) for k in action.keys)), action
        elif isinstance(action, TagResources):
            judge_tags(action, want, seen, owned, adopted)
        elif isinstance(action, PutParameter | DeleteParameter | ReleaseParameter):
            judge_parameter(action, want, seen)
        elif isinstance(action, CancelBuild):
            assert action.arn == BUILT_BY_US
        elif isinstance(action, DeleteJob):
            assert (action.namespace, action.name) == (want.namespace, JOBS[0].name)
        elif isinstance(action, PutConfigMap):
            judge_object(action.manifest, want)
        elif isinstance(action, DeleteConfigMap | ReleaseConfigMap):
            assert action.name == MAP.name
        elif isinstance(action, CopyImage | CreateImage):
            assert AMI_NAME.fullmatch(action.name), f"no name of an AMI: {action.name!r}"
            assert action.name not in {i.name for i in here.images.values()}
            assert action.tags[TAG_IMAGE] == want.key
            assert want.memory.highest > 2**31 or int(action.tags[TAG_VERSION]) < 2**31
            judge_tag_values(action.tags)
        elif isinstance(action, CreateJob):
            judge_object(action.manifest, want)
            assert LABEL_NAME.fullmatch(action.manifest["metadata"]["name"])
        elif isinstance(action, RunCheck):
            assert action.instance == TEST.id
            if action.document in AWS_SCRIPTS and not action.check.startswith("document"):
                lines = action.parameters["commands"]
                assert lines in SCRIPTS, "a check of ours has lines that are not of its script"
        elif isinstance(action, EndTest):
            assert action.instance == TEST.id
        elif isinstance(action, LaunchTest):
            judge_tag_values(action.tags)
            assert action.image in owned
        elif isinstance(action, StartBuild):
            judge_tag_values(action.tags)
            assert action.tags[TAG_IMAGE] == want.key
            assert action.order is None or RECIPE_NAME.fullmatch(action.order.name)


def judge_tags(
    action: TagResources, want: Wanted, seen: Observed, owned: set[str], adopted: str
) -> None:
    """Tags are put on AMIs of ours, on the source, and on what status says was ours."""
    here = seen.region(action.region)
    judge_tag_values(action.tags)
    known = {k.image_id for k in want.memory.images.values()}
    for resource in action.resources:
        if resource not in here.images:
            continue
        there = here.images[resource]
        assert there.owner == OWNER, f"{resource} is of another account"
        assert resource in owned | known | {adopted}, f"{resource} is not ours"
        if resource not in owned:
            other = there.tags.get(TAG_IMAGE, want.key), there.tags.get(TAG_CLUSTER, want.cluster)
            assert other == (want.key, want.cluster), f"{resource} is taken from {other}"


def judge_tag_values(tags: Mapping[str, str]) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions"""
    for name, value in tags.items():
        assert 1 <= len(name) <= 128, f"the tag key {name!r}"
        assert len(value) <= 256, f"the value of tag {name}: {value!r}"
        assert not name.startswith("aws:")
    assert len(tags) <= 50


def judge_parameter(
    action: PutParameter | DeleteParameter | ReleaseParameter, want: Wanted, seen: Observed
) -> None:
    here = seen.region(action.region)
    there = here.published.get(action.name)
    owner = there.owner if isinstance(there, Parameter) else want.key
    assert owner == want.key, f"{action} is not ours"
    assert action.owner == want.key
    if isinstance(action, PutParameter):
        assert PARAMETER_NAME.fullmatch(action.name), action.name
        levels = action.name.strip("/").split("/")
        assert len(levels) <= 15, f"{len(levels)} levels"
        assert "" not in levels, action.name
        assert not levels[0].lower().startswith(("aws", "ssm")), action.name
    elif there is None:
        assert action.name in here.tagged.get(want.key, ()), f"{action} is not known to be ours"


def judge_object(manifest: Mapping[str, Any], want: Wanted) -> None:
    """A Job or ConfigMap is made beside its GoldenImage, as its own."""
    meta = manifest["metadata"]
    assert meta["namespace"] == want.namespace
    assert (meta["ownerReferences"][0]["name"], meta["ownerReferences"][0]["uid"]) == (
        want.name,
        want.uid,
    )
    assert all(LABEL_VALUE.fullmatch(v) for v in meta["labels"].values()), meta["labels"]
    json.dumps(manifest)


def judge_status(found: GoldenImage | ImageShare, status: Any, events: Any) -> None:
    """An API server takes the status, and no message breaks a line or paints a terminal."""
    told = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    schema = SCHEMAS[found.kind]["properties"]["status"]
    causes = validate(prune({"v": told}, {"type": "object", "properties": {"v": schema}})[0]["v"],
                      schema)  # fmt: skip
    # What was forged before and is kept is not for us to judge.
    forged = validate(
        found.status.model_dump(mode="json", by_alias=True, exclude_none=True), schema
    )
    assert forged or not causes, f"the status is refused: {[str(c) for c in causes[:3]]}"
    kept = {c.message for c in found.status.conditions}
    for condition in status.conditions:
        if condition.message not in kept:
            judge_text(condition.message)
    for line in set(status.plan) - set(found.status.plan):
        judge_text(line)
    judge_events(events)


def judge_events(events: tuple[Event, ...] | list[Event]) -> None:
    for event in events:
        judge_text(event.message)
        judge_text(event.reason)


def judge_text(text: str) -> None:
    assert not CONTROL.search(text), f"control characters in {text[:300]!r}"


# Shares


def plan_one_share(found: ImageShare, seen: Observed) -> int:
    inventory = Inventory(CLUSTER)
    golden = parse_object(GOLDEN_BODY)
    assert isinstance(golden, GoldenImage)
    inventory.put_image(golden)
    inventory.put_share(found)
    scope = inventory.share_scope(found.metadata.key)
    inventory.needs()
    mine = declare(scope.mine, {"configMap ids/accounts": (A,), "ssmParameter /ids in x": ()}, NOW)
    scope = replace(scope, mine=mine)
    made = plan_scope(scope.part(""), seen, CLUSTER)
    once(made.plan.actions)
    selected = {t.place for t in made.resolution.targets}
    admitted = gilded(allowed_namespaces=("friend",)).admits(mine.namespace)
    for action in made.plan.actions:
        here = seen.region(action.region)
        if isinstance(action, ModifyLaunchPermission | ModifySnapshotPermission):
            place = (action.region, action.image)
            there = here.images.get(action.image)
            assert there is None or there.owner == OWNER, "an AMI of another account"
            assert place in selected | mine.recorded.keys(), f"{action.image} is not of this share"
            if there is not None and there.belongs_to(CLUSTER, GOLDEN):
                assert admitted or not action.add, "shared from a namespace that is not let in"
            if there is not None and place not in selected:
                assert not action.add
            declared = mine.principals
            assert not action.add - declared, "given to who is not declared"
            judge_removal(
                action, mine.spec.mode, mine.recorded.get(place, Principals()), place in selected
            )
        elif isinstance(action, RevokeGrant):
            names = {g.id: g.name for g in here.grants.get(action.key, ())}
            assert names[action.grant].startswith(grant_prefix(CLUSTER)), "a grant of others"
        elif isinstance(action, CreateGrant):
            assert action.key.split(":")[4] == OWNER
        elif isinstance(action, PutKeyPolicy):
            assert action.sid == sid(CLUSTER)
            assert all(name.startswith("o-") for name in action.add)
    judge_status(found, *report_share(found, mine, made, (), NOW))
    claims(found, mine, made)
    tree(golden, [found], NOW).as_dict()
    for target in sorted(selected)[:3]:
        there = seen.region(target[0]).images[target[1]]
        asked = Question(account=A)
        explain(Asked(*target), Seen(OWNER, there, accounts(A)), asked, NOW)
    return len(made.plan.actions)


def judge_removal(
    action: ModifyLaunchPermission | ModifySnapshotPermission,
    mode: str,
    recorded: Principals,
    selected: bool,
) -> None:
    """Only what status says we gave goes, but where the share is the authority over its AMI."""
    if not (selected and mode == "Authoritative"):
        assert not action.remove - recorded, "somebody goes whom we never let in"
