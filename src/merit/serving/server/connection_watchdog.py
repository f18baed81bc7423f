"""Closes connections that make no progress: slow heads, half-open clients, and those that don't read the response."""

import asyncio
import time
from typing import Any


class ConnectionWatchdog:
    """Periodically closes connections that make no progress.

    Args:
        timeout_s: time limit for sending a request's head and for reading a response.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.connections: set[Any] = set()
        self._waiting_since: dict[Any, tuple[Any, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the periodic check, if it is not running."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run_checks())

    async def _run_checks(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._timeout_s / 4))
            self.close_stalled(time.monotonic())

    def close_stalled(self, now: float) -> None:
        """Close connections that have waited on the client for too long."""
        previous, self._waiting_since = self._waiting_since, {}
        for connection in list(self.connections):
            state = _find_wait_state(connection)
            if state is None:
                continue
            previous_state, since = previous.get(connection, (None, now))
            if previous_state is not state:
                since = now
            self._waiting_since[connection] = (state, since)
            if now - since > self._timeout_s:
                # A close first flushes what was written; a client that doesn't read has to be aborted.
                if connection.transport.is_closing() or connection.flow.write_paused:
                    connection.transport.abort()
                else:
                    connection.transport.close()
                    self._waiting_since[connection] = (connection.transport, now)


def _find_wait_state(connection: Any) -> Any:
    """Return an object that identifies what a connection waits for from the client; None if it doesn't.

    None also if uvicorn's own timer covers the wait. The same object at two checks means no progress.
    """
    if connection.transport is None:
        return None
    if connection.transport.is_closing():
        return connection.transport
    if connection.flow.write_paused:
        return connection.flow
    cycle = connection.cycle
    if cycle is not None and not cycle.response_complete:
        return None  # a request in flight: its own time limit applies
    if connection.timeout_keep_alive_task is not None:
        return None
    return cycle or connection
