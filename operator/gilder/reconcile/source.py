"""From spec.source to the AMI or instance it stands for now."""

from dataclasses import replace

from gilder.api.goldenimage import InstanceSource
from gilder.api.selection import ImageSource
from gilder.aws import errors, resources
from gilder.aws.sessions import Sessions
from gilder.aws.view import Views
from gilder.core.needs import RegionNeeds, selection
from gilder.core.observed import Observed, Problem
from gilder.core.wanted import Source, Wanted

NOT_FOUND = "SourceNotFound"


def resolve(want: Wanted, seen: Observed, views: Views, since: float) -> Source | Problem:
    """The source, or why there is none. AMIs and parameters come from the shared view.

    For a build it is the parent image, and nothing for a pipeline or a Job.
    """
    region = want.spec.region
    if seen.region(region).problem:
        return Problem("NotObserved", f"Region {region} was not read", False, region)
    source = want.spec.source
    try:
        if source.instance is not None:
            return _instance(source.instance, region, views.sessions)
        selected = selection(want.spec)
        if selected is None:
            return Source()
        field = "spec.source.image"
        if source.image is None:
            field = "spec.source.imageBuilder.recipe.parentImage"
        return _image(selected, field, region, seen, views, since)
    except errors.AWS_ERRORS as error:
        return errors.problem(error, "resolving spec.source", region)


def _image(
    source: ImageSource, path: str, region: str, seen: Observed, views: Views, since: float
) -> Source | Problem:
    view = seen.region(region)
    field = f"{path}.id"
    wanted = source.id
    if source.ssm_parameter is not None:
        field = f"{path}.ssmParameter"
        value = view.parameters.get(source.ssm_parameter, "")
        if isinstance(value, Problem):
            return replace(value, message=f"{field}: {value.message}")
        if not value.startswith("ami-"):
            said = f"holds {value[:40]!r}, not an AMI id" if value else "does not exist"
            return Problem(
                NOT_FOUND,
                f"{field}: parameter {source.ssm_parameter} {said} in {region}. Write an AMI id "
                "into it or correct the name",
                region=region,
            )
        wanted = value
    elif source.newest is not None:
        field = f"{path}.newest"
        wanted = views.newest(region, source.newest, since)
        if wanted is None:
            return Problem(
                NOT_FOUND,
                f"{field}: no available AMI of {', '.join(source.newest.owners)} in {region} "
                "matches. Correct the name pattern, the tags or the owners",
                region=region,
            )
    assert wanted is not None  # the model demands one of the three
    found = view.images.get(wanted)
    if found is None:
        # Read along from now on, by whoever reads the Region.
        more = views.images({region: RegionNeeds(images=frozenset({wanted}))}, since)
        if problem := more.region(region).problem:
            return problem
        found = more.region(region).images.get(wanted)
    if found is None:
        return Problem(
            NOT_FOUND,
            f"{field}: AMI {wanted} does not exist in {region}, or is not shared with account "
            f"{seen.account}. Correct it or share the AMI",
            region=region,
        )
    return Source(image=found)


def _instance(source: InstanceSource, region: str, sessions: Sessions) -> Source | Problem:
    found = resources.instances(sessions.ec2(region), id=source.id, tags=source.tags)
    field = "spec.source.instance." + ("id" if source.id else "tags")
    said = source.id or ", ".join(f"{k}={v}" for k, v in sorted(source.tags.items()))
    if not found:
        return Problem(
            NOT_FOUND,
            f"{field}: no running or stopped instance with {said} in {region}. Correct the field "
            "or start the instance",
            region=region,
        )
    if len(found) > 1:
        ids = ", ".join(sorted(i.id for i in found)[:5])
        return Problem(
            "SourceAmbiguous",
            f"{field}: {len(found)} instances have {said} in {region} ({ids}). Name tags that one "
            "instance has, or its id",
            region=region,
        )
    return Source(instance=found[0])
