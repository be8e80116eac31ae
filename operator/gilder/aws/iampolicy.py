"""IAM policies, made from what the code says it needs of AWS.

`main` is for one account, without builds and checks of new versions, which `builds` adds. `sharing`
adds other accounts, organizations, key policies and snapshots. `publishing` adds parameters and
launch templates that the released version is published to. `consumer` is for the role in consumer
accounts.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable
from typing import Any, get_args

import gilder.aws
from gilder.api.imageshare import GrantOperation
from gilder.api.names import TAG_BUILD, TAG_CLUSTER, TAG_TEST
from gilder.aws.consumers import OTHER, TYPES
from gilder.aws.permissions import used

# Which policy the calls of a module or function are in; all others are in the first.
PARTS = {
    "builds": "builds",
    "checks": "builds",
    "findings": "builds",
    "keys.policy_text": "sharing",
    "keys.put_policy": "sharing",
    "organizations": "sharing",
    "roles": "sharing",
    "snapshots": "sharing",
    "parameters": "publishing",
    "templates": "publishing",
    "consumers": "consumer",
    "doctor.builds": "builds",
    "doctor.publishing": "publishing",
    "doctor.sharing": "sharing",
}

IMAGES = ["arn:aws:ec2:*::image/*", "arn:aws:ec2:*::snapshot/*"]
INSTANCES = ["arn:aws:ec2:*:*:instance/*"]
# What a launch needs beside the instance; volumes and network interfaces are made by it.
PARTS_OF_LAUNCH = [
    "arn:aws:ec2:*:*:volume/*",
    "arn:aws:ec2:*:*:network-interface/*",
    "arn:aws:ec2:*:*:subnet/*",
    "arn:aws:ec2:*:*:security-group/*",
    *IMAGES,
]
KEYS = ["arn:aws:kms:*:*:key/*"]
PARAMETERS = ["arn:aws:ssm:*:*:parameter/*"]
TEMPLATES = ["arn:aws:ec2:*:*:launch-template/*"]
SNAPSHOTS = ["arn:aws:ec2:*::snapshot/*"]
REPORTS = ["arn:aws:ec2:*:*:image-usage-report/*"]
ROLES = ["arn:aws:iam::*:role/gilder*"]
QUEUES = ["arn:aws:sqs:*:*:gilder*"]

# No call of ours, but AWS makes them for us and looks for them in our policy.
ON_BEHALF: dict[str, tuple[str, ...]] = {
    # https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
    "CopyImage with a key": (
        "kms:Decrypt",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
    ),
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-ami-references.html
    "DescribeImageReferences": (
        "ec2:DescribeInstances",
        "ec2:DescribeLaunchTemplates",
        "ec2:DescribeLaunchTemplateVersions",
        "imagebuilder:GetContainerRecipe",
        "imagebuilder:ListContainerRecipes",
        "imagebuilder:ListImageRecipes",
        "ssm:DescribeParameters",
        "ssm:GetParameters",
    ),
}
# Only on what carries our ownership tag, of whatever cluster. An AMI in the Recycle Bin keeps its
# tags. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
OWNED_ONLY = frozenset(
    {
        "ec2:DeleteSnapshot",
        "ec2:DeleteTags",
        "ec2:DeregisterImage",
        "ec2:DisableImage",
        "ec2:DisableImageDeprecation",
        "ec2:DisableImageDeregistrationProtection",
        "ec2:EnableImage",
        "ec2:EnableImageDeprecation",
        "ec2:EnableImageDeregistrationProtection",
        "ec2:RestoreImageFromRecycleBin",
        "ec2:RestoreSnapshotFromRecycleBin",
    }
)
# Needs both the AMI, which is ours, and the report, which is new.
USAGE_REPORT = "ec2:CreateImageUsageReport"
_READS = ("Describe", "Get", "List")


def actions(part: str | None = None) -> set[str]:
    """Every IAM action that some function of gilder.aws declares, of one policy or of all."""
    for module in pkgutil.iter_modules(gilder.aws.__path__):
        importlib.import_module(f"gilder.aws.{module.name}")
    return {
        action
        for function, needed in used().items()
        for action in needed
        if part in (None, _part(function))
    }


def _part(function: str) -> str:
    _, _, module, name = function.split(".", 3)
    return PARTS.get(f"{module}.{name}") or PARTS.get(module, "main")


def policy() -> dict[str, Any]:
    """The policy document, each action in one statement (CreateGrant and usage reports in two)."""
    ours, behalf = actions("main"), {a for group in ON_BEHALF.values() for a in group}
    read = {a for a in ours | behalf if a.split(":")[1].startswith(_READS)}
    read -= {a for a in read if a.startswith("sqs:")}
    kms = {a for a in ours - behalf - {"kms:CreateGrant"} if a.startswith("kms:")}
    queues = {a for a in ours if a.startswith("sqs:")}
    images = {a for a in ours - read - behalf - OWNED_ONLY - {USAGE_REPORT} if a.startswith("ec2:")}
    owned = {"Null": {f"aws:ResourceTag/{TAG_CLUSTER}": "false"}}
    operations = {"ForAllValues:StringEquals": {"kms:GrantOperations": [*get_args(GrantOperation)]}}
    for_aws = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    through_ec2 = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com"}}
    statements = [
        _statement("Look", read - kms, ["*"]),
        _statement("MakeAndShareImages", images, IMAGES + INSTANCES),
        _statement("ChangeOwnImages", ours & OWNED_ONLY, IMAGES, owned),
        _statement("AskWhoUsesOwnImages", {USAGE_REPORT}, IMAGES[:1], owned),
        _statement("MakeUsageReports", {USAGE_REPORT}, REPORTS),
        _statement("Keys", kms, KEYS),
        _statement("GrantToAccounts", {"kms:CreateGrant"}, KEYS, operations),
        _statement("GrantToEC2", {"kms:CreateGrant"}, KEYS, for_aws),
        _statement("CopyEncrypted", behalf - read, KEYS, through_ec2),
        _statement("EventQueue", queues, QUEUES),
    ]
    return {"Version": "2012-10-17", "Statement": [s for s in statements if s["Action"]]}


def builds_policy() -> dict[str, Any]:
    """What Image Builder, test instances and Inspector need on top of it."""
    ours = actions("builds") - {"ec2:CreateTags"}
    read = {a for a in ours if a.split(":")[1].startswith(_READS)}
    builder = {a for a in ours - read if a.startswith("imagebuilder:")}
    ours_only = {"Null": {f"aws:ResourceTag/{TAG_TEST}": "false"}}
    asked = {"Null": {f"aws:RequestTag/{TAG_TEST}": "false"}}
    launching = {"StringEquals": {"ec2:CreateAction": "RunInstances"}}
    to_ec2 = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    builders = {"StringEquals": {"iam:AWSServiceName": "imagebuilder.amazonaws.com"}}
    left = {"ec2:DeregisterImage", "ec2:DeleteSnapshot"}
    statements = [
        _statement("LookAtBuilds", read, ["*"]),
        _statement("Build", builder, ["arn:aws:imagebuilder:*:*:*"]),
        _statement("BuilderRole", {"iam:CreateServiceLinkedRole"}, ["*"], builders),
        # Narrow it to the roles of your instance profiles.
        _statement("PassInstanceRoles", {"iam:PassRole"}, ["arn:aws:iam::*:role/*"], to_ec2),
        _statement("LaunchTests", {"ec2:RunInstances"}, INSTANCES, asked),
        _statement("LaunchTestsFrom", {"ec2:RunInstances"}, PARTS_OF_LAUNCH),
        _statement("TagTests", {"ec2:CreateTags"}, [*INSTANCES, *PARTS_OF_LAUNCH[:2]], launching),
        _statement("EndTests", {"ec2:TerminateInstances"}, INSTANCES, ours_only),
        _statement("CheckTests", {"ssm:SendCommand"}, INSTANCES, ours_only),
        _statement("CheckWith", {"ssm:SendCommand"}, ["arn:aws:ssm:*:*:document/*"]),
        # AMIs of builds that failed or were cancelled, which never became versions.
        *(
            _statement(f"Clear{n}", left, IMAGES, {"Null": {f"aws:ResourceTag/{tag}": "false"}})
            for n, tag in enumerate(("Ec2ImageBuilderArn", TAG_BUILD), 1)
        ),
    ]
    return {"Version": "2012-10-17", "Statement": [s for s in statements if s["Action"]]}


def sharing_policy() -> dict[str, Any]:
    """What other accounts, organizations, key policies and snapshots need on top of it."""
    ours = actions("sharing")
    by_service = {
        service: {a for a in ours if a.startswith(f"{service}:")}
        for service in ("organizations", "kms", "ec2", "sts")
    }
    statements = [
        _statement("ReadOrganizations", by_service["organizations"], ["*"]),
        _statement("ChangeKeyPolicies", by_service["kms"], KEYS),
        _statement("ShareSnapshots", by_service["ec2"], SNAPSHOTS),
        _statement("AssumeRoles", by_service["sts"], ROLES),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def publishing_policy() -> dict[str, Any]:
    """What publishing to parameters and launch templates needs on top of it."""
    ours = actions("publishing")
    read = {a for a in ours if a.split(":")[1].startswith(_READS)}
    templates = {a for a in ours - read if a.startswith("ec2:")}
    statements = [
        _statement("LookAtPublished", read, ["*"]),
        *_parameters({a for a in ours - read if a.startswith("ssm:")}),
        # Narrow it to the launch templates that follow GoldenImages.
        _statement("LaunchTemplates", templates, TEMPLATES),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _parameters(allowed: set[str]) -> list[dict[str, Any]]:
    """New parameters with our tag, and changes of those that have it. Narrow both to the names
    that may be published to.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html
    """
    new = {"ssm:PutParameter", "ssm:AddTagsToResource"} & allowed
    asked = {"Null": {f"aws:RequestTag/{TAG_CLUSTER}": "false"}}
    ours = {"Null": {f"aws:ResourceTag/{TAG_CLUSTER}": "false"}}
    return [
        _statement("MakeParameters", new, PARAMETERS, asked),
        _statement("ChangeOwnParameters", allowed, PARAMETERS, ours),
    ]


def consumer_policy() -> dict[str, Any]:
    """What the role in a consumer account needs: for tags there, to verify what is shared, and to
    publish parameters."""
    ours = actions("consumer")
    tags = {"ec2:CreateTags", "ec2:DeleteTags"}
    kms = {a for a in ours if a.startswith("kms:")}
    launch = {"ec2:RunInstances"}
    read = {a for a in ours if a.split(":")[1].startswith(_READS)}
    parameters = {a for a in ours - read if a.startswith("ssm:")}
    # IAM cannot tell a dry run from a launch, so only the types of dry runs are allowed.
    types = {"StringEquals": {"ec2:InstanceType": sorted({OTHER, *TYPES.values()})}}
    statements = [
        _statement("Look", ours - tags - kms - launch - parameters, ["*"]),
        _statement("TagSharedImages", ours & tags, IMAGES[:1]),
        _statement("TryLaunch", ours & launch, INSTANCES, types),
        _statement("TryLaunchWith", ours & launch, PARTS_OF_LAUNCH),
        _statement("TryKeys", kms, KEYS),
        *_parameters(parameters),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(
    sid: str, allowed: set[str], resources: list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": sorted(allowed),
        "Resource": resources,
    }
    if condition:
        statement["Condition"] = condition
    return statement


POLICIES: dict[str, Callable[[], dict[str, Any]]] = {
    "main": policy,
    "builds": builds_policy,
    "sharing": sharing_policy,
    "publishing": publishing_policy,
    "consumer": consumer_policy,
}
# What the file with each of them is called.
FILES = {
    "main": "iam-policy.json",
    "builds": "iam-policy-builds.json",
    "sharing": "iam-policy-sharing.json",
    "publishing": "iam-policy-publishing.json",
    "consumer": "iam-consumer-role.json",
}


def text(document: dict[str, Any]) -> str:
    """A policy as its file has it."""
    return json.dumps(document, indent=2) + "\n"
