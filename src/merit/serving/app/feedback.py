"""Handles POST /feedback: records observed outcomes ("truths"), matched by request id or by a key of the data."""

import json
import math
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from merit.prediction_log.log_client import Link
from merit.prediction_log.privacy import Privacy
from merit.prediction_log.protocol import Task
from merit.prediction_log.settings import PredictionLog
from merit.prediction_log.values import formed
from merit.scoring.package import Package
from merit.serving.app.rows import BadRows
from merit.serving.auth.methods import Refusal

PROBLEMS = 100
"""Maximum problems in one response."""
LONGEST = 200
"""Maximum characters of an id, and of a name or value in a key."""
KEYS = 16
"""Maximum columns of a key."""
ROWS = 2**32
"""Exclusive upper bound of a row index."""
FIELDS = ("request_id", "row", "key", "truth")
SUCH_AS = '{"request_id": "…", "row": 0, "truth": …} or {"key": {…}, "truth": …}'


class Feedback:
    """Validates truths and stores them beside the predictions.

    Args:
        told: the settings of the prediction log.
        package: the package whose predictions the truths concern.
        worker: id of this worker, as in the prediction log.
        most: maximum truths per request.

    Attributes:
        link: client of the log writer, which starts with the first truth; None if feedback is disabled.

    Raises:
        MeritError: the settings of the prediction log are invalid.
    """

    def __init__(self, told: PredictionLog, package: Package, worker: str, most: int) -> None:
        output = package.output
        self._task, self._classes, self._most = output["task"], output.get("classes") or [], most
        self._kinds = {each["name"]: each for each in package.inputs}
        self.link: Link | None = None
        if told.folder is None:
            return
        self._privacy = Privacy(told, [each["name"] for each in package.inputs])
        self.link = Link(Task("feedback", told, worker, [], output, {}))

    def answer(self, body: bytes, who: str = "") -> dict[str, Any]:
        """Accept one truth (an object) or several (an array of objects); return the content of the 202 response.

        Raises:
            BadRows: the body is not JSON, or a truth is invalid; nothing is stored then.
            Refusal: 404, feedback is disabled; 503, the queue is full.
        """
        if self.link is None:
            raise Refusal(404, "feedback is not kept here: serve.log.folder is null")
        items = self._items(body)
        problems: list[str] = []
        kept = [self._kept(place, item, problems) for place, item in enumerate(items)]
        if problems:
            more = f" (and {len(problems) - 1} more, in problems)" if len(problems) > 1 else ""
            raise BadRows(problems[0] + more, problems[:PROBLEMS])
        if not self.link.take((len(kept), time.time(), kept, who)):
            raise Refusal(503, "too much feedback waits to be written; come again", [(b"retry-after", b"10")])
        return {"accepted": len(kept)}

    def close(self) -> None:
        """Write all queued truths."""
        if self.link is not None:
            self.link.close()

    def _items(self, body: bytes) -> list[Any]:
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRows(f"not JSON ({str(error).rstrip('.')}); send {SUCH_AS}, or an array of these") from error
        items = found if isinstance(found, list) else [found]
        if not items:
            raise BadRows("the array holds no truth; send at least one")
        if len(items) > self._most:
            raise BadRows(f"found {len(items)} truths; at most {self._most} are taken in one request (serve.max_rows)")
        return items

    def _kept(self, place: int, item: Any, problems: list[str]) -> tuple[str | None, int | None, str | None, Any]:
        found = list(self._faults(item))
        if found:
            problems += [f"item {place}: {each}" for each in found]
            return None, None, None, None
        key = item.get("key")
        return (
            item.get("request_id"),
            None if key is not None else int(item.get("row", 0)),
            None if key is None else self._key(key),
            self._truth(item["truth"]),
        )

    def _faults(self, item: Any) -> "Sequence[str]":
        if not isinstance(item, dict):
            return [f"is no object; send {SUCH_AS}"]
        found = [
            f"unknown field '{str(name)[:40]}'; fields: {', '.join(FIELDS)}" for name in item if name not in FIELDS
        ]
        if ("request_id" in item) == ("key" in item):
            found.append(f"must have either request_id or key; send {SUCH_AS}")
        if "request_id" in item and not _is_text(item["request_id"]):
            found.append(f"request_id must be a text of 1 to {LONGEST} characters, as the answer's x-request-id")
        if "row" in item and "key" in item:
            found.append("row goes with request_id, not with key")
        if not _is_row(item.get("row", 0)):
            found.append("row must be the place of the row in its request: 0 or more")
        if "key" in item:
            found += self._key_faults(item["key"])
        if "truth" not in item:
            found.append("truth is missing")
        elif not self._is_truth(item["truth"]):
            found.append(f"truth is {json.dumps(item['truth'])[:40]}; allowed: {self._allowed()}")
        return found

    def _key_faults(self, key: Any) -> list[str]:
        if not isinstance(key, dict) or not 1 <= len(key) <= KEYS:
            return [f"key must be an object of 1 to {KEYS} columns and their values"]
        found = []
        for name, value in key.items():
            if not isinstance(value, (str, int, float, bool)) or len(str(value)) > LONGEST or len(name) > LONGEST:
                found.append(f"key: '{name[:40]}' must be a text, number or boolean of at most {LONGEST} characters")
            elif name in self._privacy.left_out:
                found.append(f"key: '{name}' is not kept (serve.log.leave_out); send another")
            elif name in self._kinds:
                found += self._form_faults(name, value)
        return found

    def _form_faults(self, name: str, value: Any) -> list[str]:
        try:
            formed(value, self._kinds[name])
        except ValueError as error:
            return [f"key: '{name}' is {json.dumps(value, ensure_ascii=False)[:40]}; {error}"]
        return []

    def _key(self, key: dict[str, Any]) -> str:
        """Return a key as it is stored: canonical JSON, with values hashed where the prediction log hashes them."""
        kept = {name: self._value(name, value) for name, value in key.items()}
        return json.dumps(kept, sort_keys=True, ensure_ascii=False)

    def _value(self, name: str, value: Any) -> Any:
        """Return a value of a key as the prediction log stores it; a value of an unknown column is unchanged."""
        made = formed(value, self._kinds[name]) if name in self._kinds else value
        if name in self._privacy.hashed:
            return self._privacy.hash(made)
        return made.isoformat() if isinstance(made, datetime) else made

    def _is_truth(self, truth: Any) -> bool:
        if self._task == "binary":
            return truth in (0, 1) and isinstance(truth, (int, bool))
        if self._task == "multiclass":
            return any(truth == each and type(truth) is type(each) for each in self._classes)
        if not isinstance(truth, (int, float)) or isinstance(truth, bool):
            return False
        return math.isfinite(truth) if isinstance(truth, float) else abs(truth) <= sys.float_info.max

    def _allowed(self) -> str:
        if self._task == "binary":
            return "0, 1, false, true"
        return json.dumps(self._classes)[1:-1][:200] if self._task == "multiclass" else "a number of 64 bits"

    def _truth(self, truth: Any) -> Any:
        if self._task == "multiclass":
            return truth
        return int(truth) if self._task == "binary" else float(truth)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST


def _is_row(value: Any) -> bool:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # to JSON, 3.0 is 3
    return is_whole and not isinstance(value, bool) and 0 <= value < ROWS
