"""The documents agree with the code: reasons, settings, links and manifests."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gilder.api import parse_object
from gilder.config import Settings
from gilder.core.report import REASONS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "gilder"
REASON = re.compile(r"^[A-Z][A-Za-z]{4,}$")
MAKERS = {"Problem": 0, "Verdict": 2, "Event": 1, "stop": 0}


def reasons() -> set[str]:
    """First words of Problems, reasons of Verdicts and Events, wherever they are literal."""
    found = set(REASONS.values())
    trees = [ast.parse(f.read_text()) for f in PACKAGE.rglob("*.py") if "sandbox" not in f.parts]
    constants = {
        target.id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in (n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Call)):
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        place = MAKERS.get(name)
        given = [k.value for k in call.keywords if k.arg in ("reason", "good_reason")]
        if place is not None and len(call.args) > place:
            given.append(call.args[place])
        found |= set(_literals(given, constants))
    return found


def _literals(nodes: list[ast.expr], constants: dict[str, object]) -> Iterator[str]:
    for node in nodes:
        for part in ast.walk(node):
            value = part.value if isinstance(part, ast.Constant) else None
            if isinstance(part, ast.Name | ast.Attribute):
                value = constants.get(part.id if isinstance(part, ast.Name) else part.attr)
            if isinstance(value, str) and REASON.match(value):
                yield value


def test_every_reason_is_explained() -> None:
    found = reasons()
    assert {"InstanceStoreUnsupported", "DriftCorrected", "KeyPolicyRequired"} <= found
    text = (ROOT / "docs" / "conditions.md").read_text()
    explained = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert found - explained == set()


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for name, field in Settings.model_fields.items():
        row = f"| `GILDER_{name.upper()}` | `{field.default}` |"
        assert row in text, row
        assert field.description in text.replace("\n", " ")


def test_links_lead_somewhere() -> None:
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
            if "://" not in link:
                assert (file.parent / link).exists(), f"{file.name}: {link}"


@pytest.mark.parametrize("file", ["README.md"])
def test_manifests_in_documents_are_valid(file: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)
    documents = [d for b in blocks for d in yaml.safe_load_all(b)]
    assert documents
    for document in documents:
        parse_object(document)
