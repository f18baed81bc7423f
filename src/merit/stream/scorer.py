"""Scores a batch of events in one run of the graph; events that can't be scored become dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from merit.serving.app.rows import BadRows
from merit.stream.events import BAD_KEY, BAD_ROW, FAILED, NOT_JSON, Event, Record, dead, joined

KEY_LENGTH = 256


class Answering(Protocol):
    """Interface of the object that scores rows: `merit.serving.app.answers.Answers`."""

    def answer(self, body: bytes) -> dict[str, Any]:
        """Return `predictions`, one per row, with model, version and commit."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A decoded event: its key as it was sent, and the row."""

    event: Event
    key: str | int
    row: dict[str, Any]


class Scorer:
    """Turns events into records, one for each, in the same order.

    Args:
        answers: scores rows.
        columns: the input columns of the model.
        key: the field of an event that holds its id; None uses the position in the broker.
    """

    def __init__(self, answers: Answering, columns: Sequence[str], key: str | None) -> None:
        self._answers = answers
        self._key = key
        self._is_column = key in columns
        self._decoder = msgspec.json.Decoder()

    def score(self, events: Sequence[Event]) -> list[Record]:
        """Return a prediction or a dead letter for each event."""
        read = [self._read(event) for event in events]
        answered = iter(self._answered([each for each in read if isinstance(each, Found)]))
        return [next(answered) if isinstance(each, Found) else each for each in read]

    def _read(self, event: Event) -> Found | Record:
        if event.fault:
            return dead(event, NOT_JSON, event.fault)
        try:
            row = self._decoder.decode(event.raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return dead(event, NOT_JSON, f"not JSON ({str(error).rstrip('.')}); send a row as an object")
        if not isinstance(row, dict):
            return dead(event, NOT_JSON, "not an object; send a row as an object")
        key: Any = None if self._key is None else row.get(self._key)
        if self._key is not None and not self._is_column:
            row.pop(self._key, None)
        if key is None:
            return Found(event, event.place, row)
        if _is_key(key):
            return Found(event, key, row)
        told = f"text of 1 to {KEY_LENGTH} printable characters, or an integer of as many digits"
        return dead(event, BAD_KEY, f"'{self._key}' can't name the event; allowed: {told}")

    def _answered(self, found: Sequence[Found]) -> list[Record]:
        """Return the records of rows; if scoring fails, split them in halves to isolate the rows that cause it."""
        if not found:
            return []
        try:
            rows = [each.row for each in found]
            answer = self._answers.answer(msgspec.json.encode(rows if len(rows) > 1 else rows[0]))
            return _records(found, answer)
        except BadRows as error:
            cause, reason = BAD_ROW, joined(error.problems)
        except OverflowError as error:
            cause, reason = BAD_ROW, str(error)
        except Exception as error:  # noqa: BLE001  # ONNX Runtime raises a dozen types; none may stop the stream
            cause, reason = FAILED, f"scoring failed: {error}"
        if len(found) == 1:
            return [dead(found[0].event, cause, reason, str(found[0].key))]
        middle = len(found) // 2
        return self._answered(found[:middle]) + self._answered(found[middle:])


def _is_key(key: Any) -> bool:
    if isinstance(key, str):
        return 0 < len(key) <= KEY_LENGTH and key.isprintable() and key == key.strip()
    return isinstance(key, int) and not isinstance(key, bool) and len(str(key)) <= KEY_LENGTH


def _records(found: Sequence[Found], answer: dict[str, Any]) -> list[Record]:
    origin = {name: answer[name] for name in ("model", "version", "commit")}
    origin["time"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    classes = answer.get("classes")
    made = []
    for place, (each, prediction) in enumerate(zip(found, answer["predictions"], strict=True)):
        told: dict[str, Any] = {"id": each.key, "prediction": prediction}
        if classes is not None:
            told |= {"classes": classes, "probabilities": answer["probabilities"][place]}
        made.append(Record(str(each.key), msgspec.json.encode(told | origin)))
    return made
