"""Data types of a stream: events that the broker delivers, and records (predictions or dead letters) to publish."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

NOT_JSON, BAD_KEY, BAD_ROW, FAILED, KILLED = "not_json", "bad_key", "bad_row", "failed", "killed"
CAUSES = (NOT_JSON, BAD_KEY, BAD_ROW, FAILED, KILLED)
"""Causes of dead letters: not JSON, invalid key, invalid row, an error of scoring, the end of the scoring process."""
REASON = 4000
"""Characters of a reason, which may list many problems."""
SMALL = 1024
"""Bytes of an event in a dead letter if the broker refuses the complete event as too large, without a limit."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the broker delivered it.

    Args:
        raw: its bytes.
        place: its position in the broker, which is its key if it has no other.
        again: whether it may have been delivered before.
        handle: the object by which the broker's client acknowledges it.
        fault: why the message holds no event; empty if it holds one.
    """

    raw: bytes
    place: str
    again: bool = False
    handle: Any = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """The result of an event: a prediction, or a dead letter with the bytes of the event.

    Args:
        key: the id of the event; a redelivered event gets the same.
        body: the prediction as JSON, or the bytes of the event.
        cause: of a dead letter, one of CAUSES; empty for a prediction.
        reason: of a dead letter, in one line.
        size: bytes of the complete event, if the body of a dead letter was cut; else 0.
        digest: sha256 of the complete event, if the body was cut.
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
    """Join problems to one reason of limited length, with the number of problems left out."""
    told, room = problems[0], REASON - 40
    for place, problem in enumerate(problems[1:], 1):
        if len(told) + len(problem) > room:
            return f"{told}; and {len(problems) - place} more"
        told += f"; {problem}"
    return told


def cut(record: Record, most: int) -> Record:
    """Return a dead letter with at most `most` bytes of body, and with size and digest of the complete event."""
    if len(record.body) <= most:
        return record
    size, digest = record.size, record.digest
    if not digest:
        size, digest = len(record.body), f"sha256:{hashlib.sha256(record.body).hexdigest()}"
    return replace(record, body=record.body[: max(most, 0)], size=size, digest=digest)


def headers(record: Record, prefix: str) -> dict[str, str]:
    """Return the message headers of a dead letter, each name with a prefix."""
    told = {f"{prefix}cause": record.cause, f"{prefix}reason": record.reason}
    if record.digest:
        told |= {f"{prefix}size": str(record.size), f"{prefix}digest": record.digest}
    return told
