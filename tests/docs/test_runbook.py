"""docs/conditions.md has an entry for every reason and condition type that the code can produce."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gilder
from gilder.api.conditions import ConditionType
from gilder.core.report import REASONS

ROOT = Path(__file__).parents[2]
SOURCE = Path(gilder.__file__).parent
RUNBOOK = (ROOT / "docs/conditions.md").read_text()
LAYERS = ("core", "aws", "reconcile", "handlers")
# Where the reason stands in the arguments of each call that makes one.
REASON_AT = {"Problem": 0, "stop": 0, "Hold": 0, "Verdict": 2, "Event": 1, "outlook": 99}
WORD = re.compile(r"[A-Z][A-Za-z]+")

# A reason that is passed on to outlook() but never shown: a deletion is never good.
NEVER_SHOWN = {"Deleting"}


def reasons() -> set[str]:
    """Every literal that can become a reason, followed through names of the same file."""
    found = set(REASONS.values())
    for layer in LAYERS:
        for file in sorted((SOURCE / layer).glob("*.py")):
            tree = ast.parse(file.read_text())
            assigned = _assigned(tree)
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    for argument in _reason_arguments(node):
                        found |= set(_words(argument, assigned))
    return found


def _reason_arguments(call: ast.Call) -> Iterator[ast.expr]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    place = REASON_AT.get(name)
    if place is None:
        return
    if len(call.args) > place:
        yield call.args[place]
    yield from (k.value for k in call.keywords if k.arg in ("reason", "good_reason"))


def _assigned(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """Name to what is assigned to it anywhere in the file."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def _words(node: ast.expr, assigned: dict[str, list[ast.expr]]) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)) if WORD.fullmatch(text):
            yield text
        case ast.Name(id=name):
            others = {k: v for k, v in assigned.items() if k != name}
            for value in assigned.get(name, []):
                yield from _words(value, others)
        case ast.Attribute(attr=name) if name.isupper():
            yield from _constants(name)
        case ast.IfExp(body=body, orelse=other):
            yield from _words(body, assigned)
            yield from _words(other, assigned)
        case ast.Call(func=ast.Name(id="next"), args=[_, default]):
            yield from _words(default, assigned)


def _constants(name: str) -> Iterator[str]:
    """Values of module constants of the core, such as rules.KEY_REQUIRED."""
    for file in (SOURCE / "core").glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
                continue
            if any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                yield str(node.value.value)


def headings() -> list[str]:
    """Entries, but for those of alerts: tests/deploy/test_monitoring.py has them."""
    text = re.sub(r"^## Alerts$.*?(?=^## )", "", RUNBOOK, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^### (\w+)$", text, re.MULTILINE)


def entries() -> dict[str, str]:
    """Reason to the text of its entry."""
    parts = re.split(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)[1:]
    return {
        name: text.split("\n## ")[0].strip()
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_the_source_is_understood() -> None:
    found = reasons()
    assert {"Throttled", "CopyFailed", "CreateFailed", "KeyRequired", "SourceNotFound"} <= found
    assert {"Available", "InSync", "Suspended", "DriftCorrected", "GrantRevoked"} <= found


def test_every_reason_has_an_entry() -> None:
    assert sorted(reasons() - NEVER_SHOWN - set(headings())) == []


def test_every_entry_is_of_a_reason() -> None:
    assert sorted(set(headings()) - reasons()) == []
    assert sorted(headings()) == sorted(set(headings()))


@pytest.mark.parametrize("reason", headings())
def test_an_entry_says_something(reason: str) -> None:
    assert len(entries()[reason]) > 30


def test_every_condition_type_is_explained() -> None:
    for kind in ConditionType:
        assert f"| `{kind.value}` |" in RUNBOOK
