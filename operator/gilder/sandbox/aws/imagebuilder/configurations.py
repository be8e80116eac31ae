"""Infrastructure and distribution configurations: updates replace them entirely."""

from collections.abc import Callable, Mapping
from typing import Any

from moto.iam.models import iam_backends

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.imagebuilder import names
from gilder.sandbox.aws.imagebuilder.names import DISTRIBUTION, INFRASTRUCTURE, PIPELINE
from gilder.sandbox.aws.imagebuilder.service import (
    dry_run,
    filtered,
    idempotent,
    operation,
    paged,
)
from gilder.sandbox.aws.imagebuilder.store import Resource, need, stamp, store
from gilder.sandbox.aws.registry import Call
from gilder.sandbox.aws.settings import SETTINGS

_INFRASTRUCTURE_KEYS = (
    "description",
    "instanceTypes",
    "instanceProfileName",
    "securityGroupIds",
    "subnetId",
    "logging",
    "keyPair",
    "snsTopicArn",
    "resourceTags",
    "instanceMetadataOptions",
    "placement",
)
_RESERVED_TAGS = frozenset({"CreatedBy", "Ec2ImageBuilderArn", "Name", "Tags"})


def _infrastructure(call: Call) -> dict[str, Any]:
    """The settings of a request; what it omits has its default."""
    profile = call.need("instanceProfileName")
    backend: Any = iam_backends[call.account]["aws"]
    known = {p.name for p in backend.get_instance_profiles()}
    if SETTINGS.check_instance_profile and profile not in known:
        raise names.invalid(
            "instanceProfileName",
            "The provided instance profile does not exist. Please specify a different instance "
            "profile and try again.",
        )
    if call.get("subnetId") and not call.get("securityGroupIds"):
        raise names.invalid("subnetId", "A subnet needs security groups in securityGroupIds.")
    for key in call.get("resourceTags", {}):
        if key.startswith("aws:") or key in _RESERVED_TAGS:
            raise names.invalid("resourceTags", f"The tag key '{key}' is reserved.")
    return {
        **{k: call.params[k] for k in _INFRASTRUCTURE_KEYS if call.params.get(k) is not None},
        "terminateInstanceOnFailure": call.get("terminateInstanceOnFailure", True),
        "terminateInstanceOnCompletion": call.get("terminateInstanceOnCompletion", True),
    }


def _distribution(call: Call) -> dict[str, Any]:
    distributions = call.need("distributions")
    seen: set[str] = set()
    for place, entry in enumerate(distributions):
        parameter = f"distributions[{place}]"
        if entry["region"] in seen:
            raise names.invalid(parameter, "Each Region may be named only once.")
        seen.add(entry["region"])
        if set(entry) == {"region"}:
            raise names.invalid(
                parameter,
                "One or more outputs should be provided for each region in a distribution "
                "configuration.",
            )
        name = (entry.get("amiDistributionConfiguration") or {}).get("name")
        if name is not None and "imagebuilder:buildDate" not in name:
            raise names.invalid(
                f"{parameter}.amiDistributionConfiguration.name",
                "The name must include {{ imagebuilder:buildDate }}.",
            )
    out: dict[str, Any] = {"distributions": distributions, "timeoutMinutes": 720}
    if call.get("description") is not None:
        out["description"] = call.get("description")
    return out


def _create(
    call: Call, kind: str, settings: Callable[[Call], dict[str, Any]], output: str
) -> Mapping[str, Any]:
    name = names.check_name(call.need("name"))
    slug = names.slug(name)
    arn = names.arn(call, kind, slug)
    content = settings(call)
    if arn in store(call).resources:
        raise names.exists(kind, arn)
    dry_run(call)
    shown = {"arn": arn, "name": name, "dateCreated": stamp(), **content}
    tags = dict(call.get("tags", {}))
    store(call).resources[arn] = Resource(arn, kind, slug, shown, tags=tags)
    return {output: arn}


def _update(
    call: Call, kind: str, settings: Callable[[Call], dict[str, Any]], output: str
) -> Mapping[str, Any]:
    names.parse(call.need(output), kind, output)
    found = need(call, kind, call.need(output))
    kept = {k: found.shown[k] for k in ("arn", "name", "dateCreated")}
    found.shown = {**kept, **settings(call), "dateUpdated": stamp()}
    return {output: found.arn}


