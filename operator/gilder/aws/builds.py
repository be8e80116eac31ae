"""Builds of EC2 Image Builder: started, looked at, cancelled, and what they are made from.

https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_Operations.html
"""

import base64
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from gilder.api.names import TAG_BUILD, TAG_IMAGE
from gilder.aws import errors, images
from gilder.aws.permissions import needs
from gilder.core.actions import BuildOrder, ComponentOrder, StartBuild
from gilder.core.work import SeenBuild

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_imagebuilder.client import ImagebuilderClient

FILTER_VALUES = 10  # values of one filter, 10 at most
PAGE = 100  # maxResults, 100 at most
STEP = 500  # characters of a failed step
# What Image Builder tags each AMI and snapshot with, whatever became of the build.
TAG_ARN = "Ec2ImageBuilderArn"

_EXISTS = "ResourceAlreadyExistsException"
_REFUSED = frozenset(
    {"InvalidRequestException", "ResourceInUseException", "InvalidParameterValueException"}
)


@needs(
    "imagebuilder:StartImagePipelineExecution",
    "imagebuilder:GetImagePipeline",
    "imagebuilder:TagResource",
    "iam:CreateServiceLinkedRole",
)
def start(client: "ImagebuilderClient", action: StartBuild, account: str) -> str:
    """Start a build; the same build id gives the same build. Its ARN.

    https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_StartImagePipelineExecution.html
    """
    if action.order is not None:
        return _start_order(client, action, action.order, account)
    made = client.start_image_pipeline_execution(
        imagePipelineArn=action.pipeline, clientToken=action.build, tags=dict(action.tags)
    )
    return made["imageBuildVersionArn"]


def _start_order(
    client: "ImagebuilderClient", action: StartBuild, order: BuildOrder, account: str
) -> str:
    _keep_infrastructure(client, order, action.tags, account)
    _keep_distribution(client, order, action.tags, account)
    try:
        return _create_image(client, action, order, account)
    except ClientError as error:
        if not _no_recipe(error):
            raise
    for component in order.components:
        if not component.arn:
            _create_component(client, component, order.platform, action.tags)
    _create_recipe(client, order, action.tags, account)
    return _create_image(client, action, order, account)


@needs(
    "imagebuilder:CreateImage",
    "imagebuilder:GetImageRecipe",
    "imagebuilder:GetInfrastructureConfiguration",
    "imagebuilder:GetDistributionConfiguration",
    "imagebuilder:TagResource",
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
)
def _create_image(
    client: "ImagebuilderClient", action: StartBuild, order: BuildOrder, account: str
) -> str:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateImage.html"""
    made = client.create_image(
        imageRecipeArn=_arn(client, account, "image-recipe", order.name, order.version),
        infrastructureConfigurationArn=_infrastructure_arn(client, account, order.name),
        distributionConfigurationArn=_distribution_arn(client, account, order.name),
        imageTestsConfiguration={
            "imageTestsEnabled": order.tests,
            "timeoutMinutes": order.tests_minutes,
        },
        tags=dict(action.tags),
        clientToken=action.build,
    )
    return made["imageBuildVersionArn"]


@needs(
    "imagebuilder:CreateInfrastructureConfiguration",
    "imagebuilder:UpdateInfrastructureConfiguration",
    "imagebuilder:TagResource",
    "iam:PassRole",
)
def _keep_infrastructure(
    client: "ImagebuilderClient", order: BuildOrder, tags: Mapping[str, str], account: str
) -> None:
    """An update replaces every setting, so that both calls take the same ones.

    https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_UpdateInfrastructureConfiguration.html
    """
    settings: Any = dict(order.infrastructure)
    try:
        client.create_infrastructure_configuration(
            name=order.name, tags=dict(tags), clientToken=_fresh(), **settings
        )
    except ClientError as error:
        if errors.code(error) != _EXISTS:
            raise
        client.update_infrastructure_configuration(
            infrastructureConfigurationArn=_infrastructure_arn(client, account, order.name),
            clientToken=_fresh(),
            **settings,
        )


@needs(
    "imagebuilder:CreateDistributionConfiguration",
    "imagebuilder:UpdateDistributionConfiguration",
    "imagebuilder:TagResource",
)
def _keep_distribution(
    client: "ImagebuilderClient", order: BuildOrder, tags: Mapping[str, str], account: str
) -> None:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_UpdateDistributionConfiguration.html"""
    distributions: Any = [dict(d) for d in order.distributions]
    try:
        client.create_distribution_configuration(
            name=order.name,
            tags=dict(tags),
            distributions=distributions,
            clientToken=_fresh(),
        )
    except ClientError as error:
        if errors.code(error) != _EXISTS:
            raise
        client.update_distribution_configuration(
            distributionConfigurationArn=_distribution_arn(client, account, order.name),
            distributions=distributions,
            clientToken=_fresh(),
        )


