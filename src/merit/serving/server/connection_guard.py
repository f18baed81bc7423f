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
from merit.serving.app.error_responses import ResponseAborted
from merit.serving.settings import Settings

CLOSED_TRANSPORT_TEXT = "the handler is closed"
"""Text of uvloop's error when writing to a closed connection."""
SPARE_FILES = 256
"""Open files a worker needs in addition to its connections."""


def guard_connections(receive: Receive, settings: Settings) -> bool:
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
    _raise_file_limit(settings.max_connections + SPARE_FILES)
    watchdog = ConnectionWatchdog(settings.timeout_seconds)
    _drop_forwarding(config)
    logging.getLogger("uvicorn.error").addFilter(_is_relevant)
    config.http_protocol_class = create_protocol_class(settings, watchdog)
    return True


def create_protocol_class(settings: Settings, watchdog: "ConnectionWatchdog") -> type[asyncio.Protocol]:
    """Return uvicorn's protocol class with limits and a watchdog for its connections."""
    from merit.serving.server.connection import (
        Connection,
        ConnectionLimits,
    )  # needs uvicorn, which another server may not have

    limits = ConnectionLimits(settings.max_connections, settings.max_bytes)
    return type("Bounded", (Connection,), {"limits": limits, "watchdog": watchdog})


def _drop_forwarding(config: Any) -> None:
    """Remove uvicorn's X-Forwarded-For middleware, which nothing needs, unless FORWARDED_ALLOW_IPS asks for it."""
    app = config.loaded_app
    if type(app).__name__ == "ProxyHeadersMiddleware" and "FORWARDED_ALLOW_IPS" not in os.environ:
        config.loaded_app = app.app


def _raise_file_limit(required: int) -> None:
    """Raise the soft limit on open files, up to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = required if hard == resource.RLIM_INFINITY else min(required, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _is_relevant(record: logging.LogRecord) -> bool:
    """Return whether a log record of uvicorn is relevant: not about a disconnected client or an aborted connection."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, ResponseAborted) and CLOSED_TRANSPORT_TEXT not in str(error)


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
