"""What builds cost while they are waited for: batched calls, not a poll per GoldenImage."""

import runpy
from pathlib import Path

BENCH = Path(__file__).parents[2] / "benchmarks/builds.py"


def test_waiting_for_many_builds_costs_a_few_calls_per_poll() -> None:
    measure = runpy.run_path(str(BENCH))["measure"]
    found = measure(images=20, poll=2.0, polls=3, gates=False)
    assert found["begin"]["CreateImage"] >= 20
    # Ten recipes per listing; a poll more or less may fall into the counted time.
    assert found["wait"]["ListImageBuildVersions"] <= 2 * 4 / 3
    assert found["per_poll"] <= 10
    assert found["per_build"] <= 16