@needs("imagebuilder:CreateComponent", "imagebuilder:TagResource")
def _create_component(
    client: "ImagebuilderClient", order: ComponentOrder, platform: str, tags: Mapping[str, str]
) -> None:
    """Versions are made from content, so one that exists is the same.

    https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateComponent.html
    """
    try:
        client.create_component(
            name=order.name,
            semanticVersion=order.version,
            platform=platform,  # type: ignore[arg-type]
            data=order.document,
            tags=dict(tags),
            clientToken=_fresh(),
        )
    except ClientError as error:
        if errors.code(error) != _EXISTS:
            raise


@needs(
    "imagebuilder:CreateImageRecipe",
    "imagebuilder:GetComponent",
    "imagebuilder:GetImage",
    "imagebuilder:TagResource",
    "ec2:DescribeImages",
)
def _create_recipe(
    client: "ImagebuilderClient", order: BuildOrder, tags: Mapping[str, str], account: str
) -> None:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CreateImageRecipe.html"""
    settings: dict[str, Any] = {
        "components": [_component(client, c, account) for c in order.components],
        "blockDeviceMappings": [dict(d) for d in order.devices],
        "workingDirectory": order.working_directory,
    }
    if order.user_data:
        data = base64.b64encode(order.user_data.encode()).decode()
        settings["additionalInstanceConfiguration"] = {"userDataOverride": data}
    try:
        client.create_image_recipe(
            name=order.name,
            semanticVersion=order.version,
            parentImage=order.parent,
            tags=dict(tags),
            clientToken=_fresh(),
            **{k: v for k, v in settings.items() if v},
        )
    except ClientError as error:
        if errors.code(error) != _EXISTS:
            raise


def _component(client: "ImagebuilderClient", order: ComponentOrder, account: str) -> dict[str, Any]:
    # Without a build number, which is another one once the version was deleted and made again.
    arn = order.arn or _arn(client, account, "component", order.name, order.version)
    out: dict[str, Any] = {"componentArn": arn}
    if order.parameters:
        out["parameters"] = [{"name": k, "value": list(v)} for k, v in order.parameters]
    return out


def _arn(client: "ImagebuilderClient", account: str, kind: str, name: str, *more: str) -> str:
    """The ARN that Image Builder makes of a name: in lower case, with dashes."""
    slug = re.sub(r"[ _]", "-", name.lower())
    start = f"arn:{client.meta.partition}:imagebuilder:{client.meta.region_name}:{account}"
    return "/".join([f"{start}:{kind}", slug, *more])


def _infrastructure_arn(client: "ImagebuilderClient", account: str, name: str) -> str:
    return _arn(client, account, "infrastructure-configuration", name)


def _distribution_arn(client: "ImagebuilderClient", account: str, name: str) -> str:
    return _arn(client, account, "distribution-configuration", name)


def _fresh() -> str:
    """A token for one call and its retries.

    What was deleted and is created again must not have the answer of the first time.
    """
    return str(uuid.uuid4())


def _gone(error: ClientError) -> bool:
    """Whether a resource does not exist; some calls tell it as a parameter that is not valid."""
    if errors.code(error) == "ResourceNotFoundException":
        return True
    said = errors.message(error)
    return errors.code(error) in _REFUSED and bool(
        re.search(r"does not exist|cannot be found|not found", said)
    )


def _no_recipe(error: ClientError) -> bool:
    return _gone(error) and bool(re.search(r"image-?recipe", errors.message(error), re.IGNORECASE))


@needs("imagebuilder:ListImageBuildVersions")
def listed(client: "ImagebuilderClient", names: Iterable[str]) -> list[SeenBuild]:
    """All builds of recipes with these names, the newest first.

    https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ListImageBuildVersions.html
    """
    wanted = sorted(set(names))
    found: list[Mapping[str, Any]] = []
    for begin in range(0, len(wanted), FILTER_VALUES):
        pages = client.get_paginator("list_image_build_versions").paginate(
            filters=[{"name": "name", "values": wanted[begin : begin + FILTER_VALUES]}],
            PaginationConfig={"PageSize": PAGE},
        )
        found += [raw for page in pages for raw in page["imageSummaryList"]]
    found.sort(key=lambda raw: str(raw.get("dateCreated", "")), reverse=True)
    return [_seen(raw, client.meta.region_name) for raw in found]


@needs("imagebuilder:GetImage")
def one(client: "ImagebuilderClient", arn: str) -> SeenBuild | None:
    """A build by its ARN; None when it does not exist.

    https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_GetImage.html
    """
    try:
        found = client.get_image(imageBuildVersionArn=arn)["image"]
    except ClientError as error:
        if _gone(error):
            return None
        raise
    return _seen(found, client.meta.region_name)


def _seen(raw: Mapping[str, Any], region: str) -> SeenBuild:
    state = raw.get("state", {})
    build = SeenBuild(
        arn=raw["arn"],
        id=raw.get("tags", {}).get(TAG_BUILD, ""),
        state=state.get("status", "PENDING"),
        reason=state.get("reason", ""),
        log_group=raw.get("loggingConfiguration", {}).get("logGroupName", ""),
    )
    return replace(build, image=_ami(raw, region)) if build.done else build


def _ami(raw: Mapping[str, Any], region: str) -> str:
    """The AMI in the build's own Region and account; distribution may make others."""
    account = raw["arn"].split(":")[4]
    for ami in raw.get("outputResources", {}).get("amis", []):
        if ami.get("region") == region and ami.get("accountId", account) == account:
            return str(ami.get("image", ""))
    return ""


