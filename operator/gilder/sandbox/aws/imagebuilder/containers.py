"""Container recipes: stored, for what they refer to. Nothing is built from them."""

from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws.imagebuilder import names
from gilder.sandbox.aws.imagebuilder.names import CONTAINER, dotted
from gilder.sandbox.aws.imagebuilder.recipes import check_components
from gilder.sandbox.aws.imagebuilder.service import (
    dry_run,
    filtered,
    idempotent,
    only_own,
    operation,
    paged,
)
from gilder.sandbox.aws.imagebuilder.store import Resource, find, need, new_version, stamp, store
from gilder.sandbox.aws.registry import Call

_OPTIONAL = ("description", "instanceConfiguration", "kmsKeyId", "workingDirectory")


def image_of(recipe: Resource) -> str | None:
    """The AMI, or the parameter, of the instance that builds the container."""
    image: str | None = recipe.shown.get("instanceConfiguration", {}).get("image")
    return image


@operation
@idempotent
def create_container_recipe(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateContainerRecipe.html"""
    name, parent = names.check_name(call.need("name")), call.need("parentImage")
    slug, target = names.slug(name), call.need("targetRepository")
    version, arn = new_version(call, CONTAINER, slug)
    listed = check_components(call)
    if arn in store(call).resources:
        raise names.exists(CONTAINER, arn)
    dry_run(call)
    shown = {
        "arn": arn,
        "containerType": call.need("containerType"),
        "name": name,
        "platform": call.get("platformOverride", "Linux"),
        "owner": call.account,
        "version": dotted(version),
        "components": listed,
        "parentImage": parent,
        "targetRepository": target,
        "dateCreated": stamp(),
        **{k: call.params[k] for k in _OPTIONAL if call.params.get(k) is not None},
    }
    tags = dict(call.get("tags", {}))
    store(call).resources[arn] = Resource(arn, CONTAINER, slug, shown, version, 0, tags)
    base = names.arn(call, CONTAINER, slug)
    return {
        "containerRecipeArn": arn,
        "latestVersionReferences": names.version_references(base, version),
    }


@operation
def get_container_recipe(call: Call) -> Mapping[str, Any]:
    found = find(call, CONTAINER, call.need("containerRecipeArn"), "containerRecipeArn")
    return {"containerRecipe": {**found.shown, "tags": found.tags}}


@operation
def list_container_recipes(call: Call) -> Mapping[str, Any]:
    found = filtered(
        call,
        store(call).of(CONTAINER) if only_own(call) else [],
        {
            "containerType": lambda r: [r.shown["containerType"]],
            "name": lambda r: [r.shown["name"]],
            "parentImage": lambda r: [r.shown["parentImage"]],
            "platform": lambda r: [r.shown["platform"]],
        },
    )
    chosen, rest = paged(call, "ListContainerRecipes", found, lambda r: r.arn)
    keys = ("arn", "containerType", "name", "platform", "owner", "parentImage", "dateCreated")
    listed = []
    for recipe in chosen:
        entry = {**{k: recipe.shown[k] for k in keys}, "tags": recipe.tags}
        image = image_of(recipe)
        listed.append(entry if image is None else {**entry, "instanceImage": image})
    return {"containerRecipeSummaryList": listed, **rest}


@operation
def delete_container_recipe(call: Call) -> Mapping[str, Any]:
    text = call.need("containerRecipeArn")
    names.parse(text, CONTAINER, "containerRecipeArn")
    need(call, CONTAINER, text)
    del store(call).resources[text]
    return {"containerRecipeArn": text}
