"""The plan of publishing: where the released version of a GoldenImage is told; pure.

It adds to the plan of the image. What is published is `ImagePlan.served`, by Region: a Region in
which nothing is served yet keeps what it tells.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

from gilder.api.goldenimage import Published
from gilder.core.actions import (
    DeleteParameter,
    PutParameter,
    ReleaseParameter,
)
from gilder.core.mapping import plan_map, plan_map_end
from gilder.core.needs import regions_of
from gilder.core.observed import Image, Observed, Problem, RegionView, Use
from gilder.core.plan import Draft, Plan, freeze, sooner
from gilder.core.published import UNKNOWN, Maps, Parameter, Template
from gilder.core.retention import DEREGISTER, NO_USES
from gilder.core.slots import POLL
from gilder.core.templates import freed, mark, plan_templates, prune
from gilder.core.times import passed
from gilder.core.versions import ImagePlan
from gilder.core.wanted import Wanted

# AWS answers PutParameter before it has looked at the AMI, and drops a value that it does not like.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-ec2-aliases.html
TAKEN = 60.0  # seconds that it may take until a value shows
UNSEEN = "written, and not seen yet"  # message of what was written just now
AGAIN = "written again, and not seen yet"

EMPTY = Plan()

Place = tuple[str, str, str, str]  # kind, account, Region, name


@dataclass(frozen=True, slots=True)
class Publishing:
    """The part of a plan that publishes. `seen` is what was found as it should be; `gone` is what
    status remembers and is not there any more, or not ours."""

    plan: Plan = EMPTY
    seen: tuple[Published, ...] = ()
    gone: frozenset[Place] = frozenset()
    abroad: tuple[Published, ...] = ()  # in consumer accounts, as it is now


NOTHING = Publishing()


@dataclass(frozen=True, slots=True)
class PublishPlan(ImagePlan):
    """An ImagePlan with the publishing in it."""

    publishing: Publishing = NOTHING


def plan_publish(
    want: Wanted,
    image: ImagePlan,
    seen: Observed,
    now: datetime,
    maps: Maps = UNKNOWN,
    uses: Mapping[str, Use] = NO_USES,
) -> PublishPlan:
    """The plan of an image with what tells its released version; `uses` as in `plan_image`.

    Nothing is planned for a GoldenImage that publishes nothing and has published nothing.
    """
    draft = Draft()
    told = [t for t in want.memory.published if not t.account]
    if want.spec.publish is None and not told and not maps.mine:
        return _joined(image, NOTHING)
    found: list[Published] = []
    gone = _parameters(want, image, seen, now, draft, found)
    going = _going(image, seen, now, uses)
    gone |= plan_templates(want, image.served, seen, going, draft, found)
    gone |= plan_map(want, image, maps, image.plan.actions, draft, found)
    return _joined(image, Publishing(freeze(draft), tuple(found), frozenset(gone)))


def with_abroad(
    image: ImagePlan, told: tuple[Published, ...], problems: Iterable[Problem]
) -> ImagePlan:
    """A plan with what was found in consumer accounts. What is in the way there is told by the
    condition Published alone: the image is no worse for it."""
    if not isinstance(image, PublishPlan):
        return image
    part = image.publishing
    mine = tuple(dict.fromkeys((*part.plan.problems, *problems)))
    return replace(
        image, publishing=replace(part, plan=replace(part.plan, problems=mine), abroad=told)
    )


def _joined(image: ImagePlan, part: Publishing) -> PublishPlan:
    whole = Plan(
        (*image.plan.actions, *part.plan.actions),
        tuple(dict.fromkeys((*image.plan.problems, *part.plan.problems))),
        (*image.plan.waiting, *part.plan.waiting),
        sooner(image.plan.retry_after, part.plan.retry_after),
    )
    values = {f.name: getattr(image, f.name) for f in fields(ImagePlan)}
    return PublishPlan(**{**values, "plan": whole}, publishing=part)


def _parameters(
    want: Wanted,
    image: ImagePlan,
    seen: Observed,
    now: datetime,
    draft: Draft,
    found: list[Published],
) -> set[Place]:
    """Parameters of the image's own account; those that status has and that are gone."""
    name = want.parameter
    ready = set()
    for region, ami in sorted(image.served.items()) if name else ():
        if _parameter(want, name, region, ami, image.version, seen, now, draft, found):
            ready.add(region)
    gone: set[Place] = set()
    wanted = regions_of(want.spec) if name else frozenset[str]()
    for region, view in sorted(seen.regions.items()):
        if view.problem is not None:
            if region in wanted:
                draft.note(view.problem)  # it is not known what is told there
            continue
        for old in sorted(_ours_in(want, seen, region)):
            if old == name and region in wanted:
                continue
            there = view.published.get(old)
            mine = isinstance(there, Parameter) and there.owner == want.key
            if isinstance(there, Problem):
                draft.note(there)
            elif mine or (there is None and old in view.tagged.get(want.key, ())):
                if region in ready or region not in wanted:
                    draft.do(
                        DeleteParameter(
                            region=region, name=old, owner=want.key, cluster=want.cluster
                        )
                    )
            else:
                gone.add(("Parameter", "", region, old))
    return gone


def _ours_in(want: Wanted, seen: Observed, region: str) -> set[str]:
    """Names of parameters in a Region that we wrote, by their tags or by status."""
    told = {
        t.name
        for t in want.memory.published
        if t.kind == "Parameter" and not t.account and t.region == region
    }
    return told | set(seen.region(region).tagged.get(want.key, ()))


