"""Provides a fair queue for a resource that serves one request at a time: callers take turns in rotation."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from merit.serving.app.asgi import RETRY_AFTER
from merit.serving.auth.errors import HttpError


class FairQueue:
    """Grants one turn at a time to callers in rotation; the caller of the last turn comes after all others.

    Args:
        max_per_caller: maximum requests per caller, waiting and active together.

    Example:
        async with queue.turn(caller):
            ...  # no other request has a turn
    """

    def __init__(self, max_per_caller: int) -> None:
        self._max_per_caller = max_per_caller
        self._requests_by_caller: Counter[str] = Counter()
        self._waiting_by_caller: dict[str, deque[asyncio.Future[None]]] = {}
        self._current_caller: str | None = None

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it until the block ends.

        Raises:
            HttpError: 429, the caller has too many requests in the queue.
        """
        if self._requests_by_caller[caller] >= self._max_per_caller:
            message = f"{self._max_per_caller} of your tables are being read already; send fewer at once"
            raise HttpError(429, message, RETRY_AFTER, reason="tables", caller=caller)
        self._requests_by_caller[caller] += 1
        try:
            await self._wait_turn(caller)
            try:
                yield
            finally:
                self._pass_turn()
        finally:
            self._requests_by_caller[caller] -= 1
            if not self._requests_by_caller[caller]:
                del self._requests_by_caller[caller]

    async def _wait_turn(self, caller: str) -> None:
        if self._current_caller is None:
            self._current_caller = caller
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting_by_caller.setdefault(caller, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # the turn was granted just before the cancellation: pass it on
                self._pass_turn()
            raise

    def _pass_turn(self) -> None:
        """Pass the turn to the next caller; to the same one only if no other waits."""
        last_caller, self._current_caller = self._current_caller, None
        if last_caller in self._waiting_by_caller:
            self._waiting_by_caller[last_caller] = self._waiting_by_caller.pop(
                last_caller
            )  # move to the end of the rotation
        while self._waiting_by_caller and self._current_caller is None:
            caller, waiting = next(iter(self._waiting_by_caller.items()))
            if not (future := waiting.popleft()).done():  # a done future belongs to a cancelled request
                self._current_caller = caller
                future.set_result(None)
            if not waiting:
                del self._waiting_by_caller[caller]
