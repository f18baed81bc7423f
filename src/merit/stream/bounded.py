"""Runs calls in threads with a time limit, for calls that may never return."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Runs each call in a thread of its own with a time limit; a call that exceeds it is abandoned.

    Python can't stop a thread, so an abandoned call keeps running.

    Args:
        seconds: time limit of a call.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._late: list[threading.Thread] = []

    @property
    def stuck(self) -> int:
        """Number of abandoned calls that still run."""
        self._late = [thread for thread in self._late if thread.is_alive()]
        return len(self._late)

    async def run(self, call: Callable[[], T]) -> T:
        """Return the result of a call.

        Raises:
            TimeoutError: the call exceeds the time limit. Exceptions of the call itself are raised as they are.
        """
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # a running future can't be cancelled, so a late set_result is no error

        def work() -> None:
            try:
                done.set_result(call())
            except BaseException as error:  # noqa: BLE001  # raised again in the waiting task
                done.set_exception(error)

        thread = threading.Thread(target=work, daemon=True)  # daemon: process exit does not wait for it
        thread.start()
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(done)
        except TimeoutError:
            self._late.append(thread)
            raise
