"""Images: builds as the API starts, shows, cancels and deletes them."""

from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.imagebuilder import builds, names, recipes
from gilder.sandbox.aws.imagebuilder.names import (
    DISTRIBUTION,
    IMAGE,
    INFRASTRUCTURE,
    PIPELINE,
    RECIPE,
    dotted,
)
from gilder.sandbox.aws.imagebuilder.service import (
    filtered,
    idempotent,
    only_own,
    operation,
    paged,
)
from gilder.sandbox.aws.imagebuilder.store import Build, Resource, best, need, stamp, store
from gilder.sandbox.aws.registry import Call
from gilder.sandbox.aws.settings import CLOCK

_TESTS = {"imageTestsEnabled": True, "timeoutMinutes": 720}
_OPTIONS = (
    "enhancedImageMetadataEnabled",
    "imageTestsConfiguration",
    "imageScanningConfiguration",
    "workflows",
    "executionRole",
    "loggingConfiguration",
)


def _frozen(resource: Resource) -> dict[str, Any]:
    return {**resource.shown, "tags": dict(resource.tags)}


def start(
    call: Call,
    settings: Mapping[str, Any],
    tags: Mapping[str, str],
    pipeline: str | None = None,
) -> Build:
    """Begin a build of what `settings` names; it keeps its own copy of all that."""
    if settings.get("containerRecipeArn"):
        raise AwsError("UnsupportedOperation", "The sandbox builds no container images.")
    if not settings.get("imageRecipeArn"):
        raise names.invalid("imageRecipeArn", "Give exactly one recipe.")
    recipe = recipes.find(call, settings["imageRecipeArn"])
    infrastructure = need(call, INFRASTRUCTURE, settings["infrastructureConfigurationArn"])
    written = settings.get("distributionConfigurationArn")
    distribution = need(call, DISTRIBUTION, written) if written else None
    if settings.get("workflows") and not settings.get("executionRole"):
        raise AwsError(
            "InvalidParameterCombinationException",
            "An execution role is required to provide workflows",
        )
    options = {k: settings[k] for k in _OPTIONS if settings.get(k) is not None}
    options["imageTestsConfiguration"] = {**_TESTS, **options.get("imageTestsConfiguration", {})}
    version_arn = names.arn(call, IMAGE, recipe.slug, dotted(recipe.version))
    number = store(call).number(version_arn)
    build = Build(
        arn=f"{version_arn}/{number}",
        account=call.account,
        region=call.region,
        name=recipe.shown["name"],
        slug=recipe.slug,
        version=recipe.version,
        number=number,
        recipe=_frozen(recipe),
        infrastructure=_frozen(infrastructure),
        distribution=None if distribution is None else _frozen(distribution),
        pipeline=pipeline,
        options=options,
        tags=dict(tags),
        schedule=[],
    )
    builds.plan(build, tests=options["imageTestsConfiguration"]["imageTestsEnabled"])
    store(call).builds[build.arn] = build
    return build


@operation
@idempotent
def create_image(call: Call) -> Mapping[str, Any]:
    build = start(call, call.params, call.get("tags", {}))
    return {
        "imageBuildVersionArn": build.arn,
        "latestVersionReferences": _references(build),
    }


def _references(build: Build) -> dict[str, str]:
    return names.version_references(build.arn.rsplit("/", 2)[0], build.version)


def _summary(build: Build) -> dict[str, Any]:
    return {
        "arn": build.arn,
        "name": build.name,
        "type": "AMI",
        "version": f"{dotted(build.version)}/{build.number}",
        "platform": build.recipe["platform"],
        "state": builds.state_of(build),
        "dateCreated": stamp(build.started),
        "outputResources": {"amis": build.amis if build.status == "AVAILABLE" else []},
        "tags": build.tags,
        "buildType": "USER_INITIATED",
        "imageSource": "CUSTOM",
        "loggingConfiguration": {"logGroupName": build.log_group},
    }


def _shown(build: Build) -> dict[str, Any]:
    out = {
        **_summary(build),
        "enhancedImageMetadataEnabled": build.options.get("enhancedImageMetadataEnabled", True),
        "imageRecipe": build.recipe,
        "infrastructureConfiguration": build.infrastructure,
        "imageTestsConfiguration": build.options["imageTestsConfiguration"],
        "distributionConfiguration": build.distribution,
        "sourcePipelineArn": build.pipeline,
        **{k: build.options.get(k) for k in ("executionRole", "workflows")},
        "imageScanningConfiguration": build.options.get("imageScanningConfiguration"),
    }
    return {k: v for k, v in out.items() if v is not None}