def _delete(call: Call, kind: str, output: str) -> Mapping[str, Any]:
    names.parse(call.need(output), kind, output)
    found = need(call, kind, call.need(output))
    users = [p.arn for p in store(call).of(PIPELINE) if p.shown.get(output) == found.arn]
    if users:
        raise names.in_use(kind, found.arn, users)
    del store(call).resources[found.arn]
    return {output: found.arn}


def _get(call: Call, kind: str, parameter: str) -> dict[str, Any]:
    names.parse(call.need(parameter), kind, parameter)
    found = need(call, kind, call.need(parameter))
    return {**found.shown, "tags": found.tags}


def _list(call: Call, kind: str) -> tuple[list[Resource], dict[str, Any]]:
    found = filtered(call, store(call).of(kind), {"name": lambda r: [r.shown["name"]]})
    return paged(call, call.action, found, lambda r: r.arn)


@operation
@idempotent
def create_infrastructure_configuration(call: Call) -> Mapping[str, Any]:
    return _create(call, INFRASTRUCTURE, _infrastructure, "infrastructureConfigurationArn")


@operation
def get_infrastructure_configuration(call: Call) -> Mapping[str, Any]:
    shown = _get(call, INFRASTRUCTURE, "infrastructureConfigurationArn")
    return {"infrastructureConfiguration": shown}


@operation
@idempotent
def update_infrastructure_configuration(call: Call) -> Mapping[str, Any]:
    return _update(call, INFRASTRUCTURE, _infrastructure, "infrastructureConfigurationArn")


@operation
def list_infrastructure_configurations(call: Call) -> Mapping[str, Any]:
    chosen, rest = _list(call, INFRASTRUCTURE)
    keys = (
        "arn", "name", "description", "dateCreated", "dateUpdated", "resourceTags",
        "instanceTypes", "instanceProfileName", "placement",
    )  # fmt: skip
    listed = [{**{k: v for k, v in r.shown.items() if k in keys}, "tags": r.tags} for r in chosen]
    return {"infrastructureConfigurationSummaryList": listed, **rest}


@operation
def delete_infrastructure_configuration(call: Call) -> Mapping[str, Any]:
    return _delete(call, INFRASTRUCTURE, "infrastructureConfigurationArn")


@operation
@idempotent
def create_distribution_configuration(call: Call) -> Mapping[str, Any]:
    return _create(call, DISTRIBUTION, _distribution, "distributionConfigurationArn")


@operation
def get_distribution_configuration(call: Call) -> Mapping[str, Any]:
    shown = _get(call, DISTRIBUTION, "distributionConfigurationArn")
    return {"distributionConfiguration": shown}


@operation
@idempotent
def update_distribution_configuration(call: Call) -> Mapping[str, Any]:
    return _update(call, DISTRIBUTION, _distribution, "distributionConfigurationArn")


@operation
def list_distribution_configurations(call: Call) -> Mapping[str, Any]:
    chosen, rest = _list(call, DISTRIBUTION)
    keys = ("arn", "name", "description", "dateCreated", "dateUpdated")
    listed = [
        {
            **{k: v for k, v in r.shown.items() if k in keys},
            "regions": [d["region"] for d in r.shown["distributions"]],
            "tags": r.tags,
        }
        for r in chosen
    ]
    return {"distributionConfigurationSummaryList": listed, **rest}


@operation
def delete_distribution_configuration(call: Call) -> Mapping[str, Any]:
    return _delete(call, DISTRIBUTION, "distributionConfigurationArn")


@operation
def tag_resource(call: Call) -> Mapping[str, Any]:
    _tags(call).update(call.need("tags"))
    return {}


@operation
def untag_resource(call: Call) -> Mapping[str, Any]:
    tags = _tags(call)
    for key in call.get("tagKeys", []):
        tags.pop(key, None)
    return {}


@operation
def list_tags_for_resource(call: Call) -> Mapping[str, Any]:
    return {"tags": dict(_tags(call))}


def _tags(call: Call) -> dict[str, str]:
    """The tags of a resource or an image."""
    arn = call.need("resourceArn")
    found = store(call).resources.get(arn) or store(call).builds.get(arn)
    if found is None:
        raise AwsError("ResourceNotFoundException", f"The resource '{arn}' cannot be found.")
    return found.tags
