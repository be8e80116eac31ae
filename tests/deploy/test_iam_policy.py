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

ROOT = Path(__file__).parents[2]
CLIENTS = ("ec2", "kms", "sqs", "ssm", "sts")
# What a client is called in a module, where that is not its service.
ALIASES = {("builds.py", "client"): "imagebuilder"}


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "deploy/iam_policy.py"))


@pytest.fixture(scope="module")
def allowed(script: dict[str, Any]) -> set[str]:
    return {a for s in statements(script) for a in s["Action"]}


def statements(script: dict[str, Any]) -> list[dict[str, Any]]:
    return [*script["policy"]()["Statement"], *script["builds_policy"]()["Statement"]]


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


def test_what_destroys_is_for_our_own_only(script: dict[str, Any]) -> None:
    ours = [
        f"aws:ResourceTag/{t}" for t in (TAG_CLUSTER, TAG_BUILD, TAG_TEST, "Ec2ImageBuilderArn")
    ]
    for statement in statements(script):
        destroys = script["OWNED_ONLY"] | {"ec2:TerminateInstances"}
        if destroys & set(statement["Action"]):
            (condition,) = statement["Condition"]["Null"].items()
            assert condition in [(tag, "false") for tag in ours]


def test_the_policy_fits_a_managed_policy(script: dict[str, Any]) -> None:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    for text in script["texts"]().values():
        assert len("".join(text.split())) < 6144
