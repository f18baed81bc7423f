"""Clients of the replay check: JSON and Parquet requests over HTTP, and a file scored by `merit predict`."""

import http.client
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.errors import MeritError, Refused
from merit.gate.checks.model.source_rows import ReplayRows, to_json_rows
from merit.reading.textfile import encode_table
from merit.scoring.package import Package

HOST = "127.0.0.1"
ROWS_PER_REQUEST = 50
"""Rows per HTTP request."""
JSON_TYPE, PARQUET_TYPE = "application/json", "application/vnd.apache.parquet"
MERIT_PROGRAM = Path(sys.executable).with_name("merit")
RESPONSE_TIMEOUT_S, PREDICT_TIMEOUT_S = 30.0, 120.0
MAX_QUOTED_CHARS = 300
"""Characters of a response or of stderr that an error message quotes."""


def predict_over_http(port: int, rows: ReplayRows, package: Package) -> list[NDArray[np.float64]]:
    """Return the endpoint's predictions for the rows sent as JSON, and for those sent as Parquet tables.

    Raises:
        Refused: a response holds no predictions, or names another package.
        MeritError: the endpoint does not respond.
    """
    names = [each["name"] for each in package.inputs]
    batches = [
        rows.table[start : start + ROWS_PER_REQUEST].select(names)
        for start in range(0, rows.table.height, ROWS_PER_REQUEST)
    ]
    bodies = {
        JSON_TYPE: [msgspec.json.encode(to_json_rows(batch, package)) for batch in batches],
        PARQUET_TYPE: list(map(_encode_parquet, batches)),
    }
    return [
        np.concatenate([_request_predictions(port, body, content_type, package) for body in each])
        for content_type, each in bodies.items()
    ]


def _encode_parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def _request_predictions(port: int, body: bytes, content_type: str, package: Package) -> NDArray[np.float64]:
    """Return the predictions of one request, after checking the status and the package that the response names."""
    try:
        status, content = send_request(port, "POST", "/predict", body, content_type)
    except (OSError, http.client.HTTPException) as error:
        raise MeritError(f"/predict does not answer ({error!r:.100})") from error
    if status != http.client.OK:
        raise Refused(
            f"/predict answers {status}: {' '.join(content.decode(errors='replace').split())[:MAX_QUOTED_CHARS]}"
        )
    try:
        payload = msgspec.json.decode(content)
        version, predictions = payload["version"], payload.get("probabilities", payload["predictions"])
        result = np.array(predictions, dtype=np.float64)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"/predict answers no predictions ({error!r:.100})") from error
    if version != package.digest:
        raise Refused(f"/predict answers as {version!s:.80}, which is not this package")
    return result


def send_request(
    port: int, method: str, path: str, body: bytes | None = None, content_type: str = JSON_TYPE
) -> tuple[int, bytes]:
    """Send a request to the loopback port and return status and body; proxies of the environment are not used."""
    connection = http.client.HTTPConnection(HOST, port, timeout=RESPONSE_TIMEOUT_S)
    try:
        connection.request(method, path, body, {"content-type": content_type} if body else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def predict_in_batch(folder: Path, rows: ReplayRows, package: Package) -> NDArray[np.float64]:
    """Return the predictions of `merit predict` for the rows, written to a file in the format of the source.

    Raises:
        Refused: the command can't read the rows as training did.
        MeritError: the command fails otherwise, or times out.
    """
    table = rows.table.select(each["name"] for each in package.inputs)
    input_path, output_path = (
        folder / ("rows.parquet" if rows.dialect is None else "rows.csv"),
        folder / "scored.parquet",
    )
    input_path.write_bytes(_encode_parquet(table) if rows.dialect is None else encode_table(table, rows.dialect))
    arguments = [
        "predict",
        str(input_path),
        str(output_path),
        "--package",
        str(artifacts.PACKAGE.absolute()),
        "--keep",
        "",
    ]
    try:
        process = subprocess.run(
            [str(MERIT_PROGRAM), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PREDICT_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeritError(f"'merit predict' does not answer ({error!r:.100})") from error
    if process.returncode != 0:
        message = (
            " ".join(process.stderr.replace(f"{folder}/", "").split())[-MAX_QUOTED_CHARS:]
            or f"exit code {process.returncode}"
        )
        raise (Refused if process.returncode == 1 else MeritError)(f"'merit predict' on rows of the source: {message}")
    return _select_predictions(pl.read_parquet(output_path), package.output.get("classes"))


def _select_predictions(table: pl.DataFrame, classes: Sequence[Any] | None) -> NDArray[np.float64]:
    if classes is None:
        return table["prediction"].to_numpy()
    return table.select(f"probability_{each}" for each in classes).to_numpy()
