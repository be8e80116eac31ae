"""What one reconcile hands back to whoever called it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

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
