"""Writes the service's JSON log lines to standard error; they never contain secrets or values of rows."""

import os
import select
import sys
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

PER_MINUTE = 60
"""Maximum log lines per kind and minute; the next written line of a kind reports how many were suppressed."""


class Lines:
    """Writes JSON log lines, rate limited per kind.

    Args:
        most: maximum lines per kind and minute.
        **always: fields added to every line, such as the model.
    """

    def __init__(self, most: int = PER_MINUTE, **always: Any) -> None:
        self._most = most
        self._always = always
        self._kinds: dict[tuple[str, str], list[float]] = {}  # current minute, lines in it, lines suppressed since

    def tell(self, event: str, kind: str = "", *, level: str = "info", most: int | None = None, **more: Any) -> None:
        """Write a line, unless the limit of its kind is reached for this minute.

        Args:
            event: name of the event, such as `refused`.
            kind: rate-limit key within the event, such as the error; the caller keeps the number of kinds bounded.
            level: info, warning or error.
            most: maximum lines per minute for this call; None uses the limit of the instance.
            **more: further fields of the line.
        """
        counts = self._kinds.setdefault((event, kind), [0.0, 0, 0])
        if (minute := time.monotonic() // 60) != counts[0]:
            counts[0], counts[1] = minute, 0
        if counts[1] >= (self._most if most is None else most):
            counts[2] += 1
            return
        left_out = {"left_out": int(counts[2])} if counts[2] else {}
        counts[1], counts[2] = counts[1] + 1, 0
        write({"level": level, "event": event, **self._always, **more, **left_out})

    def answered(self, request_id: str, route: str, status: int, *, seconds: float, rows: int, who: str) -> None:
        """Write the access log line of a request; these lines are not rate limited."""
        told = {"request_id": request_id, "route": route, "status": status, "ms": round(seconds * 1e3, 3)}
        write({"level": "info", "event": "answered", **self._always, **told, "rows": rows, "caller": who})


def write(values: dict[str, Any]) -> None:
    """Write a line with a single system call; drop it if standard error is closed or its pipe is full."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        line = msgspec.json.encode({"time": now, **values, "pid": os.getpid()}, enc_hook=str) + b"\n"
        if _takes(sys.stderr.fileno()):
            sys.stderr.flush()
            os.write(sys.stderr.fileno(), line)
    except (OSError, ValueError):  # standard error is closed or is not a file
        return


def _takes(descriptor: int) -> bool:
    """Return whether a write would not block: a full pipe must not delay requests."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(0))
