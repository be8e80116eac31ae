"""The demonstration tells a break that was healed at once from one that never was."""

from collections.abc import Callable
from typing import Any

from rich.console import Console

from gilder.cli.sandbox import NOTHING_TOLD, _heal
from gilder.sandbox.breakage import Breakage


class View:
    """Shows that a drift was corrected once `corrected` says so."""

    def __init__(self, corrected: Callable[[], bool]) -> None:
        self._corrected = corrected

    def drifts(self) -> dict[str, int]:
        return {}

    def told_since(self, before: dict[str, int]) -> str:  # noqa: ARG002
        return "ImageShare team: 1 drift corrected" if self._corrected() else NOTHING_TOLD

    def table(self, title: str) -> str:
        return title


def heal(do: Callable[[list[str]], Any], *, corrected: bool) -> str:
    there = ["whole"]
    breakage = Breakage(
        "break it", lambda: do(there), lambda: there == ["broken"], lambda: there == ["whole"]
    )
    view: Any = View(lambda: corrected)
    return _heal(Console(quiet=True), view, breakage)


def test_what_was_healed_before_it_was_looked_at_counts_as_healed() -> None:
    assert heal(lambda _: None, corrected=True) == ""


def test_what_never_broke_is_told() -> None:
    assert heal(lambda _: None, corrected=False) == "AWS did not change"
