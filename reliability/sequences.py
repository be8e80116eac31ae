"""Searches for a sequence of versions, drift, throttling and crashes after which a plan does harm.

    python reliability/sequences.py                                 # 500 histories of each kind
    python reliability/sequences.py --histories 20000 --seed 7 8    # longer, and others
    python reliability/sequences.py --only lifecycle --json sequences.json

Two kinds: the lifecycle of one GoldenImage, in which months pass, and ImageShares that add up on
AMIs and keys. Both run the real plans and reports against a small AWS in memory, and judge every
action before it is carried out; what must hold is said in tests/core/lifecycleworld.py and
tests/core/test_share_sequences.py. The tests try some hundred histories of each, always the same.
Where something does not hold, the steps that led to it are printed, and the exit code is 1.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/core"))

from test_lifecycle_sequences import Lifecycle
from test_share_sequences import Sequences

HISTORIES = 500
STEPS = 30
MOST_NOTES = 200  # lines of a history


@dataclass
class Run:
    """What came of one kind. `actions` were judged before they were carried out."""

    kind: str
    seed: int
    histories: int = 0
    actions: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0


KINDS: dict[str, type[Lifecycle] | type[Sequences]] = {"lifecycle": Lifecycle, "shares": Sequences}


def counted(kind: str, run: Run) -> type[RuleBasedStateMachine]:
    """The machine of a kind, which counts in `run`."""

    class Counted(KINDS[kind]):  # type: ignore[misc]
        def teardown(self) -> None:
            super().teardown()
            run.histories += 1
            run.actions += self.judged

    return Counted


def search(kind: str, histories: int, number: int) -> Run:
    """Try so many histories. A failing one ends it, and is not made shorter: that takes minutes."""
    run = Run(kind, number)
    began = time.monotonic()
    wish = settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    try:
        run_state_machine_as_test(seed(number)(counted(kind, run)), settings=wish)
    except Exception as error:  # noqa: BLE001 - it is told, whatever it is
        steps = "\n".join([*getattr(error, "__notes__", ())][:MOST_NOTES])
        run.violations.append(f"{type(error).__name__}: {error}"[:2000] + f"\n{steps}")
    run.seconds = round(time.monotonic() - began, 1)
    return run


def show(runs: list[Run], console: Console) -> None:
    table = Table("kind", "seed", "histories", "actions", "violations", "seconds")
    for r in runs:
        counts = (r.seed, f"{r.histories:,}", f"{r.actions:,}", len(r.violations), r.seconds)
        table.add_row(r.kind, *(str(c) for c in counts))
    console.print(table)
    for told in (v for r in runs for v in r.violations):
        console.print(told, markup=False, highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--histories", type=int, default=HISTORIES, help="of each kind")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="others try others")
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--json", type=Path, help="where to write the counts")
    asked = parser.parse_args(arguments)
    chosen = [k for k in KINDS if not asked.only or k in asked.only]
    runs = [search(k, asked.histories, number) for k in chosen for number in asked.seed]
    show(runs, Console())
    if asked.json is not None:
        asked.json.write_text(json.dumps([asdict(r) for r in runs], indent=2) + "\n")
    return 1 if any(r.violations for r in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
