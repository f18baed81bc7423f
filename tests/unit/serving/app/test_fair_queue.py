import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from merit.serving.app.fair_queue import FairQueue
from merit.serving.auth.errors import HttpError


class Callers:
    """Callers that wait for a turn and note it, in `turns`."""

    def __init__(self, most: int) -> None:
        self.queue, self.turns = FairQueue(most), ""
        self.held = asyncio.Event()

    async def ask(self, caller: str) -> None:
        """Have a turn, once `held` is set."""
        async with self.queue.turn(caller):
            self.turns += caller
            await self.held.wait()

    async def start(self, callers: str) -> list["asyncio.Task[None]"]:
        """Start requests, in this order."""
        tasks = []
        for caller in callers:
            tasks.append(asyncio.create_task(self.ask(caller)))
            await asyncio.sleep(0)
        return tasks

    async def finish(self) -> str:
        """Let all have their turns; return who had them."""
        self.held.set()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
        return self.turns


def _run(work: Callable[[Callers], Awaitable[Any]], most: int = 9) -> None:
    async def live() -> None:
        await work(Callers(most))

    asyncio.run(live())


@pytest.mark.parametrize(
    ("order", "turns"),
    [("a", "a"), ("aaa", "aaa"), ("aaaab", "abaaa"), ("aaabbcc", "abcabca"), ("abab", "abab"), ("aabbc", "abcab")],
)
def test_callers_have_turns_in_rotation(order: str, turns: str) -> None:
    async def work(callers: Callers) -> None:
        await callers.start(order)
        assert callers.turns == order[0]  # the others wait
        assert await callers.finish() == turns

    _run(work)


def test_who_gives_up_takes_no_turn() -> None:
    async def work(callers: Callers) -> None:
        _, second, third, _ = await callers.start("aabc")
        for each in (second, third):
            each.cancel()
        await asyncio.sleep(0)
        assert await callers.finish() == "ac"

    _run(work)


def test_who_gives_up_when_the_turn_comes_passes_it_on() -> None:
    async def work(callers: Callers) -> None:
        first, second, _ = await callers.start("abc")
        first.cancel()
        await asyncio.sleep(0)  # its turn ends, and the second has it, but has not begun
        second.cancel()
        assert await callers.finish() == "ac"

    _run(work)


def test_a_turn_that_fails_ends() -> None:
    async def work(callers: Callers) -> None:
        with pytest.raises(KeyError):
            async with callers.queue.turn("a"):
                raise KeyError
        await callers.start("ab")
        assert await callers.finish() == "ab"

    _run(work)


def test_requests_that_ended_are_counted_no_more_and_no_less() -> None:
    async def work(callers: Callers) -> None:
        callers.held.set()
        await callers.ask("a")
        callers.held.clear()
        first, _ = await callers.start("aa")
        first.cancel()
        await asyncio.sleep(0)  # one is left, so that one more may come
        _, over = await callers.start("aa")
        with pytest.raises(HttpError, match="2 of your tables"):
            await over
        assert await callers.finish() == "aaaa"
        assert callers.queue._requests_by_caller == {}, "callers that are gone are kept"

    _run(work, 2)


def test_more_requests_of_a_caller_than_may_wait_are_refused_and_those_of_others_are_not() -> None:
    async def work(callers: Callers) -> None:
        *_, over, _ = await callers.start("aaab")
        with pytest.raises(HttpError, match="2 of your tables are being read already; send fewer at once") as caught:
            await over
        assert (caught.value.status, caught.value.headers) == (429, [(b"retry-after", b"1")])
        assert await callers.finish() == "aba"
        await callers.ask("a")

    _run(work, 2)
