"""Kills the operator around every call to AWS and every write to Kubernetes of what it does.

    python reliability/crash.py                    # every point: some minutes on two cores
    python reliability/crash.py copy share         # of these stories
    python reliability/crash.py --every 10         # one point of ten

At each point the story begins anew in a fresh local AWS and Kubernetes, with the operator as a
process; it is killed by SIGKILL right before the nth call takes effect, or right after, before its
answer; it is started again, and the story must come to the same end as ever. Then it is asked to
look again, and must change nothing.
"""

import argparse
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

from scenarios import (
    SECONDS,
    STORIES,
    WRONG,
    Violation,
    at_rest,
    fork_operators,
    judge,
    opened,
    write_down,
)
from stage import Stage

from gilder.sandbox.kubernetes.errors import plain
from gilder.sandbox.process import wait_for

SURFACES = ("aws", "kubernetes")
SIDES = ("before", "after")
MOST = 1000  # points of one sequence; a story that has more does not come to its end


@dataclass(frozen=True)
class Point:
    """The `index`th call, counted from 1, of one story."""

    story: str
    surface: str
    side: str
    index: int

    def __str__(self) -> str:
        return f"{self.story}: {self.side} {self.surface} call {self.index}"


@dataclass
class Sequence:
    """The points of one story, surface and side, and what was found there."""

    story: str
    surface: str
    side: str
    points: int = 0
    calls: int = 0  # that the story has when nobody is killed
    violations: list[str] = field(default_factory=list)


class Strike:
    """Kills the operator at one call."""

    def __init__(self, stage: Stage, point: Point) -> None:
        self._stage, self._point = stage, point
        self._left = point.index
        self._lock = threading.Lock()
        self.struck = threading.Event()
        self.what = ""
        aws, server = stage.aws.faults, stage.world.cluster.server
        assert server is not None, "faults in Kubernetes need the emulated API"
        if point.surface == "aws" and point.side == "before":
            aws.cut(".*", lambda key: self._count(key.action))
        elif point.surface == "aws":
            aws.after(".*", lambda key: self._count(key.action) and None)
        elif point.side == "before":
            server.faults.before(self._refuse)
        else:
            server.faults.after(lambda method, path: self._count(f"{method} {path}") and None)

    def _count(self, what: str) -> bool:
        """Whether this is the call; the operator is dead then. Calls that it had under way besides
        end as they may."""
        with self._lock:
            self._left -= 1
            if self._left != 0:
                return False
        self.what = what
        self._stage.world.operator.kill()
        self.struck.set()
        return True

    def _refuse(self, method: str, path: str) -> None:
        if self._count(f"{method} {path}"):
            raise plain(503, "the operator is dead")

    def over(self) -> None:
        server = self._stage.world.cluster.server
        assert server is not None
        self._stage.aws.faults.clear()
        server.faults.clear()

    @property
    def counted(self) -> int:
        return self._point.index - self._left


def kill_at(point: Point) -> tuple[str, int]:
    """Try one point. What was struck, empty if the story ended before; and the calls counted.

    Raises Violation.
    """
    story = STORIES[point.story]
    with opened(story) as (stage, watch):
        operator = stage.world.operator
        strike = Strike(stage, point)
        operator.start()
        done = wait_for(lambda: strike.struck.is_set() or story.done(stage), SECONDS, 0.02)
        strike.over()
        if not done:
            raise Violation(f"it never came to its end, unkilled\n{operator.tail()}")
        watch.arm()
        if strike.what:
            strike.struck.wait(SECONDS)  # the story may have ended while it was being killed
            operator.start()
            if not wait_for(lambda: story.done(stage), SECONDS, 0.05):
                raise Violation(f"killed at {strike.what} it never ended\n{operator.tail()}")
        judge(stage, story, watch.wrong)
        at_rest(stage)
        return strike.what, strike.counted


def run(story: str, surface: str, side: str, every: int = 1, first: int = 1) -> Sequence:
    """All points of a sequence, or one of `every`, until the story ends before it is killed."""
    found = Sequence(story, surface, side)
    for index in range(first, MOST, every):
        point = Point(story, surface, side, index)
        try:
            what, counted = kill_at(point)
        except (*WRONG, OSError) as error:
            found.violations.append(f"{point}: {error}")
            what, counted = "?", index
        if not what:
            found.calls = counted
            return found
        found.points += 1
    found.violations.append(f"{story}: more than {MOST} calls")
    return found


def sequences(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    for name in names:
        for surface in SURFACES:
            for side in SIDES:
                yield name, surface, side


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("stories", nargs="*", metavar="story", help=", ".join(STORIES))
    arguments.add_argument("--every", type=int, default=1, help="one point of so many")
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--json", type=Path, help="where the figures go")
    asked = arguments.parse_args()
    unknown = set(asked.stories) - STORIES.keys()
    if unknown:
        arguments.error(f"no such story: {', '.join(sorted(unknown))}")
    found: list[Sequence] = []
    context = get_context("spawn")
    with ProcessPoolExecutor(asked.processes, context, initializer=fork_operators) as pool:
        tried = [
            pool.submit(run, *sequence, every=asked.every)
            for sequence in sequences(asked.stories or STORIES)
        ]
        for each in tried:
            one = each.result()
            found.append(one)
            print(
                f"{one.story:8} {one.surface:10} {one.side:6} {one.points:4} points, "
                f"{len(one.violations)} violations",
                flush=True,
            )
            for text in one.violations:
                print(f"  {text}", flush=True)
    points = sum(s.points for s in found)
    violations = sum(len(s.violations) for s in found)
    print(f"{points} points, {violations} violations")
    if asked.json:
        write_down(asked.json, [asdict(s) for s in found], ("story", "surface", "side"))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
