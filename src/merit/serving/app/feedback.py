"""Handles POST /feedback: records observed outcomes ("truths"), matched by request id or by a key of the data."""

import json
import math
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from merit.prediction_log.key_values import convert_value
from merit.prediction_log.log_client import LogClient
from merit.prediction_log.privacy import PrivacyFilter
from merit.prediction_log.protocol import WriterTask
from merit.prediction_log.settings import PredictionLog
from merit.scoring.package import Package
from merit.serving.app.row_values import BadRows
from merit.serving.auth.errors import HttpError

MAX_PROBLEMS = 100
"""Maximum problems in one response."""
MAX_TEXT_CHARS = 200
"""Maximum characters of an id, and of a name or value in a key."""
MAX_KEY_COLUMNS = 16
"""Maximum columns of a key."""
MAX_ROWS = 2**32
"""Exclusive upper bound of a row index."""
FIELDS = ("request_id", "row", "key", "truth")
EXAMPLE_BODIES = '{"request_id": "…", "row": 0, "truth": …} or {"key": {…}, "truth": …}'


class FeedbackRecorder:
    """Validates truths and stores them beside the predictions.

    Args:
        log_settings: the settings of the prediction log.
        package: the package whose predictions the truths concern.
        worker_id: id of this worker, as in the prediction log.
        max_truths: maximum truths per request.

    Attributes:
        log_client: client of the log writer, which starts with the first truth; None if feedback is disabled.

    Raises:
        MeritError: the settings of the prediction log are invalid.
    """

    def __init__(self, log_settings: PredictionLog, package: Package, worker_id: str, max_truths: int) -> None:
        output = package.output
        self._task, self._classes, self._max_truths = output["task"], output.get("classes") or [], max_truths
        self._columns_by_name = {each["name"]: each for each in package.inputs}
        self.log_client: LogClient | None = None
        if log_settings.folder is None:
            return
        self._privacy = PrivacyFilter(log_settings, [each["name"] for each in package.inputs])
        self.log_client = LogClient(WriterTask("feedback", log_settings, worker_id, [], output, {}))

    def accept_truths(self, body: bytes, caller: str = "") -> dict[str, Any]:
        """Accept one truth (an object) or several (an array of objects); return the content of the 202 response.

        Raises:
            BadRows: the body is not JSON, or a truth is invalid; nothing is stored then.
            HttpError: 404, feedback is disabled; 503, the queue is full.
        """
        if self.log_client is None:
            raise HttpError(404, "feedback is not kept here: serve.log.folder is null")
        items = self._parse_items(body)
        problems: list[str] = []
        records = [self._build_record(index, item, problems) for index, item in enumerate(items)]
        if problems:
            more = f" (and {len(problems) - 1} more, in problems)" if len(problems) > 1 else ""
            raise BadRows(problems[0] + more, problems[:MAX_PROBLEMS])
        if not self.log_client.enqueue((len(records), time.time(), records, caller)):
            raise HttpError(503, "too much feedback waits to be written; come again", [(b"retry-after", b"10")])
        return {"accepted": len(records)}

    def close(self) -> None:
        """Write all queued truths."""
        if self.log_client is not None:
            self.log_client.close()

    def _parse_items(self, body: bytes) -> list[Any]:
        try:
            payload = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRows(
                f"not JSON ({str(error).rstrip('.')}); send {EXAMPLE_BODIES}, or an array of these"
            ) from error
        items = payload if isinstance(payload, list) else [payload]
        if not items:
            raise BadRows("the array holds no truth; send at least one")
        if len(items) > self._max_truths:
            raise BadRows(
                f"found {len(items)} truths; at most {self._max_truths} are taken in one request (serve.max_rows)"
            )
        return items

    def _build_record(
        self, index: int, item: Any, problems: list[str]
    ) -> tuple[str | None, int | None, str | None, Any]:
        item_problems = list(self._find_problems(item))
        if item_problems:
            problems += [f"item {index}: {each}" for each in item_problems]
            return None, None, None, None
        key = item.get("key")
        return (
            item.get("request_id"),
            None if key is not None else int(item.get("row", 0)),
            None if key is None else self._render_key(key),
            self._convert_truth(item["truth"]),
        )

    def _find_problems(self, item: Any) -> "Sequence[str]":
        if not isinstance(item, dict):
            return [f"is no object; send {EXAMPLE_BODIES}"]
        problems = [
            f"unknown field '{str(name)[:40]}'; fields: {', '.join(FIELDS)}" for name in item if name not in FIELDS
        ]
        if ("request_id" in item) == ("key" in item):
            problems.append(f"must have either request_id or key; send {EXAMPLE_BODIES}")
        if "request_id" in item and not _is_short_text(item["request_id"]):
            problems.append(
                f"request_id must be a text of 1 to {MAX_TEXT_CHARS} characters, as the answer's x-request-id"
            )
        if "row" in item and "key" in item:
            problems.append("row goes with request_id, not with key")
        if not _is_row_index(item.get("row", 0)):
            problems.append("row must be the place of the row in its request: 0 or more")
        if "key" in item:
            problems += self._find_key_problems(item["key"])
        if "truth" not in item:
            problems.append("truth is missing")
        elif not self._is_valid_truth(item["truth"]):
            problems.append(f"truth is {json.dumps(item['truth'])[:40]}; allowed: {self._describe_allowed()}")
        return problems

    def _find_key_problems(self, key: Any) -> list[str]:
        if not isinstance(key, dict) or not 1 <= len(key) <= MAX_KEY_COLUMNS:
            return [f"key must be an object of 1 to {MAX_KEY_COLUMNS} columns and their values"]
        problems = []
        for name, value in key.items():
            if (
                not isinstance(value, (str, int, float, bool))
                or len(str(value)) > MAX_TEXT_CHARS
                or len(name) > MAX_TEXT_CHARS
            ):
                problems.append(
                    f"key: '{name[:40]}' must be a text, number or boolean of at most {MAX_TEXT_CHARS} characters"
                )
            elif name in self._privacy.excluded:
                problems.append(f"key: '{name}' is not kept (serve.log.leave_out); send another")
            elif name in self._columns_by_name:
                problems += self._find_format_problems(name, value)
        return problems

    def _find_format_problems(self, name: str, value: Any) -> list[str]:
        try:
            convert_value(value, self._columns_by_name[name])
        except ValueError as error:
            return [f"key: '{name}' is {json.dumps(value, ensure_ascii=False)[:40]}; {error}"]
        return []

    def _render_key(self, key: dict[str, Any]) -> str:
        """Return a key as it is stored: canonical JSON, with values hashed where the prediction log hashes them."""
        values = {name: self._normalize_value(name, value) for name, value in key.items()}
        return json.dumps(values, sort_keys=True, ensure_ascii=False)

    def _normalize_value(self, name: str, value: Any) -> Any:
        """Return a value of a key as the prediction log stores it; a value of an unknown column is unchanged."""
        normalized = convert_value(value, self._columns_by_name[name]) if name in self._columns_by_name else value
        if name in self._privacy.hashed:
            return self._privacy.hash_value(normalized)
        return normalized.isoformat() if isinstance(normalized, datetime) else normalized

    def _is_valid_truth(self, truth: Any) -> bool:
        if self._task == "binary":
            return truth in (0, 1) and isinstance(truth, (int, bool))
        if self._task == "multiclass":
            return any(truth == each and type(truth) is type(each) for each in self._classes)
        if not isinstance(truth, (int, float)) or isinstance(truth, bool):
            return False
        return math.isfinite(truth) if isinstance(truth, float) else abs(truth) <= sys.float_info.max

    def _describe_allowed(self) -> str:
        if self._task == "binary":
            return "0, 1, false, true"
        return json.dumps(self._classes)[1:-1][:200] if self._task == "multiclass" else "a number of 64 bits"

    def _convert_truth(self, truth: Any) -> Any:
        if self._task == "multiclass":
            return truth
        return int(truth) if self._task == "binary" else float(truth)


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS


def _is_row_index(value: Any) -> bool:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # to JSON, 3.0 is 3
    return is_whole and not isinstance(value, bool) and 0 <= value < MAX_ROWS
