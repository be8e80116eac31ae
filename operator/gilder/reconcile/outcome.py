"""What one reconcile hands back to whoever called it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from gilder.api.goldenimage import Published
from gilder.core.observed import Problem
from gilder.core.results import Event, Result

S = TypeVar("S")


@dataclass(frozen=True)
class Outcome(Generic[S]):
    """New status, Events to post, what was done, and when to look again.

    `release`: the finalizer may go. `again`: seconds until the next look, None for the next sweep.
    `failed`: something went wrong that may pass, so look again after a growing pause.
    """

    status: S
    events: tuple[Event, ...] = ()
    results: tuple[Result, ...] = ()
    drift: bool = False
    again: float | None = None
    failed: bool = False
    release: bool = False


@dataclass(frozen=True)
class Abroad:
    """What was published in consumer accounts: what status says of it, what is in the way, what
    was done, and in how many seconds to look again."""

    told: tuple[Published, ...] = ()
    problems: tuple[Problem, ...] = ()
    results: tuple[Result, ...] = ()
    again: float | None = None
