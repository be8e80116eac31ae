"""Puts the figures of the last full runs into docs/reliability.md.

    python reliability/figures.py            # from reliability/results/*.json
    python reliability/figures.py --check    # exit code 1 where the page says something else

The results are what the scripts beside this one write with --json; nothing here is typed by hand.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "reliability" / "results"
PAGE = ROOT / "docs" / "reliability.md"
FIFTH = 5


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(c) for c in line) + " |" for line in lines)


def summary() -> str:
    crash, faults, whole, fuzz, soak = map(_read, ("crash", "faults", "whole", "fuzz", "soak"))
    plans = _read("sequences")
    tried = sum(fuzz[k] for k in ("specs", "statuses", "annotations", "messages", "files", "jobs"))
    rows: list[tuple[object, ...]] = [
        (
            "Points at which the operator was killed",
            f"{sum(s['points'] for s in crash):,}",
            sum(len(s["violations"]) for s in crash),
        ),
        (
            "Faults injected, in all stories",
            f"{sum(r['struck'] for r in faults):,}",
            sum(len(r["violations"]) for r in faults),
        ),
        (
            "Steps of random histories",
            f"{whole['steps']:,} in {whole['examples']:,}",
            len(whole["violations"]),
        ),
        (
            "Actions of random histories of plans",
            f"{sum(r['actions'] for r in plans):,} in {sum(r['histories'] for r in plans):,}",
            sum(len(r["violations"]) for r in plans),
        ),
        ("Hostile inputs", f"{tried:,}", fuzz["violations"]),
        (
            "Minutes of soak",
            f"{soak['minutes']:g}, {sum(soak['happened'].values()):,} changes",
            len(soak["violations"]),
        ),
    ]
    return _table(("What", "How many", "Violations"), rows)


def crash() -> str:
    found = _read("crash")
    points: dict[str, Counter[str]] = {}
    for one in found:
        place = f"{one['side']} {one['surface']}"
        points.setdefault(one["story"], Counter())[place] += one["points"]
    sides = ("before aws", "after aws", "before kubernetes", "after kubernetes")
    rows: list[tuple[object, ...]] = [
        (story, *(count[s] for s in sides), count.total()) for story, count in points.items()
    ]
    head = (
        "Story",
        "before a call to AWS",
        "after one",
        "before a write to Kubernetes",
        "after one",
    )
    return _table((*head, "All"), rows)


def faults() -> str:
    runs: dict[str, Counter[str]] = {}
    for one in _read("faults"):
        count = runs.setdefault(one["trouble"], Counter())
        count["runs"] += 1
        count["struck"] += one["struck"]
        count["told"] += one["told"]
        count["violations"] += len(one["violations"])
    return _table(
        ("Trouble", "Stories", "Struck", "Violations"),
        [(f"`{name}`", c["runs"], f"{c['struck']:,}", c["violations"]) for name, c in runs.items()],
    )


def whole() -> str:
    found = _read("whole")
    return _table(
        ("Histories", "Steps", "Drift", "Faults", "Restarts", "Times all was as declared"),
        [
            tuple(
                f"{found[k]:,}"
                for k in ("examples", "steps", "drift", "faults", "restarts", "settled")
            )
        ],
    )


def sequences() -> str:
    found = _read("sequences")
    rows: list[tuple[object, ...]] = []
    for kind in dict.fromkeys(r["kind"] for r in found):
        mine = [r for r in found if r["kind"] == kind]
        counts = (sum(r[k] for r in mine) for k in ("histories", "actions"))
        wrong = sum(len(r["violations"]) for r in mine)
        rows.append((kind, len(mine), *(f"{n:,}" for n in counts), wrong))
    return _table(("Kind", "Seeds", "Histories", "Actions judged", "Violations"), rows)


def fuzz() -> str:
    found = _read("fuzz")
    rows: list[tuple[object, ...]] = []
    for name, counts in found["targets"].items():
        refused = sum(n for k, n in counts.items() if k.startswith(("refused", "ignored")))
        rows.append(
            (name, f"{found[name]:,}", f"{refused:,}", f"{found[name] - refused:,}",
             counts["violations"])
        )  # fmt: skip
    return _table(("Input", "Tried", "Refused or ignored", "Worked on", "Violations"), rows)


def soak() -> str:
    found = _read("soak")
    samples = found["samples"]
    fifth = max(len(samples) // FIFTH, 1)
    parts = (samples[fifth : 2 * fifth], samples[-fifth:])
    rows: list[tuple[object, ...]] = []
    for what, name in (("mib", "Memory, MiB"), ("threads", "Threads"), ("files", "Open files")):
        early, late = (mean(s[what] for s in part) for part in parts)
        rows.append((name, f"{early:.1f}", f"{late:.1f}", f"{late / early:.3f}"))
    text = _table(("", "Second fifth", "Last fifth", "Ratio"), rows)
    return (
        f"{found['images']} GoldenImages in two Regions with a share each, {found['minutes']:g} "
        f"minutes: {sum(found['happened'].values()):,} changes and faults, "
        f"{found['kubernetes_requests']:,} requests to Kubernetes. SIGTERM ended the process in "
        f"{found['stop_seconds']:g} s.\n\n{text}"
    )


PARTS: dict[str, Callable[[], str]] = {
    f.__name__: f for f in (summary, crash, faults, whole, sequences, fuzz, soak)
}


def page(text: str) -> str:
    """The page with the figures as they are in the results."""
    for name, part in PARTS.items():
        begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
        found = re.compile(f"{begin}.*?{end}", re.DOTALL)
        if len(found.findall(text)) != 1:
            raise SystemExit(f"{PAGE}: there must be one {begin} with its {end}")
        before, after = found.split(text)
        text = f"{before}{begin}\n\n{part()}\n\n{end}{after}"
    return text


def main() -> int:
    before = PAGE.read_text()
    after = page(before)
    if sys.argv[1:] == ["--check"]:
        if before != after:
            print(f"{PAGE} differs from the results: python reliability/figures.py")
        return int(before != after)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
