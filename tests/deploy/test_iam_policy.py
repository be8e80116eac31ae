"""The IAM policy is made from the code, and lacks nothing that the code calls."""

import ast
import runpy
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

import gilder.aws
from gilder.api.names import TAG_BUILD, TAG_CLUSTER, TAG_TEST
from gilder.aws import iampolicy
from gilder.aws.iampolicy import POLICIES

ROOT = Path(__file__).parents[2]
CLIENTS = ("autoscaling", "ec2", "kms", "sqs", "ssm", "sts")
# What a client is called in a module, where that is not its service.
ALIASES = {
    ("builds.py", "client"): "imagebuilder",
    ("organizations.py", "client"): "organizations",
    ("doctor.py", "client"): "imagebuilder",
    ("doctor.py", "organizations"): "organizations",
}


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """What the script and the command print."""
    return {**vars(iampolicy), **runpy.run_path(str(ROOT / "deploy/iam_policy.py"))}


@pytest.fixture(scope="module")
def allowed(script: dict[str, Any]) -> set[str]:
    return {a for s in statements(script) for a in s["Action"]}


def statements(script: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for part in POLICIES for s in of(script, part)]


def of(script: dict[str, Any], part: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = script["POLICIES"][part]()["Statement"]
    return found


def called() -> set[str]:
    """IAM actions of the calls in gilder.aws, by the names of boto3's methods."""
    session = botocore.session.get_session()
    names: dict[tuple[str, str], str] = {}
    for service in (*CLIENTS, *ALIASES.values()):
        for operation in session.get_service_model(service).operation_names:
            names[service, xform_name(operation)] = f"{service}:{operation}"
    found = set()
    for file in Path(gilder.aws.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if not isinstance(node.func.value, ast.Name):
                continue
            name = node.func.value.id
            service = ALIASES.get((file.name, name), name)
            if service not in (*CLIENTS, *ALIASES.values()) or name == "exceptions":
                continue
            method = node.func.attr
            if method == "get_paginator":
                assert isinstance(node.args[0], ast.Constant)
                method = str(node.args[0].value)
            found.add(names[service, method])
    return found


def test_the_file_is_what_the_script_writes(script: dict[str, Any]) -> None:
    for file, text in script["texts"]().items():
        assert file.read_text() == text, "run: python deploy/iam_policy.py"


def test_every_call_is_allowed(allowed: set[str], script: dict[str, Any]) -> None:
    calls = called()
    assert len(calls) > 20
    assert calls <= allowed
    assert script["actions"]() <= allowed


def test_nothing_else_is_allowed(allowed: set[str], script: dict[str, Any]) -> None:
    behalf = {a for group in script["ON_BEHALF"].values() for a in group}
    assert allowed == script["actions"]() | behalf
    assert not any("*" in action for action in allowed)


@pytest.mark.parametrize("part", POLICIES)
def test_each_policy_has_what_its_calls_need(script: dict[str, Any], part: str) -> None:
    there = {a for s in of(script, part) for a in s["Action"]}
    assert script["actions"](part) - {"ec2:CreateTags"} <= there
    assert all(s["Action"] for s in of(script, part))


def test_roles_are_assumed_by_their_name_only(script: dict[str, Any]) -> None:
    found = [s for s in statements(script) if "sts:AssumeRole" in s["Action"]]
    assert [s["Resource"] for s in found] == [["arn:aws:iam::*:role/gilder*"]]
    assert found[0] in of(script, "sharing")


def test_key_policies_are_changed_by_the_sharing_policy_only(script: dict[str, Any]) -> None:
    parts = [p for p in POLICIES for s in of(script, p) if "kms:PutKeyPolicy" in s["Action"]]
    assert parts == ["sharing"]


def test_a_consumer_role_changes_tags_of_images_and_launches_small_types(
    script: dict[str, Any],
) -> None:
    by_sid = {s["Sid"]: s for s in of(script, "consumer")}
    assert by_sid["TagSharedImages"]["Resource"] == ["arn:aws:ec2:*::image/*"]
    types = by_sid["TryLaunch"]["Condition"]["StringEquals"]["ec2:InstanceType"]
    assert "t3.nano" in types
    changes = {a for s in by_sid.values() for a in s["Action"]} - {
        "ec2:DescribeImages",
        "kms:DescribeKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "ssm:GetParameters",
        "ssm:ListTagsForResource",
    }
    parameters = {
        "ssm:AddTagsToResource",
        "ssm:DeleteParameter",
        "ssm:PutParameter",
        "ssm:RemoveTagsFromResource",
    }
    assert changes == {"ec2:CreateTags", "ec2:DeleteTags", "ec2:RunInstances", *parameters}


@pytest.mark.parametrize("part", ["publishing", "consumer"])
def test_parameters_are_written_with_our_tag_alone(script: dict[str, Any], part: str) -> None:
    by_sid = {s["Sid"]: s for s in of(script, part)}
    new, ours = by_sid["MakeParameters"], by_sid["ChangeOwnParameters"]
    assert new["Action"] == ["ssm:AddTagsToResource", "ssm:PutParameter"]
    assert new["Condition"] == {"Null": {f"aws:RequestTag/{TAG_CLUSTER}": "false"}}
    assert ours["Condition"] == {"Null": {f"aws:ResourceTag/{TAG_CLUSTER}": "false"}}
    writers = [s["Sid"] for s in by_sid.values() if "ssm:PutParameter" in s["Action"]]
    assert writers == ["MakeParameters", "ChangeOwnParameters"]


def test_what_destroys_is_for_our_own_only(script: dict[str, Any]) -> None:
    ours = [
        f"aws:ResourceTag/{t}" for t in (TAG_CLUSTER, TAG_BUILD, TAG_TEST, "Ec2ImageBuilderArn")
    ]
    for statement in [*of(script, "main"), *of(script, "builds"), *of(script, "sharing")]:
        destroys = script["OWNED_ONLY"] | {"ec2:TerminateInstances"}
        if destroys & set(statement["Action"]):
            (condition,) = statement["Condition"]["Null"].items()
            assert condition in [(tag, "false") for tag in ours]


def test_nothing_happens_to_images_of_others_in_their_lifecycle(script: dict[str, Any]) -> None:
    """Of the calls of the first policy that change an AMI, all but these need our tag on it."""
    others = {"ec2:CopyImage", "ec2:CreateImage", "ec2:CreateTags", "ec2:ModifyImageAttribute"}
    by_sid = {s["Sid"]: s for s in of(script, "main")}
    assert set(by_sid["MakeAndShareImages"]["Action"]) == others
    assert set(by_sid["ChangeOwnImages"]["Action"]) == {
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
    assert script["OWNED_ONLY"] <= script["actions"]()


def test_usage_is_asked_of_our_own_images_alone(script: dict[str, Any]) -> None:
    found = [s for s in of(script, "main") if "ec2:CreateImageUsageReport" in s["Action"]]
    ours = {"Null": {f"aws:ResourceTag/{TAG_CLUSTER}": "false"}}
    by_resource = {tuple(s["Resource"]): s.get("Condition") for s in found}
    assert by_resource == {
        ("arn:aws:ec2:*::image/*",): ours,
        ("arn:aws:ec2:*:*:image-usage-report/*",): None,
    }
    assert all(s["Action"] == ["ec2:CreateImageUsageReport"] for s in found)


def test_the_first_policy_looks_wherever_a_use_may_hide(script: dict[str, Any]) -> None:
    (look,) = [s for s in of(script, "main") if s["Sid"] == "Look"]
    assert {
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeLaunchConfigurations",
        "ec2:DescribeImageReferences",
        "ec2:DescribeImageUsageReportEntries",
        "ec2:DescribeImageUsageReports",
        "ec2:DescribeInstances",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DescribeLaunchTemplates",
        "ec2:ListImagesInRecycleBin",
        "imagebuilder:GetContainerRecipe",
        "imagebuilder:ListContainerRecipes",
        "imagebuilder:ListImageRecipes",
        "ssm:DescribeParameters",
        "ssm:GetParameters",
    } <= set(look["Action"])
    assert "Condition" not in look


def test_the_policy_fits_a_managed_policy(script: dict[str, Any]) -> None:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    for text in script["texts"]().values():
        assert len("".join(text.split())) < 6144
