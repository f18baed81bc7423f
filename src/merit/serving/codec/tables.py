"""Decodes Arrow and Parquet bodies, and encodes Arrow responses, in a resource-limited helper (`decoder.py`)."""

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
"""Table formats by content type."""
EXPANDED = 10
"""Limit on a decoded table, and on the texts of its rows, in multiples of serve.max_bytes."""
SHARE = 0.8
"""Fraction of serve.timeout_seconds within which a table must be decoded; later there is no time for the response."""


class Tables:
    """Converts tables to columns, and predictions to tables.

    Args:
        answers: the served model, whose inputs define the columns.
        told: the section `serve`.
    """

    def __init__(self, answers: Answers, told: Settings) -> None:
        self._answers, self._told = answers, told
        self._kinds = answers.package.graph.inputs
        self._inputs = [dict(each) for each in answers.package.inputs]
        self._lock = threading.Lock()
        self._helper = Helper()

    def columns(self, body: bytes, form: str, until: float) -> Columns:
        """Decode the columns of a table.

        Args:
            body: the table.
            form: its format, a value of FORMS.
            until: deadline, by `time.perf_counter`.

        Raises:
            BadRows: the table can't be decoded, a column is unknown, missing or of another type, or there are no rows
                or too many.
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
        """Encode predictions as an Arrow IPC stream with the columns `prediction`, model, version and commit.

        Args:
            found: the predictions, float32 [rows] or [rows, classes].
            until: deadline, by `time.perf_counter`.

        Raises:
            Refusal: 503, the helper failed or there is no time left; the request is not to blame.
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
        """Stop the helper process."""
        self._helper.close()

    def _column(self, column: dict[str, Any], told: Any) -> NDArray[Any]:
        if isinstance(told, list):
            return np.array(told, dtype=object)
        made = np.frombuffer(told, dtype=np.float64)
        return made.reshape(-1, *column["shape"]) if column["type"] == "array" else made

    def _ask(self, question: dict[str, Any], until: float) -> dict[str, Any]:
        """Send a request to the helper and return its response; requests are serialized.

        Raises:
            Ended: the helper exited while it processed the request.
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
    """Return the error for a table that ran out of wall time; its own CPU time is limited separately by the helper."""
    said = "there was no time left for the table, for others came before it or the machine is busy; come again"
    return Refusal(503, said, AGAIN, why="no time was left for a table")


def _unavailable(reason: str) -> Refusal:
    """Return the error for a failure of the helper that the table did not cause."""
    said = "tables can't be read or written at the moment; come again, or send and accept JSON"
    return Refusal(503, said, AGAIN, why=f"the helper for tables failed: {reason}")
