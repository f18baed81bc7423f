"""Writes the service's JSON log lines to standard error; they never contain secrets or values of rows."""

import io
import os
import select
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

MAX_LINES_PER_MINUTE = 60
"""Maximum log lines per kind and minute; the next written line of a kind reports how many were suppressed."""


class RateLimitedLogger:
    """Writes JSON log lines, rate limited per kind.

    Args:
        max_per_minute: maximum lines per kind and minute.
        **common_fields: fields added to every line, such as the model.
    """

    def __init__(self, max_per_minute: int = MAX_LINES_PER_MINUTE, **common_fields: Any) -> None:
        self._max_per_minute = max_per_minute
        self._common_fields = common_fields
        self._counts_by_kind: dict[
            tuple[str, str], list[float]
        ] = {}  # current minute, lines in it, lines suppressed since

    def log(
        self, event: str, kind: str = "", *, level: str = "info", max_per_minute: int | None = None, **fields: Any
    ) -> None:
        """Write a line, unless the limit of its kind is reached for this minute.

        Args:
            event: name of the event, such as `refused`.
            kind: rate-limit key within the event, such as the error; the caller keeps the number of kinds bounded.
            level: info, warning or error.
            max_per_minute: maximum lines per minute for this call; None uses the limit of the instance.
            **fields: further fields of the line.
        """
        counts = self._counts_by_kind.setdefault((event, kind), [0.0, 0, 0])
        if (minute := time.monotonic() // 60) != counts[0]:
            counts[0], counts[1] = minute, 0
        if counts[1] >= (self._max_per_minute if max_per_minute is None else max_per_minute):
            counts[2] += 1
            return
        suppressed = {"left_out": int(counts[2])} if counts[2] else {}
        counts[1], counts[2] = counts[1] + 1, 0
        write_log_line({"level": level, "event": event, **self._common_fields, **fields, **suppressed})

    def log_request(self, request_id: str, route: str, status: int, *, seconds: float, rows: int, caller: str) -> None:
        """Write the access log line of a request; these lines are not rate limited."""
        fields = {"request_id": request_id, "route": route, "status": status, "ms": round(seconds * 1e3, 3)}
        write_log_line(
            {"level": "info", "event": "answered", **self._common_fields, **fields, "rows": rows, "caller": caller}
        )


class JsonStream(io.TextIOBase):
    """Writes each line of a text stream as a JSON log line, for what Python and libraries print on standard error.

    Args:
        stream: the stream whose file is written.
    """

    encoding, errors = "utf-8", "replace"

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._incomplete_line = stream, ""

    def fileno(self) -> int:
        """Return the descriptor of the stream's file."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Write the lines that are complete; a progress bar ends its by a carriage return."""
        *lines, self._incomplete_line = (self._incomplete_line + text).replace("\r", "\n").split("\n")
        for line in filter(str.strip, lines):
            write_log_line({"level": "info", "logger": "stderr", "message": line})
        return len(text)

    def write_rest(self) -> None:
        """Write a last line that no line break ended."""
        self.write("\n")


def write_log_line(fields: dict[str, Any]) -> None:
    """Write a line with a single system call; drop it if standard error is closed or its pipe is full."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        line = msgspec.json.encode({"time": now, **fields, "pid": os.getpid()}, enc_hook=str) + b"\n"
        if _is_writable(sys.stderr.fileno()):
            sys.stderr.flush()
            os.write(sys.stderr.fileno(), line)
    except (OSError, ValueError):  # standard error is closed or is not a file
        return


def _is_writable(descriptor: int) -> bool:
    """Return whether a write would not block: a full pipe must not delay requests."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(0))
