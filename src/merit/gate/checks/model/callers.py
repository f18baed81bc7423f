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
from merit.gate.checks.model.source import Rows, as_json
from merit.reading.textfile import encoded
from merit.scoring.package import Package

HOST = "127.0.0.1"
BATCH = 50
"""Rows per HTTP request."""
JSON, PARQUET = "application/json", "application/vnd.apache.parquet"
PREDICT = Path(sys.executable).with_name("merit")
ANSWER_SECONDS, PREDICT_SECONDS = 30.0, 120.0
TOLD = 300
"""Characters of a response or of stderr that an error message quotes."""


def over_http(port: int, rows: Rows, package: Package) -> list[NDArray[np.float64]]:
    """Return the endpoint's predictions for the rows sent as JSON, and for those sent as Parquet tables.

    Raises:
        Refused: a response holds no predictions, or names another package.
        MeritError: the endpoint does not respond.
    """
    names = [each["name"] for each in package.inputs]
    parts = [rows.table[start : start + BATCH].select(names) for start in range(0, rows.table.height, BATCH)]
    bodies = {
        JSON: [msgspec.json.encode(as_json(part, package)) for part in parts],
        PARQUET: list(map(_parquet, parts)),
    }
    return [np.concatenate([_answers(port, body, kind, package) for body in each]) for kind, each in bodies.items()]


def _parquet(table: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def _answers(port: int, body: bytes, kind: str, package: Package) -> NDArray[np.float64]:
    """Return the predictions of one request, after checking the status and the package that the response names."""
    try:
        status, answer = call(port, "POST", "/predict", body, kind)
    except (OSError, http.client.HTTPException) as error:
        raise MeritError(f"/predict does not answer ({error!r:.100})") from error
    if status != http.client.OK:
        raise Refused(f"/predict answers {status}: {' '.join(answer.decode(errors='replace').split())[:TOLD]}")
    try:
        payload = msgspec.json.decode(answer)
        version, predictions = payload["version"], payload.get("probabilities", payload["predictions"])
        result = np.array(predictions, dtype=np.float64)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"/predict answers no predictions ({error!r:.100})") from error
    if version != package.digest:
        raise Refused(f"/predict answers as {version!s:.80}, which is not this package")
    return result


def call(port: int, method: str, path: str, body: bytes | None = None, kind: str = JSON) -> tuple[int, bytes]:
    """Send a request to the loopback port and return status and body; proxies of the environment are not used."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request(method, path, body, {"content-type": kind} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def in_a_batch(folder: Path, rows: Rows, package: Package) -> NDArray[np.float64]:
    """Return the predictions of `merit predict` for the rows, written to a file in the format of the source.

    Raises:
        Refused: the command can't read the rows as training did.
        MeritError: the command fails otherwise, or times out.
    """
    table = rows.table.select(each["name"] for each in package.inputs)
    source, target = folder / ("rows.parquet" if rows.dialect is None else "rows.csv"), folder / "scored.parquet"
    source.write_bytes(_parquet(table) if rows.dialect is None else encoded(table, rows.dialect))
    arguments = ["predict", str(source), str(target), "--package", str(artifacts.PACKAGE.absolute()), "--keep", ""]
    try:
        done = subprocess.run(
            [str(PREDICT), *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=PREDICT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeritError(f"'merit predict' does not answer ({error!r:.100})") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.replace(f"{folder}/", "").split())[-TOLD:] or f"exit code {done.returncode}"
        raise (Refused if done.returncode == 1 else MeritError)(f"'merit predict' on rows of the source: {said}")
    return _scored(pl.read_parquet(target), package.output.get("classes"))


def _scored(table: pl.DataFrame, classes: Sequence[Any] | None) -> NDArray[np.float64]:
    if classes is None:
        return table["prediction"].to_numpy()
    return table.select(f"probability_{each}" for each in classes).to_numpy()
