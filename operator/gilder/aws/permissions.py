"""Which IAM actions the code really uses, recorded beside each call."""

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

_USED: dict[str, tuple[str, ...]] = {}


def needs(*actions: str) -> Callable[[F], F]:
    """Record the IAM actions that a function's AWS calls need."""

    def mark(function: F) -> F:
        _USED[f"{function.__module__}.{function.__qualname__}"] = actions
        return function

    return mark


def used() -> dict[str, tuple[str, ...]]:
    """Function to IAM actions, for every function of gilder.aws that calls AWS."""
    return dict(sorted(_USED.items()))
