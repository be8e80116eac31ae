"""docs/reliability.md has the figures of the results: of full runs, without violations."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "reliability" / "results"


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def test_the_page_says_what_the_results_say() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "reliability" / "figures.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_results_are_of_full_runs() -> None:
    """All stories at all points, all troubles, and half an hour of soak."""
    crash = results("crash")
    stories = {s["story"] for s in crash}
    assert len(crash) == len(stories) * 4
    assert {"adopt", "build", "copy", "share", "unshare", "retire", "delete"} <= stories
    # Calls of the run that nobody was killed in: there may be some fewer or more in each.
    assert all(s["points"] >= s["calls"] > 0 for s in crash)
    faults = results("faults")
    assert {(r["story"], r["trouble"]) for r in faults} == {
        (story, trouble) for story in stories for trouble in {r["trouble"] for r in faults}
    }
    assert results("soak")["minutes"] >= 30
    assert results("whole")["settled"] > results("whole")["examples"]
    found = [v for name in ("crash", "faults") for r in results(name) for v in r["violations"]]
    assert found + results("whole")["violations"] + results("soak")["violations"] == []
    assert results("fuzz")["violations"] == 0
    plans = results("sequences")
    assert {r["kind"] for r in plans} == {"lifecycle", "shares"}
    assert sum(r["histories"] for r in plans) >= 10_000
    assert [v for r in plans for v in r["violations"]] == []
