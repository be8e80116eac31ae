"""Hands the operator what a stranger might: specs, statuses, annotations, messages, files, Jobs.

    python reliability/fuzz.py                              # 500 inputs of each kind, half a minute
    python reliability/fuzz.py --examples 20000 --seed 7    # longer, and others
    python reliability/fuzz.py --only specs --json fuzz.json

Nothing is started: the schema of the CRDs is evaluated as the local Kubernetes API does it, and
plans are made for small worlds of AWS. What must hold is said in tests/core/hostilechecks.py and
its neighbours, and some hundred inputs of each kind are tried by the tests too. Where something
does not hold, the smallest input that shows it is printed, and the exit code is 1.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/core"))

from hostilechecks import check_object
from hostilefiles import check_file, check_job, files, sources
from hostilemessages import bodies, check_message
from hostilevalues import annotated, objects, shown, with_status

EXAMPLES = 500
REFUSED = ("refused", "refused by models", "refused by schema", "ignored")


@dataclass(frozen=True)
class Target:
    """One way in. `check` says what became of an input, and raises where it should not have."""

    name: str
    strategy: st.SearchStrategy[Any]
    check: Callable[[Any], str]


TARGETS = (
    Target("specs", objects(), check_object),
    Target("statuses", with_status(), check_object),
    Target("annotations", annotated(), check_object),
    Target("messages", bodies(), check_message),
    Target("files", files(), check_file),
    Target("jobs", sources(), check_job),
)


@dataclass
class Run:
    """What came of one target. `violations` are what did not hold, with the smallest input."""

    name: str
    seconds: float = 0.0
    results: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[str, str]] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.results.total()

    @property
    def refused(self) -> int:
        return sum(n for result, n in self.results.items() if result in REFUSED)

    @property
    def accepted(self) -> int:
        return self.tried - self.refused


def fuzz(target: Target, examples: int, number: int) -> Run:
    """Try so many inputs. A failing one is made smaller, which is not counted."""
    run = Run(target.name)
    failed: dict[str, str] = {}  # what did not hold, to the input that was tried last

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )
    @seed(number)
    @given(target.strategy)
    def one(value: Any) -> None:
        try:
            result = target.check(value)
        except Exception as error:
            failed[_kind(error)] = f"{type(error).__name__}: {error}"[:500] + f"\n{shown(value)}"
            raise
        if not failed:
            run.results[result] += 1

    began = time.monotonic()
    try:
        one()
    except Exception as error:  # noqa: BLE001 - it is told, whatever it is
        run.violations = sorted(failed.items()) or [(_kind(error), str(error)[:2000])]
    run.seconds = time.monotonic() - began
    return run


def _kind(error: BaseException) -> str:
    """Where something did not hold, by which violations are told apart."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return type(error).__name__
    return f"{type(error).__name__} at {Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}"


def totals(runs: list[Run]) -> dict[str, Any]:
    """The counts by target and together."""
    by_name = {r.name: r for r in runs}
    found: dict[str, Any] = {name: r.tried for name, r in by_name.items()}
    found["refused"] = sum(r.refused for r in runs)
    planned = ("specs", "statuses", "annotations")
    found["planned"] = sum(r.results["planned"] for r in runs if r.name in planned)
    found["accepted"] = sum(r.accepted for r in runs)
    found["violations"] = sum(len(r.violations) for r in runs)
    found["targets"] = {r.name: {**r.results, "violations": len(r.violations)} for r in runs}
    return found


def show(runs: list[Run], console: Console) -> None:
    """A table for people, and the smallest input of each violation."""
    table = Table("target", "tried", "refused", "accepted", "violations", "seconds")
    for r in runs:
        numbers = (r.tried, r.refused, r.accepted, len(r.violations))
        table.add_row(r.name, *(f"{n:,}" for n in numbers), f"{r.seconds:.1f}")
    console.print(table)
    for r in runs:
        for where, told in r.violations:
            console.print(f"\n{r.name}: {where}", style="bold red", markup=False)
            console.print(told, markup=False, highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0, help="another one tries other inputs")
    parser.add_argument("--only", choices=[t.name for t in TARGETS], action="append")
    parser.add_argument("--json", type=Path, help="where to write the counts")
    asked = parser.parse_args(arguments)
    chosen = [t for t in TARGETS if not asked.only or t.name in asked.only]
    runs = [fuzz(t, asked.examples, asked.seed) for t in chosen]
    show(runs, Console())
    counts = totals(runs)
    if asked.json is not None:
        asked.json.write_text(json.dumps(counts, indent=2) + "\n")
    return 1 if counts["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
