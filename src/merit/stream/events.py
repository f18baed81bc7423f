"""Data types of a stream: events that the broker delivers, and records (predictions or dead letters) to publish."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

NOT_JSON, BAD_KEY, BAD_ROW, FAILED, KILLED = "not_json", "bad_key", "bad_row", "failed", "killed"
CAUSES = (NOT_JSON, BAD_KEY, BAD_ROW, FAILED, KILLED)
"""Causes of dead letters: not JSON, invalid key, invalid row, an error of scoring, the end of the scoring process."""
MAX_REASON_CHARACTERS = 4000
"""Characters of a reason, which may list many problems."""
MAX_TRUNCATED_BYTES = 1024
"""Bytes of an event in a dead letter if the broker refuses the complete event as too large, without a limit."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the broker delivered it.

    Args:
        raw: its bytes.
        position: its position in the broker, which is its key if it has no other.
        is_redelivered: whether it may have been delivered before.
        handle: the object by which the broker's client acknowledges it.
        fault: why the message holds no event; empty if it holds one.
    """

    raw: bytes
    position: str
    is_redelivered: bool = False
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


def create_dead_letter(event: Event, cause: str, reason: str, key: str | None = None) -> Record:
    """Return the dead letter of an event."""
    text = " ".join(reason.split())
    return Record(
        key or event.position,
        event.raw,
        cause,
        text if len(text) <= MAX_REASON_CHARACTERS else text[: MAX_REASON_CHARACTERS - 3] + "...",
    )


def join_problems(problems: Sequence[str]) -> str:
    """Join problems to one reason of limited length, with the number of problems left out."""
    text, max_length = problems[0], MAX_REASON_CHARACTERS - 40
    for index, problem in enumerate(problems[1:], 1):
        if len(text) + len(problem) > max_length:
            return f"{text}; and {len(problems) - index} more"
        text += f"; {problem}"
    return text


def truncate_record(record: Record, max_bytes: int) -> Record:
    """Return a dead letter with at most `max_bytes` bytes of body, and with size and digest of the complete event."""
    if len(record.body) <= max_bytes:
        return record
    size, digest = record.size, record.digest
    if not digest:
        size, digest = len(record.body), f"sha256:{hashlib.sha256(record.body).hexdigest()}"
    return replace(record, body=record.body[: max(max_bytes, 0)], size=size, digest=digest)


def create_headers(record: Record, prefix: str) -> dict[str, str]:
    """Return the message headers of a dead letter, each name with a prefix."""
    fields = {f"{prefix}cause": record.cause, f"{prefix}reason": record.reason}
    if record.digest:
        fields |= {f"{prefix}size": str(record.size), f"{prefix}digest": record.digest}
    return fields
