"""A guard on connections, under the requests: slow heads, idle and half-open clients, too many, and a gentle end.

Uvicorn gives a new connection all the time in the world to send its first head, counts no bytes of it, and cuts idle
connections off at its end, though a request may be on its way. BentoML offers none of uvicorn's own limits. So the
protocol that uvicorn has chosen is replaced by a subclass of it before the first connection is made.
"""

import asyncio
import logging
import os
import resource
import time
from contextlib import suppress
from typing import Any

from merit.serving.asgi import Receive
from merit.serving.failures import GivenUp
from merit.serving.settings import Settings

HEAD_BYTES = 64 * 1024
"""The most bytes of a request's head."""
LINGER_SECONDS = 0.5
"""How long an idle connection may still bring a request once the server was told to end."""
PIPELINED = 128
"""Requests of one connection that may wait for the one in hand."""
CUT_OFF = "the handler is closed"
"""What uvloop says where something is written to a connection that is no more."""
SPARE_FILES = 256
"""Files that a worker needs beside its connections."""
FULL = b'{"error":"too many connections (serve.max_connections)"}'
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(FULL), FULL)
)
LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


def guard(receive: Receive, told: Settings) -> bool:
    """Guard the server that has called an app with this `receive` of its lifespan; say whether it could be.

    The lifespan is where an app meets its server before the first connection.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    base = getattr(config, "http_protocol_class", None)
    if config is None or base is None or getattr(base, "__name__", "") != "HttpToolsProtocol":
        logging.getLogger("merit.serving").warning(
            "connections have no guard: the server is not uvicorn with httptools"
        )
        return False
    _allow_files(told.max_connections + SPARE_FILES)
    watch = Watch(told.timeout_seconds)
    _drop_forwarding(config)
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    config.http_protocol_class = _guarded(base, told.max_connections, told.max_bytes, watch)
    return True


def _drop_forwarding(config: Any) -> None:
    """Take away uvicorn's reading of X-Forwarded-For, which nothing here needs, unless it was asked for."""
    app = config.loaded_app
    if type(app).__name__ == "ProxyHeadersMiddleware" and "FORWARDED_ALLOW_IPS" not in os.environ:
        config.loaded_app = app.app


def _allow_files(wanted: int) -> None:
    """Raise the bound on open files, as far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _is_news(record: logging.LogRecord) -> bool:
    """Say whether a line of uvicorn's is about anything but a client that left, or that was cut off."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, GivenUp) and CUT_OFF not in str(error)


class Watch:
    """Looks at all connections now and then, and closes those that bring nothing to an end.

    Args:
        seconds: what the head of a request may take, and what a client may take to read what was sent.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.connections: set[Any] = set()
        self._since: dict[Any, tuple[Any, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to watch, if that has not begun."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watched())

    async def _watched(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._seconds / 4))
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """Close what has stood still since longer ago than it may."""
        before, self._since = self._since, {}
        for connection in list(self.connections):
            state = _still(connection)
            if state is None:
                continue
            known, since = before.get(connection, (None, now))
            if known is not state:
                since = now
            self._since[connection] = (state, since)
            if now - since > self._seconds:
                # Closing waits until what was written is read; who doesn't read is cut off.
                if connection.transport.is_closing() or connection.flow.write_paused:
                    connection.transport.abort()
                else:
                    connection.transport.close()
                    self._since[connection] = (connection.transport, now)


def _still(connection: Any) -> Any:
    """Return what a connection is waiting on, if it is the client's turn and uvicorn has no timer for it."""
    if connection.transport is None:
        return None
    if connection.transport.is_closing():
        return connection.transport
    if connection.flow.write_paused:
        return connection.flow
    cycle = connection.cycle
    if cycle is not None and not cycle.response_complete:
        return None  # a request in hand: `Hands` sees to it
    if connection.timeout_keep_alive_task is not None:
        return None
    return cycle or connection


def _head(headers: list[tuple[bytes, bytes]] | None) -> int:
    """Return the bytes of a request's head."""
    return sum(len(name) + len(value) for name, value in headers or ())


def _guarded(base: Any, most: int, discard: int, watch: Watch) -> type:
    """Return a subclass of uvicorn's protocol that is bounded.

    Args:
        base: uvicorn's.
        most: connections at once.
        discard: bytes of a body that are read and dropped once it was refused.
        watch: what looks for those that stand still.
    """

    class Guarded(base):  # type: ignore[misc]  # chosen at run time
        """A connection, watched."""

        unclaimed = 0
        is_ending = False

        def connection_made(self, transport: Any) -> None:
            """Take a connection, or say that there are too many."""
            super().connection_made(transport)
            # Uvicorn puts its line of each request together also where nobody is to read it.
            if not self.access_logger.isEnabledFor(logging.INFO):
                self.access_log = False
            watch.begin()
            if len(self.connections) > most:
                transport.write(BUSY)
                transport.close()
            watch.connections.add(self)

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget it."""
            watch.connections.discard(self)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            """Pass data on; count what belongs to no request that is in hand."""
            before = self.cycle
            super().data_received(data)
            cycle = self.cycle
            if cycle is before and (cycle is None or cycle.response_complete):
                self._count(len(data))
            else:
                self.unclaimed = 0
                if self.is_ending and cycle is not None:
                    cycle.keep_alive = False
            if len(self.pipeline) > PIPELINED:
                self.transport.abort()
            elif len(data) > HEAD_BYTES and _head(self.headers) > HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(LONG)
                self.transport.close()

        def _count(self, size: int) -> None:
            self.unclaimed += size
            in_head = self.cycle is None or self.scope is not self.cycle.scope
            if self.unclaimed > (HEAD_BYTES if in_head else discard) and not self.transport.is_closing():
                if in_head:
                    self.transport.write(LONG)
                self.transport.close()

        def shutdown(self) -> None:
            """Let a request that is on its way still be answered, then close."""
            self.is_ending = True
            if self.cycle is None or self.cycle.response_complete:
                self.loop.call_later(LINGER_SECONDS, self._close_idle)
            else:
                super().shutdown()

        def _close_idle(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Guarded