@operation
def get_image(call: Call) -> Mapping[str, Any]:
    """A version, with wildcards or not, means its newest build that is available."""
    text = call.need("imageBuildVersionArn")
    wanted = names.parse(text, IMAGE, "imageBuildVersionArn")
    build = store(call).builds.get(text)
    if build is None and wanted.build is None:
        available = [b for b in store(call).builds.values() if b.status == "AVAILABLE"]
        build = best(available, wanted)
    if build is None:
        raise names.not_found(IMAGE, text)
    return {"image": _shown(build), "latestVersionReferences": _references(build)}


def _matching(call: Call) -> list[Build]:
    return filtered(
        call,
        list(store(call).builds.values()),
        {
            "name": lambda b: [b.name],
            "osVersion": lambda _: [],
            "platform": lambda b: [b.recipe["platform"]],
            "type": lambda _: ["AMI"],
            "version": lambda b: [dotted(b.version), f"{dotted(b.version)}/{b.number}"],
        },
    )


@operation
def list_images(call: Call) -> Mapping[str, Any]:
    """One entry per version, or per name with `byName`."""
    entries: dict[str, Build] = {}
    for build in sorted(_matching(call) if only_own(call) else [], key=lambda b: b.version):
        base = build.arn.rsplit("/", 1)[0]
        entries[f"{base.rsplit('/', 1)[0]}/x.x.x" if call.get("byName") else base] = build
    chosen, rest = paged(call, "ListImages", list(entries.items()), lambda e: e[0])
    keys = ("name", "type", "platform", "dateCreated", "buildType", "imageSource")
    listed = []
    for arn, build in chosen:
        summary = _summary(build)
        entry = {k: summary[k] for k in keys}
        entry |= {"arn": arn, "version": dotted(build.version), "owner": build.account}
        listed.append(entry)
    return {"imageVersionList": listed, **rest}


def _summaries(call: Call, found: list[Build]) -> Mapping[str, Any]:
    """The newest build comes first."""
    newest = sorted(found, key=lambda b: (b.started, b.version, b.number), reverse=True)
    chosen, rest = paged(call, call.action, newest, lambda b: b.arn)
    return {
        "imageSummaryList": [{**_summary(b), "owner": b.account} for b in chosen],
        **rest,
    }


@operation
def list_image_build_versions(call: Call) -> Mapping[str, Any]:
    text = call.get("imageVersionArn")
    found = _matching(call)
    if text is not None:
        wanted = names.parse(text, IMAGE, "imageVersionArn")
        if wanted.version is None or wanted.build is not None or "x" in wanted.version:
            raise names.invalid("imageVersionArn", "It must name one exact version.")
        found = [b for b in found if b.arn.rsplit("/", 1)[0] == text]
    return _summaries(call, found)


@operation
def list_image_pipeline_images(call: Call) -> Mapping[str, Any]:
    """A pipeline that does not exist has none, which is no error."""
    text = call.need("imagePipelineArn")
    names.parse(text, PIPELINE, "imagePipelineArn")
    return _summaries(call, [b for b in _matching(call) if b.pipeline == text])


def _need_build(call: Call) -> Build:
    text = call.need("imageBuildVersionArn")
    wanted = names.parse(text, IMAGE, "imageBuildVersionArn")
    if wanted.build is None:
        raise names.invalid("imageBuildVersionArn", "It must name one build version.")
    build = store(call).builds.get(text)
    if build is None:
        raise names.not_found(IMAGE, text)
    return build


@operation
@idempotent
def cancel_image_creation(call: Call) -> Mapping[str, Any]:
    """The build ends after the answer. An AMI that it already made stays.

    https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CancelImageCreation.html
    """
    build = _need_build(call)
    if build.finished:
        raise AwsError(
            "InvalidRequestException",
            f"Image creation of '{build.arn}' cannot be cancelled in state '{build.status}'.",
        )
    build.cancel_at = CLOCK.time()
    return {"imageBuildVersionArn": build.arn}


@operation
def delete_image(call: Call) -> Mapping[str, Any]:
    """Refused while it builds, and while a recipe names it as its parent. The AMI stays."""
    build = _need_build(call)
    if not build.finished:
        raise names.in_use(IMAGE, build.arn, ["its own build, which is still running"])
    users = []
    for recipe in store(call).of(RECIPE):
        parent = recipe.shown["parentImage"]
        if parent in (build.arn, build.arn.rsplit("/", 1)[0]):
            users.append(recipe.arn)
    if users:
        raise names.in_use(IMAGE, build.arn, users)
    del store(call).builds[build.arn]
    return {"imageBuildVersionArn": build.arn}
