"""Protects a server at the connection level: slow heads, idle and half-open clients, too many connections, shutdown.

Uvicorn limits neither the time nor the bytes of a new connection's first head, and at shutdown it closes idle
connections although a request may be on its way. BentoML exposes none of uvicorn's own limits. Therefore uvicorn's
protocol class is replaced by a subclass before the first connection is made.
"""

import asyncio
import logging
import os
import resource
from contextlib import suppress

from merit.serving.app.asgi import Receive
from merit.serving.app.error_responses import ResponseAborted
from merit.serving.server.connection_watchdog import ConnectionWatchdog
from merit.serving.settings import Settings

CLOSED_TRANSPORT_TEXT = "the handler is closed"
"""Text of uvloop's error when writing to a closed connection."""
SPARE_FILES = 256
"""Open files a worker needs in addition to its connections."""


def guard_connections(receive: Receive, settings: Settings) -> bool:
    """Install the protection in the server that runs this ASGI lifespan; return whether the server supports it.

    The server's config is reached through `receive`, in the lifespan, which runs before the first connection.
    """
    try:
        from merit.serving.server import uvicorn_adapter

        config = uvicorn_adapter.find_config(receive)
    except ImportError:  # without uvicorn or httptools
        config = None
    if config is None:
        logging.getLogger("merit.serving").warning(
            "connections have no guard: the server is not uvicorn with httptools"
        )
        return False
    _raise_file_limit(settings.max_connections + SPARE_FILES)
    watchdog = ConnectionWatchdog(settings.timeout_seconds)
    if "FORWARDED_ALLOW_IPS" not in os.environ:  # nothing needs X-Forwarded-For
        uvicorn_adapter.drop_forwarding(config)
    logging.getLogger(uvicorn_adapter.ERROR_LOGGER).addFilter(_is_relevant)
    config.http_protocol_class = create_protocol_class(settings, watchdog)
    return True


def create_protocol_class(settings: Settings, watchdog: ConnectionWatchdog) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol class with limits and a watchdog for its connections."""
    from merit.serving.server.connection import (
        Connection,
        ConnectionLimits,
    )  # needs uvicorn, which another server may not have

    limits = ConnectionLimits(settings.max_connections, settings.max_bytes)
    return type("Bounded", (Connection,), {"limits": limits, "watchdog": watchdog})


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
