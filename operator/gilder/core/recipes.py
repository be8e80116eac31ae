"""From spec.source.imageBuilder to what Image Builder is asked to keep and to build; pure."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from gilder.api.building import BlockDevice, Component, ImageBuilderSource, Infrastructure, Recipe
from gilder.checks import Platform, documents
from gilder.core.actions import BuildOrder, ComponentOrder
from gilder.core.digest import digest

NAME_LIMIT = 76  # of ours; Image Builder takes 128, and components add to it
AMI_NAME_LIMIT = 95  # of 127, since the date is added
_PART = 2**28
_PLATFORMS: dict[str, Platform] = {"Linux": "linux", "Windows": "windows"}


def recipe_name(cluster: str, key: str) -> str:
    """Name of a GoldenImage's recipe and configurations: readable, and unique by its digest.

    Image Builder makes ARNs of names in lower case with dashes.
    https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateImageRecipe.html
    """
    plain = re.sub(r"[^a-z0-9]+", "-", f"{cluster}-{key}".lower()).strip("-")
    return f"{plain[:NAME_LIMIT]}-{digest(cluster, key, length=8)}"


def content_version(*content: object) -> str:
    """A semantic version made from content, so that the same content is the same version.

    Recipes and components are immutable: what changes must get another version.
    """
    number = int(digest(*content, length=14), 16)
    return f"1.{number // _PART}.{number % _PART}"


def order(
    source: ImageBuilderSource,
    cluster: str,
    key: str,
    parent: str,
    region: str,
    kms_key: str | None,
    tags: Mapping[str, str],
    ami_name: str,
    keys: Mapping[str, str],
) -> BuildOrder:
    """What is built of a recipe on `parent`; `kms_key` is the ARN that the AMI is to be born with.

    `tags` are the user's, for the instances. The AMI is called `ami_name` with the date behind it.
    `keys` has the ARNs of the keys that volumes name.
    """
    recipe, infrastructure = source.recipe, source.infrastructure
    assert recipe is not None  # the model demands both where there is no pipeline
    assert infrastructure is not None
    name = recipe_name(cluster, key)
    components = tuple(_component(c, name, recipe.platform) for c in recipe.components)
    devices = tuple(_device(d, keys) for d in recipe.block_devices)
    version = content_version(
        parent,
        [[c.arn, c.name, c.version, c.parameters] for c in components],
        devices,
        recipe.working_directory,
        recipe.user_data,
    )
    return BuildOrder(
        name=name,
        version=version,
        parent=parent,
        platform=recipe.platform,
        components=components,
        devices=devices,
        working_directory=recipe.working_directory or "",
        user_data=recipe.user_data or "",
        infrastructure=_infrastructure(infrastructure, tags),
        distributions=(_distribution(ami_name, region, kms_key),),
        tests=source.tests.enabled,
        tests_minutes=source.tests.timeout_minutes,
    )


def inputs(source: ImageBuilderSource) -> str:
    """Digest of what decides what a build makes; where it runs and how it is tested does not."""
    if source.recipe is None:
        return digest("pipeline", source.pipeline_arn, length=12)
    return digest("recipe", source.recipe.model_dump(mode="json"), length=12)


def follows(recipe: Recipe) -> bool:
    """Whether the parent image is followed, rather than named by its id."""
    return recipe.parent_image.id is None


def _component(component: Component, recipe: str, platform: str) -> ComponentOrder:
    parameters = tuple(sorted(component.parameters.items()))
    if component.arn is not None:
        return ComponentOrder(arn=component.arn, parameters=parameters)
    if component.check is not None:
        name = component.check.lower()
        document = documents.component(component.check, _PLATFORMS[platform])
        text = yaml.safe_dump(document, sort_keys=False, width=1000)
    else:
        name, text = component.name or "", component.document or ""
    return ComponentOrder(
        name=f"{recipe}--{name}",
        version=content_version(platform, text),
        document=text,
        parameters=parameters,
    )


def device_keys(source: ImageBuilderSource | None) -> frozenset[str]:
    """Keys that the volumes of a recipe name, as written."""
    recipe = source.recipe if source is not None else None
    volumes = [d.volume for d in recipe.block_devices] if recipe is not None else []
    return frozenset(v.kms_key_id for v in volumes if v is not None and v.kms_key_id)


def _device(device: BlockDevice, keys: Mapping[str, str]) -> dict[str, Any]:
    if device.volume is None:
        return {"deviceName": device.device, "noDevice": ""}
    v = device.volume
    ebs: dict[str, Any] = {
        "volumeSize": v.size,
        "volumeType": v.type,
        "iops": v.iops,
        "throughput": v.throughput,
        # Image Builder wants the ARN.
        "kmsKeyId": keys.get(v.kms_key_id, v.kms_key_id) if v.kms_key_id else None,
        "encrypted": True if v.kms_key_id else None,
        "deleteOnTermination": v.delete_on_termination,
    }
    return {
        "deviceName": device.device,
        "ebs": {k: value for k, value in ebs.items() if value is not None},
    }


def _infrastructure(given: Infrastructure, tags: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {
        "instanceProfileName": given.instance_profile,
        "instanceTypes": list(given.instance_types),
        "subnetId": given.subnet_id,
        "securityGroupIds": list(given.security_group_ids),
        "keyPair": given.key_pair,
        "terminateInstanceOnFailure": given.terminate_on_failure,
        "snsTopicArn": given.topic_arn,
        "resourceTags": {**tags, **given.tags},
        "instanceMetadataOptions": {"httpTokens": "required"},
    }
    if given.logs is not None:
        out["logging"] = {
            "s3Logs": {"s3BucketName": given.logs.bucket, "s3KeyPrefix": given.logs.prefix}
        }
    return {k: v for k, v in out.items() if v not in (None, [], {})}


def _distribution(name: str, region: str, kms_key: str | None) -> dict[str, Any]:
    """The home Region alone: copies and shares are made by the operator, once gates are passed."""
    # Image Builder takes fewer characters in a name than EC2, and wants the date in it.
    # https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_AmiDistributionConfiguration.html
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:AMI_NAME_LIMIT].strip("-")
    ami: dict[str, Any] = {"name": f"{plain} {{{{ imagebuilder:buildDate }}}}"}
    if kms_key is not None:
        ami["kmsKeyId"] = kms_key
    return {"region": region, "amiDistributionConfiguration": ami}
