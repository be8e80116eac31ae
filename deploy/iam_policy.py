"""Writes deploy/iam-policy.json from what the code says it needs of AWS.

python deploy/iam_policy.py [--check]
"""

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any, get_args

import gilder.aws
from gilder.api.imageshare import GrantOperation
from gilder.api.names import TAG_CLUSTER
from gilder.aws.permissions import used

FILE = Path(__file__).with_name("iam-policy.json")

IMAGES = ["arn:aws:ec2:*::image/*", "arn:aws:ec2:*::snapshot/*"]
INSTANCES = ["arn:aws:ec2:*:*:instance/*"]
KEYS = ["arn:aws:kms:*:*:key/*"]
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
# Only on what carries our ownership tag, of whatever cluster.
OWNED_ONLY = frozenset(
    {"ec2:DeleteSnapshot", "ec2:DeleteTags", "ec2:DeregisterImage", "ec2:EnableImage"}
)
_READS = ("Describe", "Get", "List")


def actions() -> set[str]:
    """Every IAM action that some function of gilder.aws declares."""
    for module in pkgutil.iter_modules(gilder.aws.__path__):
        importlib.import_module(f"gilder.aws.{module.name}")
    return {action for needed in used().values() for action in needed}


def policy() -> dict[str, Any]:
    """The policy document, each action in one statement (CreateGrant in two)."""
    ours, behalf = actions(), {a for group in ON_BEHALF.values() for a in group}
    read = {a for a in ours | behalf if a.split(":")[1].startswith(_READS)}
    read -= {a for a in read if a.startswith("sqs:")}
    kms = {a for a in ours - behalf - {"kms:CreateGrant"} if a.startswith("kms:")}
    queues = {a for a in ours if a.startswith("sqs:")}
    images = {a for a in ours - read - behalf - OWNED_ONLY if a.startswith("ec2:")}
    owned = {"Null": {f"aws:ResourceTag/{TAG_CLUSTER}": "false"}}
    operations = {"ForAllValues:StringEquals": {"kms:GrantOperations": [*get_args(GrantOperation)]}}
    for_aws = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    through_ec2 = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com"}}
    statements = [
        _statement("Look", read - kms, ["*"]),
        _statement("MakeAndShareImages", images, IMAGES + INSTANCES),
        _statement("ChangeOwnImages", ours & OWNED_ONLY, IMAGES, owned),
        _statement("Keys", kms, KEYS),
        _statement("GrantToAccounts", {"kms:CreateGrant"}, KEYS, operations),
        _statement("GrantToEC2", {"kms:CreateGrant"}, KEYS, for_aws),
        _statement("CopyEncrypted", behalf - read, KEYS, through_ec2),
        _statement("EventQueue", queues, QUEUES),
    ]
    return {"Version": "2012-10-17", "Statement": [s for s in statements if s["Action"]]}


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


def text() -> str:
    return json.dumps(policy(), indent=2) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == text() else f"{FILE} is not current: run {__file__}")
    FILE.write_text(text())
