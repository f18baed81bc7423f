"""Protects a server at the connection level: slow heads, idle and half-open clients, too many connections, shutdown.

Uvicorn limits neither the time nor the bytes of a new connection's first head, and at shutdown it closes idle
connections although a request may be on its way. BentoML exposes none of uvicorn's own limits. Therefore uvicorn's
protocol class is replaced by a subclass before the first connection is made.
"""

import asyncio
import logging
import os
import resource
import time
from contextlib import suppress
from typing import Any

from merit.serving.app.asgi import Receive
from merit.serving.app.failures import GivenUp
from merit.serving.settings import Settings

CUT_OFF = "the handler is closed"
"""Text of uvloop's error when writing to a closed connection."""
SPARE_FILES = 256
"""Open files a worker needs in addition to its connections."""


def guard(receive: Receive, told: Settings) -> bool:
    """Install the protection in the server that runs this ASGI lifespan; return whether the server supports it.

    The server's config is reached through `receive`, in the lifespan, which runs before the first connection.
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
    config.http_protocol_class = bounded(told, watch)
    return True


def bounded(told: Settings, watch: "Watch") -> type[asyncio.Protocol]:
    """Return uvicorn's protocol class with limits and a watchdog for its connections."""
    from merit.serving.server.connection import Bounds, Connection  # needs uvicorn, which another server may not have

    bounds = Bounds(told.max_connections, told.max_bytes)
    return type("Bounded", (Connection,), {"bounds": bounds, "watch": watch})


def _drop_forwarding(config: Any) -> None:
    """Remove uvicorn's X-Forwarded-For middleware, which nothing needs, unless FORWARDED_ALLOW_IPS asks for it."""
    app = config.loaded_app
    if type(app).__name__ == "ProxyHeadersMiddleware" and "FORWARDED_ALLOW_IPS" not in os.environ:
        config.loaded_app = app.app


def _allow_files(wanted: int) -> None:
    """Raise the soft limit on open files, up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a log record of uvicorn is relevant: not about a disconnected client or an aborted connection."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, GivenUp) and CUT_OFF not in str(error)


class Watch:
    """Periodically closes connections that make no progress.

    Args:
        seconds: time limit for sending a request's head and for reading a response.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.connections: set[Any] = set()
        self._since: dict[Any, tuple[Any, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the periodic check, if it is not running."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._watched())

    async def _watched(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._seconds / 4))
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """Close connections that have waited on the client for too long."""
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
                # A close first flushes what was written; a client that doesn't read has to be aborted.
                if connection.transport.is_closing() or connection.flow.write_paused:
                    connection.transport.abort()
                else:
                    connection.transport.close()
                    self._since[connection] = (connection.transport, now)


def _still(connection: Any) -> Any:
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
