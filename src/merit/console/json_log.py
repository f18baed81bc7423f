"""What the service says of itself: lines of JSON on standard error, without a secret and without a value of a row."""

import os
import select
import sys
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

PER_MINUTE = 60
"""Lines of one kind in a minute; those on top are counted, and the next line of that kind says how many there were."""


class Lines:
    """Writes lines, of each kind no more than so many a minute.

    Args:
        most: lines of one kind in a minute.
        **always: what stands in every line, such as the model.
    """

    def __init__(self, most: int = PER_MINUTE, **always: Any) -> None:
        self._most = most
        self._always = always
        self._kinds: dict[tuple[str, str], list[float]] = {}  # minute, lines in it, left out since the last

    def tell(self, event: str, kind: str = "", *, level: str = "info", most: int | None = None, **more: Any) -> None:
        """Write a line, unless there were enough of its kind in this minute.

        Args:
            event: what happened, in a word, such as `refused`.
            kind: what is counted apart from the rest of that event, such as the error; bounded by who calls.
            level: info, warning or error.
            most: lines of this kind in a minute, where that is not what it is for all.
            **more: what else is known of it.
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
        """Write the line of a request, where the access log is on; each has one."""
        told = {"request_id": request_id, "route": route, "status": status, "ms": round(seconds * 1e3, 3)}
        write({"level": "info", "event": "answered", **self._always, **told, "rows": rows, "caller": who})


def write(values: dict[str, Any]) -> None:
    """Write a line in one piece; where nobody can read it, or whoever reads stands still, nothing happens."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        line = msgspec.json.encode({"time": now, **values, "pid": os.getpid()}, enc_hook=str) + b"\n"
        if _takes(sys.stderr.fileno()):
            sys.stderr.flush()
            os.write(sys.stderr.fileno(), line)
    except (OSError, ValueError):  # closed, or no file at all
        return


def _takes(descriptor: int) -> bool:
    """Say whether a line can be written at once: those who answer must not wait for a full pipe."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(0))
