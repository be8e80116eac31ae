"""reliability/sequences.py counts what it judges, and shows the steps that led to a violation."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from lifecycleworld import Life

SCRIPT = Path(__file__).parents[2] / "reliability/sequences.py"


@pytest.fixture(scope="module")
def tool(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    return load_script(SCRIPT)


def test_it_searches_both_kinds(tool: ModuleType, tmp_path: Path) -> None:
    told = tmp_path / "counts.json"
    assert tool.main(["--histories", "10", "--seed", "3", "4", "--json", str(told)]) == 0
    runs = json.loads(told.read_text())
    assert [(r["kind"], r["seed"]) for r in runs] == [
        ("lifecycle", 3), ("lifecycle", 4), ("shares", 3), ("shares", 4),
    ]  # fmt: skip
    assert all(r["histories"] >= 10 and r["actions"] > r["histories"] for r in runs)


def test_a_violation_is_told_with_its_steps(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def judge(*_: object) -> None:
        raise AssertionError("nothing may be copied")

    monkeypatch.setattr(Life, "_judge_copy", judge)
    told = tmp_path / "counts.json"
    arguments = ["--histories", "10", "--only", "lifecycle", "--json", str(told)]
    assert tool.main(arguments) == 1
    (run,) = json.loads(told.read_text())
    assert len(run["violations"]) == 1
    said = capsys.readouterr().out
    assert "nothing may be copied" in said
    assert "state.begin(" in said
