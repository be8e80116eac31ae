"""What must be read from AWS before a plan can be made, by Region."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from gilder.api.goldenimage import GoldenImageSpec
from gilder.api.names import TAG_GATES
from gilder.api.selection import ImageSource
from gilder.core.building import UNDER_WAY
from gilder.core.observed import Observed
from gilder.core.promotion import COPIES
from gilder.core.recipes import device_keys, recipe_name
from gilder.core.retention import DEREGISTER
from gilder.core.shares import Place, Share
from gilder.core.slots import ami_name, named
from gilder.core.wanted import Wanted
from gilder.core.work import SeenJob, WorkNeeds, job_of


@dataclass(frozen=True, slots=True)
class RegionNeeds:
    """Of one Region: AMIs beyond those that carry our tag, keys as written, parameter names.

    `builds` are ids of builds whose AMI is found by its tag.
    """

    images: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    builds: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()  # names of parameters that are written
    templates: frozenset[str] = frozenset()  # launch templates as written
    versions: frozenset[str] = frozenset()  # those whose versions of ours are read too

    def __or__(self, other: "RegionNeeds") -> "RegionNeeds":
        return RegionNeeds(
            self.images | other.images,
            self.keys | other.keys,
            self.parameters | other.parameters,
            self.builds | other.builds,
            self.published | other.published,
            self.templates | other.templates,
            self.versions | other.versions,
        )


NOTHING = RegionNeeds()


@dataclass(frozen=True, slots=True)
class AccessNeeds:
    """Launch permissions, grants and policies that a share's plan looks at."""

    places: frozenset[Place] = frozenset()  # AMIs whose launch permissions are read
    keys: frozenset[tuple[str, str]] = frozenset()  # Region, key ARN whose grants are read
    policies: bool = False  # key policies too: an organization or OU is declared
    volumes: frozenset[Place] = frozenset()  # AMIs whose snapshots' permissions are read
    public: frozenset[str] = frozenset()  # Regions whose block public access is read


def regions_of(spec: GoldenImageSpec) -> frozenset[str]:
    """Regions that the AMIs of a GoldenImage may be in."""
    return frozenset({spec.region, *(r.region for r in spec.replicas)})


def of_image(want: Wanted, jobs: Sequence[SeenJob] = ()) -> dict[str, RegionNeeds]:
    """What the plan of one GoldenImage needs."""
    spec = want.spec
    needs: dict[str, RegionNeeds] = dict.fromkeys(regions_of(spec), NOTHING)
    home = _of_build(want, jobs)
    selected = selection(spec)
    if selected is not None:
        if selected.id:
            home |= RegionNeeds(images=frozenset({selected.id}))
        if selected.ssm_parameter:
            home |= RegionNeeds(parameters=frozenset({selected.ssm_parameter}))
    home |= RegionNeeds(keys=device_keys(spec.source.image_builder))
    if spec.encryption is not None:
        home |= RegionNeeds(keys=frozenset({spec.encryption.kms_key_id}))
    needs[spec.region] = home
    for replica in spec.replicas:
        if (key := spec.key_of(replica)) is not None:
            needs[replica.region] |= RegionNeeds(keys=frozenset({key}))
    for region, need in published(want).items():
        needs[region] = needs.get(region, NOTHING) | need
    for (_, region, _), known in want.memory.images.items():
        needs[region] = needs.get(region, NOTHING) | RegionNeeds(images=frozenset({known.image_id}))
    for region in want.memory.regions:  # one that is no replica any more is not lost sight of
        needs.setdefault(region, NOTHING)
    return needs


def missing(want: Wanted, seen: Observed) -> frozenset[str]:
    """Regions in which an AMI is gone that is to be there: it may lie in the Recycle Bin."""
    spec, memory = want.spec, want.memory
    found = set()
    regions = regions_of(spec)
    for (version, region, role), known in memory.images.items():
        wanted = version in (memory.latest, spec.pinned_version)
        wanted = wanted and role in COPIES and region in regions
        view = seen.region(region)
        if wanted and known.seen and not view.problem and known.image_id not in view.images:
            found.add(region)
    home = seen.region(spec.region)
    if spec.pinned_version is not None and not home.problem:
        there = home.belonging(want.cluster, want.key, seen.account)
        if all(i.version != spec.pinned_version or i.role != "home" for i in there):
            found.add(spec.region)
    return frozenset(found)


def restorable(want: Wanted, found: Mapping[str, str]) -> dict[str, str]:
    """Of the AMIs in a Recycle Bin those of this GoldenImage: by status, or else by their name,
    since a Recycle Bin does not tell tags. Those of others are none of its business."""
    known = {k.image_id for k in want.memory.images.values()}
    number = re.escape(named(want)).replace(re.escape("{version}"), "[0-9]+")
    pattern = re.compile(rf"{number}(-r[0-9]+)?")
    pinned = ami_name(want, want.spec.pinned_version or 0)
    return {i: n for i, n in found.items() if i in known or n == pinned or pattern.fullmatch(n)}


