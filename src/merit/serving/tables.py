"""Arrow and Parquet bodies: decoded by a helper process (`decoder.py`), for they may be anything."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.serving.answers import Answers
from merit.serving.parent import STOPS
from merit.serving.rows import BadRows, Columns
from merit.serving.settings import Settings

ARROW = b"application/vnd.apache.arrow.stream"
FORMS = {
    ARROW: "arrow stream",
    b"application/vnd.apache.arrow.file": "arrow file",
    b"application/vnd.apache.parquet": "parquet",
}
"""The content types of tables."""
EXPANDED = 10
"""Times serve.max_bytes that the texts of one column may have once decoded."""
SHARE = 0.8
"""Of serve.timeout_seconds, what the helper has for a table."""
KEPT = ("PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")
"""What the helper sees of the environment: no secrets."""


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
        self._helper: subprocess.Popen[bytes] | None = None

    def columns(self, body: bytes, form: str) -> Columns:
        """Return the columns of a table.

        Raises:
            BadRows: it can't be read, a column is unknown, missing or of another type; there is no row, or too many.
        """
        asked = {
            "is": "decode",
            "body": body,
            "form": form,
            "inputs": self._inputs,
            "most_rows": self._told.max_rows,
            "most_bytes": self._told.max_bytes * EXPANDED,
        }
        answer = self._ask(asked)
        return {each["name"]: self._column(each, answer["columns"][each["name"]]) for each in self._inputs}

    def encoded(self, found: NDArray[np.float32]) -> bytes:
        """Return predictions as an Arrow IPC stream, one row each: `prediction`, model, version and commit."""
        answers = self._answers
        asked = {"is": "encode", "found": np.ascontiguousarray(found).tobytes(), "classes": answers.classes}
        body: bytes = self._ask({**asked, "origin": answers.origin})["body"]
        return body

    def close(self) -> None:
        """End the helper."""
        if self._helper is not None:
            with self._helper as helper:
                helper.kill()
            self._helper = None

    def _column(self, column: dict[str, Any], told: Any) -> NDArray[Any]:
        if isinstance(told, list):
            return np.array(told, dtype=object)
        made = np.frombuffer(told, dtype=np.float64)
        return made.reshape(-1, *column["shape"]) if column["type"] == "array" else made

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._helper is None or self._helper.poll() is not None:
                self._helper = _started()
            answer = self._exchanged(self._helper, msgspec.msgpack.encode(question))
        if answer is None:
            raise BadRows(
                f"can't be read as {question.get('form')}: broken, or it takes more memory or time than there is"
            )
        if problems := answer.get("problems"):
            more = f" (and {len(problems) - 1} more, in problems)" if len(problems) > 1 else ""
            raise BadRows(problems[0] + more, problems)
        return answer

    def _exchanged(self, helper: "subprocess.Popen[bytes]", asked: bytes) -> dict[str, Any] | None:
        """Return the helper's answer; None where it ended, or had to be ended."""
        assert helper.stdin is not None
        assert helper.stdout is not None
        timer = threading.Timer(self._told.timeout_seconds * SHARE, helper.kill)
        timer.start()
        try:
            helper.stdin.write(len(asked).to_bytes(8, "big") + asked)
            helper.stdin.flush()
            size = helper.stdout.read(8)
            text = helper.stdout.read(int.from_bytes(size, "big")) if len(size) == 8 else b""
            answer: dict[str, Any] | None = msgspec.msgpack.decode(text) if text else None
        except (OSError, msgspec.DecodeError):
            answer = None
        finally:
            timer.cancel()
        if answer is None:
            self.close()
        return answer


def _started() -> "subprocess.Popen[bytes]":
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # it has the mask of this thread
    try:
        return subprocess.Popen(  # ours
            [sys.executable, "-P", str(Path(__file__).with_name("decoder.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "POLARS_MAX_THREADS": "1"},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
