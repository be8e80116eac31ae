"""reliability/fuzz.py counts what it tries, and shows the smallest input that something breaks."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[2] / "reliability/fuzz.py"


@pytest.fixture(scope="module")
def tool(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    return load_script(SCRIPT)


def small(value: int) -> str:
    assert value < 100, f"{value} is too much"
    return "planned" if value % 2 else "refused"


def test_it_counts_and_finds_the_smallest_input(
    tool: ModuleType, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    good = tool.Target("specs", st.integers(0, 99), small)
    bad = tool.Target("messages", st.integers(0, 10_000), small)
    monkeypatch.setattr(tool, "TARGETS", (good, bad))
    told = tmp_path / "counts.json"
    assert tool.main(["--examples", "50", "--json", str(told), "--only", "specs"]) == 0
    counts = json.loads(told.read_text())
    assert counts["specs"] == counts["refused"] + counts["planned"] == 50
    assert counts["violations"] == 0
    assert tool.main(["--examples", "50", "--json", str(told)]) == 1
    assert json.loads(told.read_text())["violations"] == 1
    assert "AssertionError: 100 is too much" in capsys.readouterr().out


def test_every_way_in_is_tried(tool: ModuleType, tmp_path: Path) -> None:
    told = tmp_path / "counts.json"
    assert tool.main(["--examples", "10", "--seed", "3", "--json", str(told)]) == 0
    counts = json.loads(told.read_text())
    names = ("specs", "statuses", "annotations", "messages", "files", "jobs")
    assert [counts[n] for n in names] == [10] * 6
