"""Provides a fair queue for a resource that serves one request at a time: callers take turns in rotation."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from merit.serving.app.asgi import AGAIN
from merit.serving.auth.methods import Refusal


class FairQueue:
    """Grants one turn at a time to callers in rotation; the caller of the last turn comes after all others.

    Args:
        most: maximum requests per caller, waiting and active together.

    Example:
        async with queue.turn(caller):
            ...  # no other request has a turn
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._requests: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._current: str | None = None

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it until the block ends.

        Raises:
            Refusal: 429, the caller has too many requests in the queue.
        """
        if self._requests[caller] >= self._most:
            told = f"{self._most} of your tables are being read already; send fewer at once"
            raise Refusal(429, told, AGAIN, why="tables", who=caller)
        self._requests[caller] += 1
        try:
            await self._begin(caller)
            try:
                yield
            finally:
                self._end()
        finally:
            self._requests[caller] -= 1
            if not self._requests[caller]:
                del self._requests[caller]

    async def _begin(self, caller: str) -> None:
        if self._current is None:
            self._current = caller
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # the turn was granted just before the cancellation: pass it on
                self._end()
            raise

    def _end(self) -> None:
        """Pass the turn to the next caller; to the same one only if no other waits."""
        last, self._current = self._current, None
        if last in self._waiting:
            self._waiting[last] = self._waiting.pop(last)  # move to the end of the rotation
        while self._waiting and self._current is None:
            caller, queue = next(iter(self._waiting.items()))
            if not (future := queue.popleft()).done():  # a done future belongs to a cancelled request
                self._current = caller
                future.set_result(None)
            if not queue:
                del self._waiting[caller]
