"""What came of a plan's actions, and what is told about it."""

from dataclasses import dataclass
from typing import Literal

from gilder.api.base import one_line
from gilder.core.actions import AnyAction
from gilder.core.observed import Problem


@dataclass(frozen=True, slots=True)
class Result:
    """One action that was tried: `made` is the id of what it created."""

    action: AnyAction
    problem: Problem | None = None
    made: str = ""

    @property
    def done(self) -> bool:
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event about the resource, and a line of the log.

    On one line: it may repeat what was written into a spec, a tag or an AMI by anybody.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", one_line(self.message))
