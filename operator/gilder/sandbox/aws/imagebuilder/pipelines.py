"""Image pipelines: what to build, and its builds on demand."""

from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.imagebuilder import images, names, recipes
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

_KEYS = (
    "description",
    "imageRecipeArn",
    "infrastructureConfigurationArn",
    "distributionConfigurationArn",
    "schedule",
    "imageScanningConfiguration",
    "workflows",
    "executionRole",
    "loggingConfiguration",
    "imageTags",
)


def _settings(call: Call) -> dict[str, Any]:
    """The settings of a request; what it omits has its default."""
    if call.get("containerRecipeArn"):
        raise AwsError("UnsupportedOperation", "The sandbox builds no container images.")
    recipe = recipes.find(call, call.need("imageRecipeArn"))
    need(call, INFRASTRUCTURE, call.need("infrastructureConfigurationArn"))
    if call.get("distributionConfigurationArn"):
        need(call, DISTRIBUTION, call.get("distributionConfigurationArn"))
    if call.get("workflows") and not call.get("executionRole"):
        raise AwsError(
            "InvalidParameterCombinationException",
            "An execution role is required to provide workflows",
        )
    return {
        **{k: call.params[k] for k in _KEYS if call.params.get(k) is not None},
        "platform": recipe.shown["platform"],
        "enhancedImageMetadataEnabled": call.get("enhancedImageMetadataEnabled", True),
        "imageTestsConfiguration": {
            "imageTestsEnabled": True,
            "timeoutMinutes": 720,
            **call.get("imageTestsConfiguration", {}),
        },
        "status": call.get("status", "ENABLED"),
    }


@operation
@idempotent
def create_image_pipeline(call: Call) -> Mapping[str, Any]:
    name = names.check_name(call.need("name"))
    slug = names.slug(name)
    arn = names.arn(call, PIPELINE, slug)
    content = _settings(call)
    if arn in store(call).resources:
        raise names.exists(PIPELINE, arn)
    dry_run(call)
    shown = {"arn": arn, "name": name, "dateCreated": stamp(), **content}
    tags = dict(call.get("tags", {}))
    store(call).resources[arn] = Resource(arn, PIPELINE, slug, shown, tags=tags)
    return {"imagePipelineArn": arn}


def _need(call: Call) -> Resource:
    text = call.need("imagePipelineArn")
    names.parse(text, PIPELINE, "imagePipelineArn")
    return need(call, PIPELINE, text)


def _shown(call: Call, pipeline: Resource) -> dict[str, Any]:
    """With its last run, and how often in a row it failed."""
    out = {**pipeline.shown, "tags": pipeline.tags, "consecutiveFailures": 0}
    runs = [b for b in store(call).builds.values() if b.pipeline == pipeline.arn]
    if runs:
        out |= {"dateLastRun": stamp(runs[-1].started), "lastRunStatus": runs[-1].status}
    for run in reversed([b for b in runs if b.finished]):
        if run.status != "FAILED":
            break
        out["consecutiveFailures"] += 1
    return out


@operation
def get_image_pipeline(call: Call) -> Mapping[str, Any]:
    return {"imagePipeline": _shown(call, _need(call))}


@operation
@idempotent
def update_image_pipeline(call: Call) -> Mapping[str, Any]:
    """The request replaces every setting."""
    found = _need(call)
    kept = {k: found.shown[k] for k in ("arn", "name", "dateCreated")}
    found.shown = {**kept, **_settings(call), "dateUpdated": stamp()}
    return {"imagePipelineArn": found.arn}


@operation
def list_image_pipelines(call: Call) -> Mapping[str, Any]:
    keys = (
        "description", "distributionConfigurationArn", "imageRecipeArn",
        "infrastructureConfigurationArn", "name", "status",
    )  # fmt: skip

    def getter(key: str) -> Any:
        return lambda p: [p.shown.get(key)]

    found = filtered(call, store(call).of(PIPELINE), {k: getter(k) for k in keys})
    chosen, rest = paged(call, "ListImagePipelines", found, lambda p: p.arn)
    return {"imagePipelineList": [_shown(call, p) for p in chosen], **rest}


@operation
def delete_image_pipeline(call: Call) -> Mapping[str, Any]:
    """Its images stay, and a build that runs goes on."""
    found = _need(call)
    del store(call).resources[found.arn]
    return {"imagePipelineArn": found.arn}


@operation
@idempotent
def start_image_pipeline_execution(call: Call) -> Mapping[str, Any]:
    """Possible whether the pipeline is enabled or not."""
    pipeline = _need(call)
    settings = dict(pipeline.shown)
    group = (settings.pop("loggingConfiguration", None) or {}).get("imageLogGroupName")
    if group is not None:
        settings["loggingConfiguration"] = {"logGroupName": group}
    tags = {**settings.get("imageTags", {}), **call.get("tags", {})}
    build = images.start(call, settings, tags, pipeline.arn)
    return {"imageBuildVersionArn": build.arn}
