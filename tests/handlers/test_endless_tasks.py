"""Tasks that must not end: the sweep, and what follows lists and the access file."""

import asyncio

from gilder.handlers.controller import _kept_up


def test_what_failed_is_begun_again() -> None:
    turns: list[int] = []

    async def endless() -> None:
        turns.append(1)
        if len(turns) < 3:
            raise KeyError("gone")

    asyncio.run(_kept_up(endless))
    assert len(turns) == 3
