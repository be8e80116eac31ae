"""The documents of deploy/checks are current, and AWS takes them."""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml

from gilder.checks import CHECKS, platforms, script
from gilder.checks.documents import component, ssm_document
from gilder.sandbox.aws.server import SandboxAws, start_aws

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/checks"
COMPONENTS = [(name, platform) for name in CHECKS for platform in platforms(name)]


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "deploy/checks.py"))


@pytest.fixture(scope="module")
def aws() -> Iterator[SandboxAws]:
    with start_aws() as running:
        yield running


def file_of(name: str, platform: str) -> Path:
    suffix = "" if platform == "linux" else f"-{platform}"
    return FOLDER / f"components/{name}{suffix}.yaml"


def largest_component() -> int:
    """How much inline data CreateComponent takes, by botocore's model of it."""
    model = botocore.session.get_session().get_service_model("imagebuilder")
    return int(model.shape_for("InlineComponentData").metadata["max"])


def test_the_files_are_what_the_generator_writes(generator: dict[str, Any]) -> None:
    assert generator["stale"]() == [], "run: python deploy/checks.py"


@pytest.mark.parametrize("name", CHECKS)
def test_ssm_takes_the_document(aws: SandboxAws, name: str) -> None:
    ssm, text = aws.client("ssm"), (FOLDER / f"ssm/{name}.yaml").read_text()
    ssm.create_document(
        Name=f"Gilder-{name}", Content=text, DocumentType="Command", DocumentFormat="YAML"
    )
    about = ssm.describe_document(Name=f"Gilder-{name}")["Document"]
    assert about["SchemaVersion"] == "2.2"
    got = ssm.get_document(Name=f"Gilder-{name}", DocumentFormat="JSON")["Content"]
    assert json.loads(got) == ssm_document(name)


@pytest.mark.parametrize("name", CHECKS)
def test_the_ssm_document_keeps_the_rules(name: str) -> None:
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-schemas-features.html
    document = ssm_document(name)
    assert set(document) == {"schemaVersion", "description", "mainSteps"}
    assert len(document["description"]) <= 1024
    assert len((FOLDER / f"ssm/{name}.yaml").read_bytes()) < 64 * 1024
    actions = {"Linux": "aws:runShellScript", "Windows": "aws:runPowerShellScript"}
    kinds = []
    for step in document["mainSteps"]:
        assert set(step) == {"action", "name", "precondition", "inputs"}
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", step["name"])
        variable, kind = step["precondition"]["StringEquals"]
        assert variable == "platformType"
        assert step["action"] == actions[kind]
        (sent,) = step["inputs"]["runCommand"]
        assert tuple(sent.splitlines()) == script(name, kind.lower())
        kinds.append(kind.lower())
    assert tuple(kinds) == platforms(name)


@pytest.mark.parametrize(("name", "platform"), COMPONENTS)
def test_image_builder_takes_the_component(aws: SandboxAws, name: str, platform: str) -> None:
    builder, text = aws.client("imagebuilder"), file_of(name, platform).read_text()
    made = builder.create_component(
        name=f"gilder-{name}-{platform}",
        semanticVersion="1.0.0",
        platform=platform.capitalize(),
        data=text,
        clientToken=f"{name}-{platform}",
    )
    got = builder.get_component(componentBuildVersionArn=made["componentBuildVersionArn"])
    assert got["component"]["platform"] == platform.capitalize()
    assert yaml.safe_load(got["component"]["data"]) == component(name, platform)


@pytest.mark.parametrize(("name", "platform"), COMPONENTS)
def test_the_component_keeps_the_rules(name: str, platform: str) -> None:
    # https://docs.aws.amazon.com/imagebuilder/latest/userguide/toe-use-documents.html
    document = component(name, platform)
    assert len(file_of(name, platform).read_text()) <= largest_component()
    assert document["schemaVersion"] == 1.0
    phases = [phase["name"] for phase in document["phases"]]
    assert phases in (["validate", "test"], ["test"])
    for phase in document["phases"]:
        (step,) = phase["steps"]
        assert step["action"] == {"linux": "ExecuteBash", "windows": "ExecutePowerShell"}[platform]
        assert re.fullmatch(r"[A-Za-z0-9_-]+", step["name"])
        (sent,) = step["inputs"]["commands"]
        assert tuple(sent.splitlines()) == script(name, platform)


@pytest.mark.parametrize("name", CHECKS)
def test_scripts_are_written_as_blocks(name: str) -> None:
    text = (FOLDER / f"ssm/{name}.yaml").read_text()
    assert f"    - |\n      #!/bin/sh\n      # gilder check {name}: " in text


def test_check_notices_what_is_stale(tmp_path: Path, generator: dict[str, Any]) -> None:
    generator["stale"].__globals__["FOLDER"] = tmp_path
    try:
        assert len(generator["stale"]()) == len(CHECKS) + len(COMPONENTS)
        (tmp_path / "old.yaml").write_text("")
        assert tmp_path / "old.yaml" in generator["stale"]()
    finally:
        generator["stale"].__globals__["FOLDER"] = FOLDER
