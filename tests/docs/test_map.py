"""The map of the code names every module, and what pages name is there."""

import re
from pathlib import Path

import pytest

import gilder

ROOT = Path(__file__).parents[2]
SOURCE = Path(gilder.__file__).parent
PACKAGES = ("api", "core", "aws", "reconcile", "handlers")
PAGES = ("architecture.md", "design.md", "fidelity.md")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_architecture_names_every_module(package: str) -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    (section,) = re.findall(rf"^### {package}: .*?(?=^##)", text, re.MULTILINE | re.DOTALL)
    named = {m for row in re.findall(r"^\| (.*?) \|", section, re.MULTILINE) for m in words(row)}
    there = {f.stem for f in (SOURCE / package).glob("*.py")} - {"__init__"}
    assert there == named


def words(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    folder = ROOT / "tests"
    for path in re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / page).read_text()):
        if path.startswith("tests/"):
            folder = (ROOT / path).parent
            assert (ROOT / path).is_file(), path
        elif "/" in path:
            assert (SOURCE / path).is_file(), path
        else:  # a neighbour of the test that was named last
            assert (folder / path).is_file(), path


def test_functions_that_the_design_names_are_there() -> None:
    text = (ROOT / "docs/design.md").read_text()
    pairs = re.findall(r"`(\w+/\w+\.py)` \(((?:`\w+`(?:, )?)+)\)", text)
    assert len(pairs) > 5
    for file, names in pairs:
        source = (SOURCE / file).read_text()
        for name in words(names):
            assert re.search(rf"^\s*(?:def {name}\(|{name}\b.*=)", source, re.MULTILINE), name


def test_the_fidelity_page_names_every_extension() -> None:
    text = (ROOT / "docs/fidelity.md").read_text()
    plumbing = {"errors", "extensions", "model", "registry", "seed", "server", "settings", "state"}
    plumbing |= {"routes", "commands", "documents"}  # behind the gateway and run_command
    folder = SOURCE / "sandbox/aws"
    there = {f.stem for f in folder.iterdir() if f.suffix == ".py" or f.is_dir()}
    there -= plumbing | {"__init__", "__pycache__"}
    assert {m for m in there if f"`{m}`" not in text} == set()


def test_what_the_threat_model_points_to_is_there() -> None:
    """Files, and the functions and tests named in brackets after them."""
    text = (ROOT / "docs/threat-model.md").read_text()
    pairs = re.findall(r"`([\w/]+\.py)`(?:\s+\(((?:`\w+`(?:, )?)+)\))?", text)
    assert len(pairs) > 30
    for file, names in pairs:
        path = ROOT / file if file.startswith("tests/") else SOURCE / file
        assert path.is_file(), file
        source = path.read_text()
        for name in words(names):
            assert re.search(rf"^\s*(?:def {name}\(|class {name}\b)", source, re.MULTILINE), name
