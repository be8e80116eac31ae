"""The bill of materials says what the lock puts into the image."""

import importlib.metadata
import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements-runtime.lock").read_text()
Bill = dict[str, Any]


@pytest.fixture(scope="module")
def bill() -> Bill:
    return dict(runpy.run_path(str(ROOT / "deploy/sbom.py"))["document"]())


def needs(bill: Bill) -> dict[str, set[str]]:
    """By name what each needs."""
    names = {c["bom-ref"]: c["name"] for c in bill["components"]} | {"gilder": "gilder"}
    return {names[d["ref"]]: {names[r] for r in d["dependsOn"]} for d in bill["dependencies"]}


def test_every_package_of_the_lock_is_in_it_with_its_hashes(bill: Bill) -> None:
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==([^ ]+)", LOCK, re.MULTILINE))
    assert {c["name"]: c["version"] for c in bill["components"]} == pinned
    assert len(pinned) > 30
    told = [
        p["value"]
        for c in bill["components"]
        for p in c["properties"]
        if p["name"] == "gilder:lock:sha256"
    ]
    assert told == re.findall(r"--hash=sha256:(\w+)", LOCK)
    for component in bill["components"]:
        assert component["purl"] == f"pkg:pypi/{component['name']}@{component['version']}"


def test_what_needs_what_is_what_the_packages_say(bill: Bill) -> None:
    found = needs(bill)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {_name(line) for line in project["dependencies"]}
    assert found["gilder"] == declared
    looked = 0
    for component in bill["components"]:
        try:
            package = importlib.metadata.distribution(component["name"])
        except importlib.metadata.PackageNotFoundError:
            continue
        if package.version == component["version"]:
            looked += 1
            assert found[component["name"]] <= {_name(line) for line in package.requires or ()}
    assert looked > 20


def _name(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[(]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def test_everything_is_reached_from_the_operator(bill: Bill) -> None:
    found, seen, ahead = needs(bill), set[str](), ["gilder"]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += found[name]
    assert seen == set(found)


def test_it_is_the_same_each_time(bill: Bill, tmp_path: Path) -> None:
    file = tmp_path / "gilder.cdx.json"
    subprocess.run([sys.executable, str(ROOT / "deploy/sbom.py"), str(file)], check=True)
    written = json.loads(file.read_text())
    assert written == bill
    assert written["bomFormat"] == "CycloneDX"
    assert written["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