def published(want: Wanted) -> dict[str, RegionNeeds]:
    """Where the released version is told, or was; nothing of an image that tells and told none."""
    spec, needs = want.spec, dict[str, RegionNeeds]()
    publish = spec.publish
    if name := want.parameter:
        needs = dict.fromkeys(regions_of(spec), RegionNeeds(published=frozenset({name})))
    for one in publish.launch_templates if publish is not None else ():
        region = one.region or spec.region
        if region in regions_of(spec):
            named = frozenset({one.id or one.name or ""})
            # Old versions of ours would keep the AMIs that are to go.
            going = any(
                r.action == DEREGISTER and r.region == region for r in want.memory.retiring.values()
            )
            need = RegionNeeds(templates=named, versions=named if going else frozenset())
            needs[region] = needs.get(region, NOTHING) | need
    for told in want.memory.published:
        if told.kind == "Parameter" and not told.account:
            need = RegionNeeds(published=frozenset({told.name}))
            needs[told.region] = needs.get(told.region, NOTHING) | need
    return needs


def parameters(want: Wanted) -> frozenset[str]:
    """SSM parameters that a GoldenImage is made from, is published to, or was."""
    selected = selection(want.spec)
    source = {selected.ssm_parameter or ""} if selected is not None else set()
    told = {t.name for t in want.memory.published if t.kind == "Parameter" and not t.account}
    return frozenset({*source, want.parameter, *told} - {""})


def of_unpublishing(want: Wanted) -> dict[str, RegionNeeds]:
    """Launch templates whose old versions go with a GoldenImage that is deleted with its AMIs."""
    if want.spec.deletion_policy != "Delete":
        return {}
    wanted = published(want).items()
    return {r: RegionNeeds(versions=n.templates) for r, n in wanted if n.templates}


def selection(spec: GoldenImageSpec) -> ImageSource | None:
    """The AMI that spec.source names: the source itself, or the parent image of a recipe."""
    if spec.source.image is not None:
        return spec.source.image
    builder = spec.source.image_builder
    return builder.recipe.parent_image if builder is not None and builder.recipe else None


def _of_build(want: Wanted, jobs: Sequence[SeenJob]) -> RegionNeeds:
    """The AMI of the last build until it is a version, and that of a Job that has ended."""
    needs = NOTHING
    last, record = want.memory.last_build, want.memory.build
    if last is not None and last.image_id and last.id not in want.memory.version_by_print:
        needs |= RegionNeeds(images=frozenset({last.image_id}))
    if record is not None and record.kind == "job":
        job = job_of(jobs, record.id)
        running = job is not None and job.state == "running" and not job.deleting
        if not running:
            needs |= RegionNeeds(builds=frozenset({record.id}))
    return needs


def of_work(want: Wanted, seen: Observed) -> WorkNeeds:
    """What must be read of builds and checks in the home Region."""
    memory = want.memory
    names: frozenset[str] = frozenset()
    builds: frozenset[str] = frozenset()
    record = memory.build
    if record is not None and record.kind == "imageBuilder" and record.state in UNDER_WAY:
        ours = recipe_name(want.cluster, want.key)
        if not record.ref or f":image/{ours}/" in record.ref:
            names = frozenset({ours})
        else:
            builds = frozenset({record.ref})  # of a pipeline of somebody else
    gates = want.spec.gates
    ssm = gates is not None and gates.ssm is not None
    checking = any(t.state == "Pending" for t in memory.tested.values())
    scans: frozenset[tuple[str, str]] = frozenset()
    if gates is not None and gates.inspector is not None:
        scans = frozenset(
            (i.id, i.scanned_at)
            for i in seen.region(want.spec.region).belonging(want.cluster, want.key, seen.account)
            if i.scanned_at and i.role == "home" and i.tags.get(TAG_GATES) == "pending"
        )
    return WorkNeeds(names, builds, ssm or checking, ssm and checking, scans)


def of_share(share: Share) -> dict[str, RegionNeeds]:
    """What the plan of one ImageShare needs, beside what its GoldenImages need."""
    needs: dict[str, RegionNeeds] = {}
    here = share.plain_account == share.part
    plain = [(i.region, i.id) for i in share.spec.image_ref.images if here]
    for region, image in [*plain, *share.recorded]:
        needs[region] = needs.get(region, NOTHING) | RegionNeeds(images=frozenset({image}))
    for region, _ in share.recorded_keys | share.recorded_policies:
        needs.setdefault(region, NOTHING)
    return needs


def merge(all_needs: Iterable[Mapping[str, RegionNeeds]]) -> dict[str, RegionNeeds]:
    """The union, Region by Region."""
    names = [f.name for f in fields(RegionNeeds)]
    total: dict[str, dict[str, set[str]]] = {}
    for needs in all_needs:
        for region, need in needs.items():
            sets = total.setdefault(region, {n: set() for n in names})
            for name, found in sets.items():
                found |= getattr(need, name)
    return {
        r: RegionNeeds(**{n: frozenset(found) for n, found in sets.items()})
        for r, sets in total.items()
    }
