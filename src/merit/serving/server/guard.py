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

from merit.serving.app.asgi import Receive
from merit.serving.app.failures import GivenUp
from merit.serving.settings import Settings

CUT_OFF = "the handler is closed"
"""What uvloop says where something is written to a connection that is no more."""
SPARE_FILES = 256
"""Files that a worker needs beside its connections."""


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
    config.http_protocol_class = bounded(told, watch)
    return True


def bounded(told: Settings, watch: "Watch") -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with bounds; connections are watched by `watch`."""
    from merit.serving.server.connection import Bounds, Connection  # where there is no uvicorn, there is none

    bounds = Bounds(told.max_connections, told.max_bytes)
    return type("Bounded", (Connection,), {"bounds": bounds, "watch": watch})


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