@needs("ec2:DescribeImages")
def explain(client: "ImagebuilderClient", ec2: "EC2Client", build: SeenBuild) -> SeenBuild:
    """A build that failed, with the step that did, and the AMIs that it left behind.

    Image Builder keeps an AMI whose tests or distribution failed.
    """
    try:
        step = _failed_step(client, build.arn)
    except errors.AWS_ERRORS:
        step = ""  # that it failed is known all the same
    left = images.tagged(ec2, TAG_ARN, [build.arn])
    leftovers = tuple(sorted((raw["ImageId"], images.snapshot_ids(raw)) for raw in left))
    return replace(build, step=step, leftovers=leftovers)


@needs("imagebuilder:ListWorkflowExecutions", "imagebuilder:ListWorkflowStepExecutions")
def _failed_step(client: "ImagebuilderClient", arn: str) -> str:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ListWorkflowStepExecutions.html"""
    pages = client.get_paginator("list_workflow_executions").paginate(imageBuildVersionArn=arn)
    runs = [run for page in pages for run in page["workflowExecutions"]]
    for run in (r for r in runs if r.get("status") == "FAILED"):
        steps = client.get_paginator("list_workflow_step_executions").paginate(
            workflowExecutionId=run["workflowExecutionId"]
        )
        for step in (s for page in steps for s in page["steps"]):
            if step.get("status") == "FAILED":
                told = [step.get("name", ""), step.get("message", "")]
                return ": ".join(t for t in told if t)[:STEP]
    return ""


@needs("imagebuilder:CancelImageCreation")
def cancel(client: "ImagebuilderClient", arn: str) -> None:
    """Cancel a build; one that has ended or is gone is no error.

    https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_CancelImageCreation.html
    """
    try:
        client.cancel_image_creation(imageBuildVersionArn=arn, clientToken=_fresh())
    except ClientError as error:
        if _gone(error):
            return
        if errors.code(error) not in _REFUSED:
            raise
        found = one(client, arn)
        if found is not None and not found.done and not found.failed:
            raise


def delete_recipes(client: "ImagebuilderClient", name: str, account: str) -> None:
    """Delete all of ours that a GoldenImage had in Image Builder; what is gone is no error.

    Only what carries our tag: somebody else's may have the same name.
    """
    _delete_recipes(client, name)
    _delete_components(client, f"{name}--")
    _delete_infrastructure(client, _infrastructure_arn(client, account, name))
    _delete_distribution(client, _distribution_arn(client, account, name))


@needs("imagebuilder:ListImageRecipes", "imagebuilder:DeleteImageRecipe")
def _delete_recipes(client: "ImagebuilderClient", name: str) -> None:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ListImageRecipes.html"""
    pages = client.get_paginator("list_image_recipes").paginate(
        owner="Self",
        filters=[{"name": "name", "values": [name]}],
        PaginationConfig={"PageSize": PAGE},
    )
    found = [r for page in pages for r in page["imageRecipeSummaryList"]]
    for arn in [r["arn"] for r in found if TAG_IMAGE in r.get("tags", {})]:
        try:
            client.delete_image_recipe(imageRecipeArn=arn)
        except ClientError as error:
            if not _gone(error):
                raise


