"""Work in threads that may never come back."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Runs calls in threads of their own, each for a bounded time; one that takes longer is left behind.

    Args:
        seconds: how long a call may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._late: list[threading.Thread] = []

    @property
    def stuck(self) -> int:
        """How many calls took too long and have not come back since."""
        self._late = [thread for thread in self._late if thread.is_alive()]
        return len(self._late)

    async def run(self, call: Callable[[], T]) -> T:
        """Return what a call returns.

        Raises:
            TimeoutError: it takes too long; anything else: it raised that.
        """
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # from here on it takes a result, though nobody may wait for it any more

        def work() -> None:
            try:
                done.set_result(call())
            except BaseException as error:  # noqa: BLE001  # whoever waits gets it
                done.set_exception(error)

        thread = threading.Thread(target=work, daemon=True)  # the end of the process waits for none
        thread.start()
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(done)
        except TimeoutError:
            self._late.append(thread)
            raise
