"""What goes through a stream: events as they come, and records as they leave."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

NOT_JSON, BAD_KEY, BAD_ROW, FAILED, KILLED = "not_json", "bad_key", "bad_row", "failed", "killed"
CAUSES = (NOT_JSON, BAD_KEY, BAD_ROW, FAILED, KILLED)
"""Why an event goes to the dead letters: its text, its key, its columns, an error of scoring, the end of a process."""
REASON = 4000
"""Characters of a reason, which may tell many problems."""
SMALL = 1024
"""Bytes that are kept of an event of which a broker takes less than the whole, but doesn't tell how much."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the broker gave it.

    Args:
        raw: its bytes.
        place: where the broker has it, which names it if nothing else does.
        again: whether it was given to a worker before.
        handle: what it is acknowledged by; the broker's own.
        fault: why there are no bytes, if what came holds no event.
    """

    raw: bytes
    place: str
    again: bool = False
    handle: Any = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What an event becomes: an answer, or a dead letter, which is the event's own bytes.

    Args:
        key: names the event; the answer to an event that comes twice has the same.
        body: JSON, or the event.
        cause: of a dead letter, one of CAUSES; empty for an answer.
        reason: of a dead letter, in one line.
        size: bytes of the whole event, where a dead letter's body was cut; else 0.
        digest: sha256 of the whole event, where it was cut.
    """

    key: str
    body: bytes
    cause: str = ""
    reason: str = ""
    size: int = 0
    digest: str = ""


def dead(event: Event, cause: str, reason: str, key: str | None = None) -> Record:
    """Return the dead letter of an event."""
    told = " ".join(reason.split())
    return Record(key or event.place, event.raw, cause, told if len(told) <= REASON else told[: REASON - 3] + "...")


def joined(problems: Sequence[str]) -> str:
    """Return problems as one reason: as many as it has room for, and how many more there are."""
    told, room = problems[0], REASON - 40
    for place, problem in enumerate(problems[1:], 1):
        if len(told) + len(problem) > room:
            return f"{told}; and {len(problems) - place} more"
        told += f"; {problem}"
    return told


def cut(record: Record, most: int) -> Record:
    """Return a dead letter whose body has at most `most` bytes; what was cut is told by its size and its digest."""
    if len(record.body) <= most:
        return record
    size, digest = record.size, record.digest
    if not digest:
        size, digest = len(record.body), f"sha256:{hashlib.sha256(record.body).hexdigest()}"
    return replace(record, body=record.body[: max(most, 0)], size=size, digest=digest)


def headers(record: Record, prefix: str) -> dict[str, str]:
    """Return what a dead letter tells beside its body, each name behind a prefix."""
    told = {f"{prefix}cause": record.cause, f"{prefix}reason": record.reason}
    if record.digest:
        told |= {f"{prefix}size": str(record.size), f"{prefix}digest": record.digest}
    return told
