"""Runs calls in threads with a time limit, for calls that may never return."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class BoundedThreads:
    """Runs each call in a thread of its own with a time limit; a call that exceeds it is abandoned.

    Python can't stop a thread, so an abandoned call keeps running.

    Args:
        timeout_s: time limit of a call.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._abandoned: list[threading.Thread] = []

    @property
    def stuck_count(self) -> int:
        """Number of abandoned calls that still run."""
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        return len(self._abandoned)

    async def run(self, call: Callable[[], T]) -> T:
        """Return the result of a call.

        Raises:
            TimeoutError: the call exceeds the time limit. Exceptions of the call itself are raised as they are.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # a running future can't be cancelled, so a late set_result is no error

        def run_call() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  # raised again in the waiting task
                future.set_exception(error)

        thread = threading.Thread(target=run_call, daemon=True)  # daemon: process exit does not wait for it
        thread.start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            self._abandoned.append(thread)
            raise
