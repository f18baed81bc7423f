"""Enforces concurrency and time limits on in-flight requests."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class InFlightRequests:
    """Tracks in-flight requests and cancels those that take too long.

    A timer per request would cost as much as decoding it; a periodic check of all requests costs almost nothing.

    Args:
        max_requests: maximum requests in flight; enforced by the caller, which also registers its task.
        timeout_s: time limit of a request, from its head to the end of its response.
        on_check: called at each periodic check.
    """

    def __init__(self, max_requests: int, timeout_s: float, on_check: Callable[[], None] = lambda: None) -> None:
        self.max_requests, self.timeout_s, self._on_check = max_requests, timeout_s, on_check
        self.active: dict[asyncio.Task[Any], float] = {}
        """The task of each request, and its start time by `time.perf_counter`."""
        self.overdue: set[asyncio.Task[Any]] = set()
        """Tasks cancelled because they took too long."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check_task: asyncio.Task[None] | None = None

    def get_task(self) -> "asyncio.Task[Any]":
        """Return the running task; on the first call in an event loop, start the periodic check."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self.active.clear()
            self._check_task = loop.create_task(self._run_checks())
        current = asyncio.current_task(loop)
        assert current is not None
        return current

    def cancel_overdue(self) -> None:
        """Cancel requests that have taken too long."""
        now = time.perf_counter()
        for task, started_at in list(self.active.items()):
            if now - started_at > self.timeout_s and task not in self.overdue:
                self.overdue.add(task)
                task.cancel()

    def undo_cancellation(self, error: asyncio.CancelledError) -> None:
        """Undo the cancellation of the running task, if it was overdue, so that it can still send an error response.

        Raises:
            asyncio.CancelledError: the task was cancelled for another reason.
        """
        task = self.get_task()
        if task not in self.overdue:
            raise error
        self.overdue.discard(task)
        self.active.pop(task, None)
        task.uncancel()

    async def _run_checks(self) -> None:
        while True:
            await asyncio.sleep(min(0.5, self.timeout_s / 4))
            self.cancel_overdue()
            self._on_check()

    async def close(self) -> None:
        """Stop the periodic check."""
        if self._check_task is not None and self._loop is asyncio.get_running_loop():
            self._check_task.cancel()
            with suppress(asyncio.CancelledError):
                await self._check_task
