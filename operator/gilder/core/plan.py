"""What a plan is: actions to take now, what is waited for, and what stands in the way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gilder.api.base import one_line
from gilder.core.actions import AnyAction
from gilder.core.observed import Problem


def sooner(one: float | None, other: float | None) -> float | None:
    """The shorter of two pauses; None is none."""
    return min((p for p in (one, other) if p is not None), default=None)


@dataclass(slots=True)
class Draft:
    """A plan being written down."""

    actions: list[AnyAction] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    retry_after: float | None = None  # seconds until something is worth another look

    def do(self, action: AnyAction) -> None:
        self.actions.append(action)

    def stop(self, reason: str, message: str, *, region: str | None = None) -> None:
        """A person must act."""
        self.problems.append(Problem(reason, message, True, region))

    def note(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def wait(self, what: str, seconds: float | None = None) -> None:
        self.waiting.append(what)
        if seconds is not None:
            self.wake(seconds)

    def wake(self, seconds: float) -> None:
        """Look again then, though nothing is awaited."""
        self.retry_after = sooner(self.retry_after, seconds)


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of planning, common to both kinds."""

    actions: tuple[AnyAction, ...] = ()
    problems: tuple[Problem, ...] = ()
    waiting: tuple[str, ...] = ()
    retry_after: float | None = None

    @property
    def settled(self) -> bool:
        """Nothing to do, nothing awaited, nothing in the way."""
        return not (self.actions or self.problems or self.waiting)

    def lines(self) -> tuple[str, ...]:
        """What the actions are, each on one line whatever the tags and names in it hold."""
        return tuple(one_line(a.describe()) for a in self.actions)


def freeze(draft: Draft) -> Plan:
    return Plan(
        tuple(draft.actions), tuple(draft.problems), tuple(draft.waiting), draft.retry_after
    )


def stalled(problems: Sequence[Problem]) -> bool:
    return any(p.permanent for p in problems)
