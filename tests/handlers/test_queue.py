"""The work queue: deduplication, one worker per key, pauses."""

import asyncio
import time

from gilder.handlers.queue import FIRST_BACKOFF, LAST_BACKOFF, WorkQueue


def test_a_key_added_twice_is_taken_once_with_the_later_since() -> None:
    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue()
        await queue.add("a", 1.0)
        await queue.add("a", 5.0)
        await queue.add("a", 3.0)
        assert await queue.take() == ("a", 5.0)
        assert len(queue) == 1

    asyncio.run(run())


def test_a_key_being_worked_on_waits_until_it_is_done() -> None:
    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue()
        await queue.add("a", 1.0)
        assert await queue.take() == ("a", 1.0)
        await queue.add("a", 2.0)
        await queue.add("b", 3.0)
        assert await queue.take() == ("b", 3.0)  # overtakes the one that is in work
        waiting = asyncio.create_task(queue.take())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await queue.done("a")
        assert await waiting == ("a", 2.0)

    asyncio.run(run())


def test_the_shortest_pause_counts_and_comes_once() -> None:
    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue()
        began = time.monotonic()
        await queue.add_later("a", 30.0, began)
        await queue.add_later("a", 0.05, began)
        await queue.add_later("a", 60.0, began)
        key, since = await queue.take() or ("", 0.0)
        assert key == "a"
        assert since == began
        assert time.monotonic() >= began + 0.05
        await queue.done("a")
        again = asyncio.create_task(queue.take())
        await asyncio.sleep(0.1)
        assert not again.done()
        again.cancel()

    asyncio.run(run())


def test_backoff_doubles_to_a_limit_and_is_forgiven() -> None:
    queue: WorkQueue[str] = WorkQueue()
    pauses = [queue.backoff("a") for _ in range(20)]
    assert pauses[:4] == [FIRST_BACKOFF, 2 * FIRST_BACKOFF, 4 * FIRST_BACKOFF, 8 * FIRST_BACKOFF]
    assert pauses[-1] == LAST_BACKOFF
    assert queue.backoff("b") == FIRST_BACKOFF
    queue.forgive("a")
    assert queue.backoff("a") == FIRST_BACKOFF


def test_closing_ends_every_taker() -> None:
    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue()
        takers = [asyncio.create_task(queue.take()) for _ in range(3)]
        await asyncio.sleep(0)
        await queue.close()
        assert await asyncio.gather(*takers) == [None, None, None]

    asyncio.run(run())


def test_groups_take_turns() -> None:
    async def run() -> None:
        queue: WorkQueue[str] = WorkQueue(lambda key: key[0])
        for key in ("a1", "a2", "a3", "a4", "b1", "c1", "c2"):
            await queue.add(key, 0.0)
        taken = [await queue.take() for _ in range(7)]
        assert [t[0] for t in taken if t] == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
        assert len(queue) == 7
        for t in taken:
            await queue.done(t[0] if t else "")
        assert len(queue) == 0

    asyncio.run(run())
