"""The requests in hand: how many there may be, and how long one may take."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Hands:
    """Counts requests in hand and ends those that take too long.

    A timer for each would cost as much as its decoding; a look at all of them now and then costs nothing.

    Args:
        most: requests in hand at once.
        seconds: what one may take from its head to its answer's end.
        beat: called at each look.
    """

    def __init__(self, most: int, seconds: float, beat: Callable[[], None] = lambda: None) -> None:
        self.most, self.seconds, self._beat = most, seconds, beat
        self.held: dict[asyncio.Task[Any], float] = {}
        """The task of each request, and the clock (`time.perf_counter`) when it began."""
        self.overdue: set[asyncio.Task[Any]] = set()
        """Those that were cancelled because they took too long."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.Task[None] | None = None

    def task(self) -> "asyncio.Task[Any]":
        """Return the running task; the first time in an event loop, begin to watch."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self.held.clear()
            self._watch = loop.create_task(self._watched())
        found = asyncio.current_task(loop)
        assert found is not None
        return found

    def sweep(self) -> None:
        """Cancel what has taken too long."""
        now = time.perf_counter()
        for task, began in list(self.held.items()):
            if now - began > self.seconds and task not in self.overdue:
                self.overdue.add(task)
                task.cancel()

    def forgive(self, error: asyncio.CancelledError) -> None:
        """Let the running task go on, if it was cancelled because it took too long.

        Raises:
            asyncio.CancelledError: somebody else has cancelled it.
        """
        task = self.task()
        if task not in self.overdue:
            raise error
        self.overdue.discard(task)
        self.held.pop(task, None)
        task.uncancel()

    async def _watched(self) -> None:
        while True:
            await asyncio.sleep(min(0.5, self.seconds / 4))
            self.sweep()
            self._beat()

    async def close(self) -> None:
        """Watch no more."""
        if self._watch is not None and self._loop is asyncio.get_running_loop():
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
