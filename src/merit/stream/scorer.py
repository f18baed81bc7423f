"""Scores a batch of events in one run of the graph; events that can't be scored become dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from merit.serving.app.row_values import BadRows
from merit.stream.events import BAD_KEY, BAD_ROW, FAILED, NOT_JSON, Event, Record, create_dead_letter, join_problems

MAX_KEY_CHARACTERS = 256


class RowScorer(Protocol):
    """Interface of the object that scores rows: `merit.serving.app.served_model.Answers`."""

    def predict(self, body: bytes) -> dict[str, Any]:
        """Return `predictions`, one per row, with model, version and commit."""
        ...


@dataclass(frozen=True, slots=True)
class DecodedEvent:
    """A decoded event: its key as it was sent, and the row."""

    event: Event
    key: str | int
    row: dict[str, Any]


class EventScorer:
    """Turns events into records, one for each, in the same order.

    Args:
        row_scorer: scores rows.
        columns: the input columns of the model.
        key: the field of an event that holds its id; None uses the position in the broker.
    """

    def __init__(self, row_scorer: RowScorer, columns: Sequence[str], key: str | None) -> None:
        self._row_scorer = row_scorer
        self._key = key
        self._key_is_column = key in columns
        self._decoder = msgspec.json.Decoder()

    def score(self, events: Sequence[Event]) -> list[Record]:
        """Return a prediction or a dead letter for each event."""
        decoded = [self._decode_event(event) for event in events]
        scored = iter(self._score_rows([each for each in decoded if isinstance(each, DecodedEvent)]))
        return [next(scored) if isinstance(each, DecodedEvent) else each for each in decoded]

    def _decode_event(self, event: Event) -> DecodedEvent | Record:
        if event.fault:
            return create_dead_letter(event, NOT_JSON, event.fault)
        try:
            row = self._decoder.decode(event.raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return create_dead_letter(event, NOT_JSON, f"not JSON ({str(error).rstrip('.')}); send a row as an object")
        if not isinstance(row, dict):
            return create_dead_letter(event, NOT_JSON, "not an object; send a row as an object")
        key: Any = None if self._key is None else row.get(self._key)
        if self._key is not None and not self._key_is_column:
            row.pop(self._key, None)
        if key is None:
            return DecodedEvent(event, event.position, row)
        if _is_valid_key(key):
            return DecodedEvent(event, key, row)
        allowed = f"text of 1 to {MAX_KEY_CHARACTERS} printable characters, or an integer of as many digits"
        return create_dead_letter(event, BAD_KEY, f"'{self._key}' can't name the event; allowed: {allowed}")

    def _score_rows(self, decoded: Sequence[DecodedEvent]) -> list[Record]:
        """Return the records of rows; if scoring fails, split them in halves to isolate the rows that cause it."""
        if not decoded:
            return []
        try:
            rows = [each.row for each in decoded]
            response = self._row_scorer.predict(msgspec.json.encode(rows if len(rows) > 1 else rows[0]))
            return _create_records(decoded, response)
        except BadRows as error:
            cause, reason = BAD_ROW, join_problems(error.problems)
        except OverflowError as error:
            cause, reason = BAD_ROW, str(error)
        except Exception as error:  # noqa: BLE001  # ONNX Runtime raises a dozen types; none may stop the stream
            cause, reason = FAILED, f"scoring failed: {error}"
        if len(decoded) == 1:
            return [create_dead_letter(decoded[0].event, cause, reason, str(decoded[0].key))]
        middle = len(decoded) // 2
        return self._score_rows(decoded[:middle]) + self._score_rows(decoded[middle:])


def _is_valid_key(key: Any) -> bool:
    if isinstance(key, str):
        return 0 < len(key) <= MAX_KEY_CHARACTERS and key.isprintable() and key == key.strip()
    return isinstance(key, int) and not isinstance(key, bool) and len(str(key)) <= MAX_KEY_CHARACTERS


def _create_records(decoded: Sequence[DecodedEvent], response: dict[str, Any]) -> list[Record]:
    origin = {name: response[name] for name in ("model", "version", "commit")}
    origin["time"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    classes = response.get("classes")
    records = []
    for index, (each, prediction) in enumerate(zip(decoded, response["predictions"], strict=True)):
        content: dict[str, Any] = {"id": each.key, "prediction": prediction}
        if classes is not None:
            content |= {"classes": classes, "probabilities": response["probabilities"][index]}
        records.append(Record(str(each.key), msgspec.json.encode(content | origin)))
    return records
