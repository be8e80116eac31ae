"""Image recipes: immutable, with versions; and what their parent images are."""

from collections.abc import Mapping
from typing import Any

from moto.ssm.models import ssm_backends

from gilder.sandbox.aws.imagebuilder import components, names
from gilder.sandbox.aws.imagebuilder.names import COMPONENT, IMAGE, PIPELINE, RECIPE, dotted
from gilder.sandbox.aws.imagebuilder.service import (
    dry_run,
    filtered,
    idempotent,
    only_own,
    operation,
    paged,
)
from gilder.sandbox.aws.imagebuilder.store import Resource, best, need, new_version, stamp, store
from gilder.sandbox.aws.imagebuilder.store import find as store_find
from gilder.sandbox.aws.model import Image, find_anywhere, visible
from gilder.sandbox.aws.registry import Call

_OPTIONAL = (
    "description",
    "blockDeviceMappings",
    "workingDirectory",
    "additionalInstanceConfiguration",
    "amiTags",
    "amiWatermarks",
)


def parent_image(call: Call, written: str) -> tuple[Image | None, str]:
    """The AMI that a recipe's parentImage means now, or None with the reason."""
    image_id = written
    if written.startswith("ssm:"):
        name = written[len("ssm:") :]
        if name.startswith("arn:"):
            name = name.partition(":parameter")[2]
        backend: Any = ssm_backends[call.account][call.region]
        found = backend.get_parameters([name])
        if not found:
            return None, f"The Systems Manager parameter '{name}' was not found"
        image_id = str(next(iter(found.values())).value)
    elif written.startswith("arn:"):
        available = [b for b in store(call).builds.values() if b.status == "AVAILABLE"]
        build = best(available, names.parse(written, IMAGE, "parentImage"))
        if build is None:
            return None, f"The parent image '{written}' has no available build version"
        image_id = build.image_id
    image = find_anywhere(image_id, call.region)
    if image is None or not visible(image, call.account):
        return None, f"The parent image '{image_id}' does not exist or you do not have access to it"
    if image.state != "available":
        return None, f"The parent image '{image_id}' is not available, its state is {image.state}"
    return image, ""


def recipes_with(call: Call, component: Resource) -> list[str]:
    """The recipes that name a component's version."""
    out = []
    for recipe in store(call).of(RECIPE):
        for entry in recipe.shown.get("components", []):
            wanted = names.parse(entry["componentArn"], COMPONENT, "componentArn")
            if best([component], wanted) is not None and wanted.owner == call.account:
                out.append(recipe.arn)
                break
    return out


def check_components(call: Call) -> list[dict[str, Any]]:
    listed = list(call.get("components", []))
    seen: set[tuple[str, str]] = set()
    for place, entry in enumerate(listed):
        parameter = f"components[{place}].componentArn"
        wanted = names.parse(entry["componentArn"], COMPONENT, parameter)
        if (wanted.owner, wanted.name) in seen:
            raise names.invalid(parameter, "A component may be named only once in a recipe.")
        seen.add((wanted.owner, wanted.name))
        if components.find(call, wanted) is None:
            raise names.not_found(COMPONENT, entry["componentArn"])
    return listed


@operation
@idempotent
def create_image_recipe(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateImageRecipe.html"""
    name, parent = names.check_name(call.need("name")), call.need("parentImage")
    slug = names.slug(name)
    version, arn = new_version(call, RECIPE, slug)
    listed = check_components(call)
    if not parent.startswith(("ami-", "ssm:", "arn:")):
        raise names.invalid("parentImage", f"'{parent}' is no AMI id, parameter or image ARN.")
    if parent.startswith("arn:"):
        names.parse(parent, IMAGE, "parentImage")
    if arn in store(call).resources:
        raise names.exists(RECIPE, arn)
    dry_run(call)
    image, _ = parent_image(call, parent)
    shown = {
        "arn": arn,
        "type": "AMI",
        "name": name,
        "platform": "Windows" if image is not None and image.platform else "Linux",
        "owner": call.account,
        "version": dotted(version),
        "components": listed,
        "parentImage": parent,
        "dateCreated": stamp(),
        **{k: call.params[k] for k in _OPTIONAL if call.params.get(k) is not None},
    }
    tags = dict(call.get("tags", {}))
    store(call).resources[arn] = Resource(arn, RECIPE, slug, shown, version, 0, tags)
    return {
        "imageRecipeArn": arn,
        "latestVersionReferences": names.version_references(names.arn(call, RECIPE, slug), version),
    }


def find(call: Call, text: str, parameter: str = "imageRecipeArn") -> Resource:
    """The recipe of an ARN, whose version may have wildcards."""
    return store_find(call, RECIPE, text, parameter)


@operation
def get_image_recipe(call: Call) -> Mapping[str, Any]:
    found = find(call, call.need("imageRecipeArn"))
    return {
        "imageRecipe": {**found.shown, "tags": found.tags},
        "latestVersionReferences": names.version_references(
            found.arn.rsplit("/", 1)[0], found.version
        ),
    }


@operation
def list_image_recipes(call: Call) -> Mapping[str, Any]:
    found = filtered(
        call,
        store(call).of(RECIPE) if only_own(call) else [],
        {
            "name": lambda r: [r.shown["name"]],
            "parentImage": lambda r: [r.shown["parentImage"]],
            "platform": lambda r: [r.shown["platform"]],
        },
    )
    chosen, rest = paged(call, "ListImageRecipes", found, lambda r: r.arn)
    keys = ("arn", "name", "platform", "owner", "parentImage", "dateCreated")
    listed = [{**{k: r.shown[k] for k in keys}, "tags": r.tags} for r in chosen]
    return {"imageRecipeSummaryList": listed, **rest}


@operation
def delete_image_recipe(call: Call) -> Mapping[str, Any]:
    text = call.need("imageRecipeArn")
    names.parse(text, RECIPE, "imageRecipeArn")
    need(call, RECIPE, text)
    users = [p.arn for p in store(call).of(PIPELINE) if p.shown["imageRecipeArn"] == text]
    if users:
        raise names.in_use(RECIPE, text, users)
    del store(call).resources[text]
    return {"imageRecipeArn": text}
