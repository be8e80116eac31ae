"""What refers to an AMI in an account: instances, launch templates, parameters, recipes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from moto.ssm.models import ssm_backends

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.imagebuilder import containers, names
from gilder.sandbox.aws.imagebuilder.store import STORES, Resource
from gilder.sandbox.aws.settings import CLOCK, SETTINGS
from gilder.sandbox.aws.times import epoch

INSTANCE, TEMPLATE, PARAMETER = "ec2:Instance", "ec2:LaunchTemplate", "ssm:Parameter"
RECIPE, CONTAINER = "imagebuilder:ImageRecipe", "imagebuilder:ContainerRecipe"
TYPES = (INSTANCE, TEMPLATE, PARAMETER, RECIPE, CONTAINER)
STATES = ("pending", "running", "shutting-down", "terminated", "stopping", "stopped")
# What may be asked of a resource type; the versions of a template are counted from the newest.
_OPTIONS = {INSTANCE: "state-name", TEMPLATE: "version-depth"}
_DEEPEST = 10_000
Options = Mapping[str, list[str]]


def options_of(entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """The ResourceTypeOptions of a request's entry, checked."""
    out: dict[str, list[str]] = {}
    for option in entry.get("ResourceTypeOptions", []):
        name, values = option.get("OptionName"), list(option.get("OptionValues", []))
        if name != _OPTIONS.get(entry["ResourceType"]):
            raise _invalid(name, "optionName")
        if name == "version-depth" and not (
            len(values) == 1 and values[0].isdigit() and 1 <= int(values[0]) <= _DEEPEST
        ):
            raise _invalid(values, "optionValues")
        if name == "state-name" and not set(values) <= set(STATES):
            raise _invalid(values, "optionValues")
        out[name] = values
    return out


def _invalid(value: object, parameter: str) -> AwsError:
    return AwsError(
        "InvalidParameterValue", f"Value ({value}) for parameter {parameter} is invalid."
    )


def instances(
    account: str, region: str, image_id: str, options: Options, until: float
) -> Iterator[str]:
    """Instances of an AMI that were launched by a time, in these states."""
    backend: Any = ec2_backends[account][region]
    states = options.get("state-name") or STATES
    for instance in list(backend.all_instances()):
        launched = instance.image_id == image_id and epoch(instance.launch_time) <= until
        if launched and instance.state in states and _remembered(instance):
            yield f"arn:aws:ec2:{region}:{account}:instance/{instance.id}"


def _remembered(instance: Any) -> bool:
    """AWS forgets a terminated instance after a while; moto never does."""
    ended = getattr(instance, "terminated_at", 0.0)
    return instance.state != "terminated" or CLOCK.time() < ended + SETTINGS.terminated_seconds


def templates(account: str, region: str, image_id: str, depth: int, until: float) -> Iterator[str]:
    """Launch templates that have the id of an AMI in one of their newest versions."""
    backend: Any = ec2_backends[account][region]
    for template in list(backend.launch_templates.values()):
        versions = [v for v in template.versions if epoch(v.create_time) <= until][-depth:]
        if any(v.data.get("ImageId") == image_id for v in versions):
            yield f"arn:aws:ec2:{region}:{account}:launch-template/{template.id}"


def parameters(account: str, region: str, image_id: str) -> Iterator[str]:
    """Parameters of data type aws:ec2:image whose value is an AMI now."""
    backend: Any = ssm_backends[account][region]
    for name, history in list(backend._parameters.items()):
        latest = history[-1] if history else None
        if latest and latest.data_type == "aws:ec2:image" and latest.value == image_id:
            path = name if name.startswith("/") else f"/{name}"
            yield f"arn:aws:ssm:{region}:{account}:parameter{path}"


def recipes(
    account: str, region: str, image_id: str, kind: str, image_of: Callable[[Resource], str | None]
) -> Iterator[str]:
    """Recipes whose parent image, or whose build instance's, is written as the id of an AMI."""
    if (account, region) in STORES:
        for recipe in STORES[account, region].of(kind):
            if image_of(recipe) == image_id:
                yield recipe.arn


def references(
    account: str,
    region: str,
    image_id: str,
    kind: str,
    options: Options,
    *,
    depth: int,
    until: float | None = None,
) -> list[str]:
    """ARNs of the resources of a type; `depth` is that of templates unless options say it."""
    at = CLOCK.time() + 1 if until is None else until
    if kind == INSTANCE:
        return list(instances(account, region, image_id, options, at))
    if kind == TEMPLATE:
        depth = int((options.get("version-depth") or [str(depth)])[0])
        return list(templates(account, region, image_id, depth, at))
    if kind == PARAMETER:
        return list(parameters(account, region, image_id))
    if kind == RECIPE:
        return list(
            recipes(account, region, image_id, names.RECIPE, lambda r: r.shown["parentImage"])
        )
    return list(recipes(account, region, image_id, names.CONTAINER, containers.image_of))
