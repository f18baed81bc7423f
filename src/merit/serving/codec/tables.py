"""Decodes Arrow and Parquet bodies, and encodes Arrow responses, in a resource-limited helper (`decoder.py`)."""

import threading
import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.scoring.package import Columns
from merit.serving.app.asgi import RETRY_AFTER
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel
from merit.serving.auth.errors import HttpError
from merit.serving.codec.decoder_process import HelperExited, TableHelper
from merit.serving.settings import Settings

ARROW_STREAM = b"application/vnd.apache.arrow.stream"
TABLE_FORMATS = {
    ARROW_STREAM: "arrow stream",
    b"application/vnd.apache.arrow.file": "arrow file",
    b"application/vnd.apache.parquet": "parquet",
}
"""Table formats by content type."""
MAX_EXPANSION = 10
"""Limit on a decoded table, and on the texts of its rows, in multiples of serve.max_bytes."""
TIME_SHARE = 0.8
"""Fraction of serve.timeout_seconds within which a table must be decoded; later there is no time for the response."""


class TableCodec:
    """Converts tables to columns, and predictions to tables.

    Args:
        model: the served model, whose inputs define the columns.
        settings: the section `serve`.
    """

    def __init__(self, model: ServedModel, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._inputs = [dict(each) for each in model.package.inputs]
        self._lock = threading.Lock()
        self._helper = TableHelper()

    def decode_columns(self, body: bytes, table_format: str, deadline: float) -> Columns:
        """Decode the columns of a table.

        Args:
            body: the table.
            table_format: its format, a value of FORMS.
            deadline: deadline, by `time.perf_counter`.

        Raises:
            BadRows: the table can't be decoded, a column is unknown, missing or of another type, or there are no rows
                or too many.
            HttpError: 503, the helper can't be started, or there is no time left.
        """
        request = {
            "is": "decode",
            "body": body,
            "form": table_format,
            "inputs": self._inputs,
            "most_rows": self._settings.max_rows,
            "most_bytes": self._settings.max_bytes * MAX_EXPANSION,
        }
        try:
            response = self._request(request, deadline)
        except HelperExited as error:
            raise BadRows(
                f"can't be read as {table_format}: broken, or it takes more memory or time than is allowed: send fewer "
                "rows"
            ) from error
        if problems := response.get("problems"):
            more = f" (and {len(problems) - 1} more, in problems)" if len(problems) > 1 else ""
            raise BadRows(problems[0] + more, problems)
        return {each["name"]: self._convert_column(each, response["columns"][each["name"]]) for each in self._inputs}

    def encode_predictions(self, predictions: NDArray[np.float32], deadline: float) -> bytes:
        """Encode predictions as an Arrow IPC stream with the columns `prediction`, model, version and commit.

        Args:
            predictions: the predictions, float32 [rows] or [rows, classes].
            deadline: deadline, by `time.perf_counter`.

        Raises:
            HttpError: 503, the helper failed or there is no time left; the request is not to blame.
        """
        model = self._model
        request = {"is": "encode", "found": np.ascontiguousarray(predictions).tobytes(), "classes": model.classes}
        try:
            response = self._request({**request, "origin": model.origin}, deadline)
        except HelperExited as error:
            raise _create_unavailable_error(str(error)) from error
        if problems := response.get("problems"):
            raise _create_unavailable_error(problems[0])
        body: bytes = response["body"]
        return body

    def close(self) -> None:
        """Stop the helper process."""
        self._helper.close()

    def _convert_column(self, column: dict[str, Any], values: Any) -> NDArray[Any]:
        if isinstance(values, list):
            return np.array(values, dtype=object)
        array = np.frombuffer(values, dtype=np.float64)
        return array.reshape(-1, *column["shape"]) if column["type"] == "array" else array

    def _request(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Send a request to the helper and return its response; requests are serialized.

        Raises:
            HelperExited: the helper exited while it processed the request.
            HttpError: 503, the helper can't be started, or there is no time left.
        """
        payload = msgspec.msgpack.encode(request)
        with self._lock:
            if (remaining_s := deadline - time.perf_counter()) <= 0:
                raise _create_late_error()
            try:
                return self._helper.request_with_retry(payload, remaining_s)
            except OSError as error:
                raise _create_unavailable_error(error.strerror or str(error)) from error
            except HelperExited as error:
                if error.is_overdue:
                    raise _create_late_error() from error
                if error.was_ready:
                    raise
                raise _create_unavailable_error(f"at its start, {error}") from error


def _create_late_error() -> HttpError:
    """Return the error for a table that ran out of wall time; its own CPU time is limited separately by the helper."""
    message = "there was no time left for the table, for others came before it or the machine is busy; come again"
    return HttpError(503, message, RETRY_AFTER, reason="no time was left for a table")


def _create_unavailable_error(reason: str) -> HttpError:
    """Return the error for a failure of the helper that the table did not cause."""
    message = "tables can't be read or written at the moment; come again, or send and accept JSON"
    return HttpError(503, message, RETRY_AFTER, reason=f"the helper for tables failed: {reason}")
