"""What goes through a stream: events as they come, and records as they leave."""

from dataclasses import dataclass
from typing import Any

NOT_JSON, BAD_KEY, BAD_ROW, FAILED, KILLED = "not_json", "bad_key", "bad_row", "failed", "killed"
CAUSES = (NOT_JSON, BAD_KEY, BAD_ROW, FAILED, KILLED)
"""Why an event goes to the dead letters: its text, its key, its columns, an error of scoring, the end of a process."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the broker gave it.

    Args:
        raw: its bytes.
        place: where the broker has it, which names it if nothing else does.
        again: whether it was given to a worker before.
        handle: what it is acknowledged by; the broker's own.
    """

    raw: bytes
    place: str
    again: bool = False
    handle: Any = None


@dataclass(frozen=True, slots=True)
class Record:
    """What an event becomes: an answer, or a dead letter, which is the event's own bytes.

    Args:
        key: names the event; the answer to an event that comes twice has the same.
        body: JSON, or the event.
        cause: of a dead letter, one of CAUSES; empty for an answer.
        reason: of a dead letter, in one line.
    """

    key: str
    body: bytes
    cause: str = ""
    reason: str = ""


def dead(event: Event, cause: str, reason: str, key: str | None = None) -> Record:
    """Return the dead letter of an event."""
    return Record(key or event.place, event.raw, cause, " ".join(reason.split())[:500])