def _parameter(
    want: Wanted,
    name: str,
    region: str,
    ami: Image,
    version: int,
    seen: Observed,
    now: datetime,
    draft: Draft,
    found: list[Published],
) -> bool:
    """Whether the parameter of one Region has the AMI of it; otherwise what makes it so."""
    there = seen.region(region).published.get(name)
    if isinstance(there, Problem):
        draft.note(there)
        return False
    if there is not None and there.owner != want.key:
        draft.note(not_ours(name, region, there.owner, want.key, want.cluster))
        return False
    if there is not None and there.other:
        draft.note(of_other_type(name, region, there.other))
        return False
    number = ami.version or version
    if there is not None and there.value == ami.id:
        found.append(
            Published(kind="Parameter", name=name, region=region, image_id=ami.id, version=number)
        )
        return True
    told = want.memory.told(("Parameter", "", region, name))
    same = told is not None and told.image_id == ami.id
    if same and told is not None and told.message:
        waits = passed(told.at, now) < TAKEN
        if told.message == AGAIN or not waits:
            draft.note(not_taken(name, region, ami.id))
        if waits:
            draft.wait(f"parameter {name} in {region} to show {ami.id}", POLL)
            return False
    draft.do(
        PutParameter(
            region=region,
            name=name,
            image=ami.id,
            version=number,
            owner=want.key,
            cluster=want.cluster,
            exists=there is not None,
            heals=same and told is not None and not told.message,
        )
    )
    return False


def _where(region: str, account: str) -> str:
    return f"{region} of account {account}" if account else region


def not_ours(
    name: str, region: str, owner: str, key: str, cluster: str, account: str = ""
) -> Problem:
    """A parameter that stands in the way of GoldenImage `key`, and how to go on."""
    where = _where(region, account)
    whose = f"belongs to GoldenImage {owner}" if owner else "was not written by this operator"
    return Problem(
        "ParameterNotOurs",
        f"spec.publish.ssmParameter.name: parameter {name} in {where} {whose} and stays as it is. "
        "Choose another name, delete the parameter, or hand it over with the tags "
        f"goldenimage.dev/cluster={cluster} and goldenimage.dev/image={key}",
        region=region,
    )


def not_taken(name: str, region: str, image: str, account: str = "") -> Problem:
    """AWS said yes to a value, and does not show it."""
    where = _where(region, account)
    return Problem(
        "ParameterNotTaken",
        f"spec.publish.ssmParameter: {name} in {where} was set to {image} and does not show it. "
        "It is written again",
        permanent=False,
        region=region,
    )


def of_other_type(name: str, region: str, other: str, account: str = "") -> Problem:
    """A parameter of ours that cannot hold an AMI, since AWS changes neither of its types."""
    where = _where(region, account)
    return Problem(
        "ParameterOfAnotherType",
        f"spec.publish.ssmParameter.name: parameter {name} in {where} is a {other}, where a "
        "String of data type aws:ec2:image is needed, and AWS cannot change that. Delete the "
        "parameter; it is made anew",
        region=region,
    )


def refused(problem: Problem) -> Problem:
    """What AWS said when a parameter was to be written, with the field that it came from."""
    if problem.reason != "AWSError":
        return problem
    if ": ParameterAlreadyExists: " in problem.message:
        return replace(problem, permanent=False)  # somebody was faster; seen in the next look
    told = f"spec.publish.ssmParameter: {problem.message}. Correct it; a parameter that is there "
    told += "and is no String of data type aws:ec2:image must be deleted first"
    return Problem("ParameterRefused", told, True, problem.region)


def _going(
    image: ImagePlan, seen: Observed, now: datetime, uses: Mapping[str, Use]
) -> frozenset[str]:
    """AMIs that are due to go, and that only old versions of our launch templates keep."""
    due = [
        r for r in image.retirement.retiring if r.action == DEREGISTER and passed(r.at, now) >= 0
    ]
    templates = {r.region: seen.region(r.region).templates.values() for r in due}
    return frozenset(r.id for r in due if freed(uses.get(r.id), templates[r.region]))


def plan_unpublish(
    want: Wanted, seen: Observed, maps: Maps = UNKNOWN, uses: Mapping[str, Use] = NO_USES
) -> Plan:
    """What spec.deletionPolicy asks of what was published, before any AMI goes.

    Retain leaves everything. Orphan takes our tags off the parameters. Delete deletes them, and
    versions of launch templates that we made and that alone use their AMI; a default version stays,
    and keeps its AMI. With Delete a ConfigMap goes with the GoldenImage, which owns it; otherwise
    the owner is taken off.
    """
    draft = Draft()
    policy = want.spec.deletion_policy
    plan_map_end(want, maps, draft)
    if policy == "Retain":
        return freeze(draft)
    for region, view in sorted(seen.regions.items()):
        if view.problem is not None:
            continue
        for name in sorted(_ours_in(want, seen, region)):
            there = view.published.get(name)
            if isinstance(there, Problem):
                draft.note(there)
                continue
            if there is None and name not in view.tagged.get(want.key, ()):
                continue
            if there is not None and there.owner != want.key:
                continue
            kind = DeleteParameter if policy == "Delete" else ReleaseParameter
            draft.do(kind(region=region, name=name, owner=want.key, cluster=want.cluster))
        if policy == "Delete":
            _prune_all(want, region, view, uses, draft)
    return freeze(draft)


def _prune_all(
    want: Wanted, region: str, view: RegionView, uses: Mapping[str, Use], draft: Draft
) -> None:
    templates = view.templates.values()

    def useless(image: str) -> bool:
        return image not in view.images or freed(uses.get(image), templates)

    for template in {t.id: t for t in templates if isinstance(t, Template)}.values():
        prune(template, mark(want.cluster, want.key), region, useless, draft)