@needs(
    "imagebuilder:ListComponents",
    "imagebuilder:ListComponentBuildVersions",
    "imagebuilder:DeleteComponent",
)
def _delete_components(client: "ImagebuilderClient", prefix: str) -> None:
    """https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ListComponents.html"""
    pages = client.get_paginator("list_components").paginate(
        owner="Self", PaginationConfig={"PageSize": PAGE}
    )
    found = [c for page in pages for c in page["componentVersionList"]]
    for version in [c["arn"] for c in found if c.get("name", "").startswith(prefix)]:
        # Only their builds tell their tags.
        numbered = client.get_paginator("list_component_build_versions").paginate(
            componentVersionArn=version
        )
        builds = [c for page in numbered for c in page["componentSummaryList"]]
        for arn in [c["arn"] for c in builds if TAG_IMAGE in c.get("tags", {})]:
            try:
                client.delete_component(componentBuildVersionArn=arn)
            except ClientError as error:
                if not _gone(error):
                    raise


@needs(
    "imagebuilder:GetInfrastructureConfiguration", "imagebuilder:DeleteInfrastructureConfiguration"
)
def _delete_infrastructure(client: "ImagebuilderClient", arn: str) -> None:
    try:
        found = client.get_infrastructure_configuration(infrastructureConfigurationArn=arn)
        if TAG_IMAGE in found["infrastructureConfiguration"].get("tags", {}):
            client.delete_infrastructure_configuration(infrastructureConfigurationArn=arn)
    except ClientError as error:
        if not _gone(error):
            raise


@needs("imagebuilder:GetDistributionConfiguration", "imagebuilder:DeleteDistributionConfiguration")
def _delete_distribution(client: "ImagebuilderClient", arn: str) -> None:
    try:
        found = client.get_distribution_configuration(distributionConfigurationArn=arn)
        if TAG_IMAGE in found["distributionConfiguration"].get("tags", {}):
            client.delete_distribution_configuration(distributionConfigurationArn=arn)
    except ClientError as error:
        if not _gone(error):
            raise
