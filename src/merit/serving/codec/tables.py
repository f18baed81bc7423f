"""Arrow and Parquet bodies: decoded by a helper process (`decoder.py`), for they may be anything."""

import threading
import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.scoring.package import Columns
from merit.serving.app.answers import Answers
from merit.serving.app.asgi import AGAIN
from merit.serving.app.rows import BadRows
from merit.serving.auth.methods import Refusal
from merit.serving.codec.decoder_process import Ended, Helper
from merit.serving.settings import Settings

ARROW = b"application/vnd.apache.arrow.stream"
FORMS = {
    ARROW: "arrow stream",
    b"application/vnd.apache.arrow.file": "arrow file",
    b"application/vnd.apache.parquet": "parquet",
}
"""The content types of tables."""
EXPANDED = 10
"""Times serve.max_bytes that a table may have once it is decoded, and so may the texts of its rows."""
SHARE = 0.8
"""Of serve.timeout_seconds, when a request's table must have been read; then it is too late for an answer."""


class Tables:
    """Turns tables into columns, and predictions into tables.

    Args:
        answers: whose columns they are.
        told: the settings.
    """

    def __init__(self, answers: Answers, told: Settings) -> None:
        self._answers, self._told = answers, told
        self._kinds = answers.package.graph.inputs
        self._inputs = [dict(each) for each in answers.package.inputs]
        self._lock = threading.Lock()
        self._helper = Helper()

    def columns(self, body: bytes, form: str, until: float) -> Columns:
        """Return the columns of a table.

        Args:
            body: the table.
            form: one of FORMS.
            until: when it must have been read, by `time.perf_counter`.

        Raises:
            BadRows: it can't be read, a column is unknown, missing or of another type; there is no row, or too many.
            Refusal: 503, the helper can't be started, or there is no time left.
        """
        asked = {
            "is": "decode",
            "body": body,
            "form": form,
            "inputs": self._inputs,
            "most_rows": self._told.max_rows,
            "most_bytes": self._told.max_bytes * EXPANDED,
        }
        try:
            answer = self._ask(asked, until)
        except Ended as error:
            raise BadRows(
                f"can't be read as {form}: broken, or it takes more memory or time than is allowed: send fewer rows"
            ) from error
        if problems := answer.get("problems"):
            more = f" (and {len(problems) - 1} more, in problems)" if len(problems) > 1 else ""
            raise BadRows(problems[0] + more, problems)
        return {each["name"]: self._column(each, answer["columns"][each["name"]]) for each in self._inputs}

    def encoded(self, found: NDArray[np.float32], until: float) -> bytes:
        """Return predictions as an Arrow IPC stream, one row each: `prediction`, model, version and commit.

        Args:
            found: the predictions.
            until: when it must have been written, by `time.perf_counter`.

        Raises:
            Refusal: 503, the helper could not; no table of the request's is to blame.
        """
        answers = self._answers
        asked = {"is": "encode", "found": np.ascontiguousarray(found).tobytes(), "classes": answers.classes}
        try:
            answer = self._ask({**asked, "origin": answers.origin}, until)
        except Ended as error:
            raise _unavailable(str(error)) from error
        if problems := answer.get("problems"):
            raise _unavailable(problems[0])
        body: bytes = answer["body"]
        return body

    def close(self) -> None:
        """End the helper."""
        self._helper.close()

    def _column(self, column: dict[str, Any], told: Any) -> NDArray[Any]:
        if isinstance(told, list):
            return np.array(told, dtype=object)
        made = np.frombuffer(told, dtype=np.float64)
        return made.reshape(-1, *column["shape"]) if column["type"] == "array" else made

    def _ask(self, question: dict[str, Any], until: float) -> dict[str, Any]:
        """Return the helper's answer.

        Raises:
            Ended: there is none.
            Refusal: 503, the helper can't be started, or there is no time left.
        """
        told = msgspec.msgpack.encode(question)
        with self._lock:
            if (seconds := until - time.perf_counter()) <= 0:
                raise _late()
            try:
                return self._helper.insisted(told, seconds)
            except OSError as error:
                raise _unavailable(error.strerror or str(error)) from error
            except Ended as error:
                if error.is_overdue:
                    raise _late() from error
                if error.was_ready:
                    raise
                raise _unavailable(f"at its start, {error}") from error


def _late() -> Refusal:
    """Return what is told where a table had to wait too long: what it takes itself is bounded by processor time."""
    said = "there was no time left for the table, for others came before it or the machine is busy; come again"
    return Refusal(503, said, AGAIN, why="no time was left for a table")


def _unavailable(reason: str) -> Refusal:
    """Return what is told where the helper fails, and not the table."""
    said = "tables can't be read or written at the moment; come again, or send and accept JSON"
    return Refusal(503, said, AGAIN, why=f"the helper for tables failed: {reason}")
