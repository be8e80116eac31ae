"""The IAM policy is made from the code, and lacks nothing that the code calls."""

import ast
import runpy
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

import gilder.aws

ROOT = Path(__file__).parents[2]
CLIENTS = ("ec2", "kms", "sqs", "ssm", "sts")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "deploy/iam_policy.py"))


@pytest.fixture(scope="module")
def allowed(script: dict[str, Any]) -> set[str]:
    return {a for s in script["policy"]()["Statement"] for a in s["Action"]}


def called() -> set[str]:
    """IAM actions of the calls in gilder.aws, by the names of boto3's methods."""
    session = botocore.session.get_session()
    names: dict[tuple[str, str], str] = {}
    for service in CLIENTS:
        for operation in session.get_service_model(service).operation_names:
            names[service, xform_name(operation)] = f"{service}:{operation}"
    found = set()
    for file in Path(gilder.aws.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if not isinstance(node.func.value, ast.Name) or node.func.value.id not in CLIENTS:
                continue
            method = node.func.attr
            if method == "get_paginator":
                assert isinstance(node.args[0], ast.Constant)
                method = str(node.args[0].value)
            found.add(names[node.func.value.id, method])
    return found


def test_the_file_is_what_the_script_writes(script: dict[str, Any]) -> None:
    assert script["FILE"].read_text() == script["text"](), "run: python deploy/iam_policy.py"


def test_every_call_is_allowed(allowed: set[str], script: dict[str, Any]) -> None:
    calls = called()
    assert len(calls) > 20
    assert calls <= allowed
    assert script["actions"]() <= allowed


def test_nothing_else_is_allowed(allowed: set[str], script: dict[str, Any]) -> None:
    behalf = {a for group in script["ON_BEHALF"].values() for a in group}
    assert allowed == script["actions"]() | behalf
    assert not any("*" in action for action in allowed)


def test_what_destroys_is_for_our_own_only(script: dict[str, Any]) -> None:
    for statement in script["policy"]()["Statement"]:
        destroys = script["OWNED_ONLY"] & set(statement["Action"])
        condition = statement.get("Condition", {}).get("Null", {})
        assert not destroys or condition == {"aws:ResourceTag/goldenimage.dev/cluster": "false"}


def test_the_policy_fits_a_managed_policy(script: dict[str, Any]) -> None:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert len("".join(script["text"]().split())) < 6144
