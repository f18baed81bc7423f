"""Enforces concurrency and time limits on in-flight requests."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Hands:
    """Tracks in-flight requests and cancels those that take too long.

    A timer per request would cost as much as decoding it; a periodic check of all requests costs almost nothing.

    Args:
        most: maximum requests in flight; enforced by the caller, which also registers its task.
        seconds: time limit of a request, from its head to the end of its response.
        beat: called at each periodic check.
    """

    def __init__(self, most: int, seconds: float, beat: Callable[[], None] = lambda: None) -> None:
        self.most, self.seconds, self._beat = most, seconds, beat
        self.held: dict[asyncio.Task[Any], float] = {}
        """The task of each request, and its start time by `time.perf_counter`."""
        self.overdue: set[asyncio.Task[Any]] = set()
        """Tasks cancelled because they took too long."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.Task[None] | None = None

    def task(self) -> "asyncio.Task[Any]":
        """Return the running task; on the first call in an event loop, start the periodic check."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self.held.clear()
            self._watch = loop.create_task(self._watched())
        found = asyncio.current_task(loop)
        assert found is not None
        return found

    def sweep(self) -> None:
        """Cancel requests that have taken too long."""
        now = time.perf_counter()
        for task, began in list(self.held.items()):
            if now - began > self.seconds and task not in self.overdue:
                self.overdue.add(task)
                task.cancel()

    def forgive(self, error: asyncio.CancelledError) -> None:
        """Undo the cancellation of the running task, if it was overdue, so that it can still send an error response.

        Raises:
            asyncio.CancelledError: the task was cancelled for another reason.
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
        """Stop the periodic check."""
        if self._watch is not None and self._loop is asyncio.get_running_loop():
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
