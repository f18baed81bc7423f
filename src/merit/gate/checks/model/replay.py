"""Replay check: end-to-end parity of the served model with the package.

Builds the Bento, serves it on loopback, sends it rows of the source as a client would, and stops it; `merit predict`
scores the same rows. The clients are in `replay_clients`.

This takes seconds, so it starts before the other checks and is awaited after them. The result is cached under a hash of
everything that it depends on: a changed threshold doesn't build the Bento again.
"""

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit import artifacts
from merit.errors import MeritError, Refused
from merit.gate.checks.background import BackgroundCheck
from merit.gate.checks.model import replay_key
from merit.gate.checks.model.replay_clients import (
    HOST,
    MAX_QUOTED_CHARS,
    predict_in_batch,
    predict_over_http,
    send_request,
)
from merit.gate.checks.model.source_rows import ReplayRows
from merit.gate.checks.protocol import CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict
from merit.packaging.bento_files import assemble_files

NAME = "replay"
WAIVABLE = False
CACHE_FILE = Path(".merit/replay.json")
"""The cached result: `{key, rows, greatest}`."""
WATCHDOG = Path(__file__).with_name("watchdog.py")
BENTOML_PROGRAM = Path(sys.executable).with_name("bentoml")
BUILD_TIMEOUT_S, READY_TIMEOUT_S, STOP_TIMEOUT_S = 180.0, 60.0, 10.0
POLL_INTERVAL_S = 0.05
MAX_STARTS = 3
"""Attempts to start the Bento while another process takes the ports that are chosen for it, ours or BentoML's own."""


class PortTakenError(MeritError):
    """Another process took a port between its choice and its use."""


def build_checks(evidence: Evidence) -> dict[str, BackgroundCheck[tuple[float, int, bool]]]:
    """Return the check if gate.replay is set; a cancelled measurement ends every process that it has started."""
    rule = evidence.lock.gate.replay
    return {} if rule is None else {NAME: BackgroundCheck(partial(_measure_difference, evidence, rule.rows), _judge)}


def _judge(evidence: Evidence, pending: "Future[tuple[float, int, bool]]") -> CheckResult:
    """Check the greatest difference; a Bento that can't be built or queried gives an inconclusive check."""
    limit = evidence.lock.gate.parity
    allowed = f"at most {limit:.0e}"
    try:
        max_difference, rows, is_cached = pending.result()
    except Refused as error:
        advice = "the Bento is not the package: look at src/merit/serving and bentofile.yaml"
        return CheckResult(NAME, Verdict.FAIL, str(error), allowed, advice)
    except (MeritError, OSError) as error:
        advice = "fix serving (try 'bentoml build' and 'bentoml serve'), or declare gate.replay: null"
        return CheckResult(NAME, Verdict.INCONCLUSIVE, f"the Bento can't be queried: {error}", allowed, advice)
    verdict = Verdict.PASS if max_difference <= limit else Verdict.FAIL
    text = f"{max_difference:.1e} on {rows:,} rows over HTTP and in a batch{', measured before' if is_cached else ''}"
    return CheckResult(NAME, verdict, text, allowed, "the served model differs from the package: look at serving")


def _measure_difference(evidence: Evidence, max_rows: int, cancelled: threading.Event) -> tuple[float, int, bool]:
    """Return the greatest difference of any prediction, the number of rows, and whether the result was cached.

    Raises:
        Refused: the Bento responds, but not with the package's predictions.
        MeritError: the Bento can't be built or queried.
    """
    key = replay_key.compute_cache_key(max_rows)
    if (cached := _read_cached(key)) is not None:
        return *cached, True
    row_indices = np.unique(np.linspace(0, evidence.rows.height - 1, min(max_rows, evidence.rows.height)).astype(int))
    expected = evidence.candidate[row_indices]
    predictions = _query_bento(evidence, row_indices, cancelled)
    if wrong_shapes := [each.shape for each in predictions if each.shape != expected.shape]:
        raise Refused(f"answers of the shape {wrong_shapes[0]}, where the package gives {expected.shape}")
    max_difference = max(float(np.abs(each - expected).max()) for each in predictions) / evidence.prediction_unit
    if np.isfinite(max_difference):
        artifacts.write_json(CACHE_FILE, {"key": key, "rows": len(row_indices), "greatest": max_difference})
    return max_difference, len(row_indices), False


def _read_cached(key: str) -> tuple[float, int] | None:
    """Return the cached difference and number of rows if they were measured under this key."""
    if not CACHE_FILE.is_file():
        return None
    with suppress(MeritError, KeyError, TypeError, ValueError):
        cached = artifacts.read_json(CACHE_FILE, "gate")
        if cached["key"] == key:
            return float(cached["greatest"]), int(cached["rows"])
    return None


def _query_bento(
    evidence: Evidence, row_indices: NDArray[Any], cancelled: threading.Event
) -> list[NDArray[np.float64]]:
    """Return three predictions of the chosen test rows: the Bento's by JSON and by Parquet, and `merit predict`'s."""
    with tempfile.TemporaryDirectory(prefix="merit-bento-") as folder_name:
        folder = Path(folder_name)
        assemble_files(folder / "project")
        (folder / "elsewhere").mkdir()  # serve from an empty folder: the Bento must not rely on the project's files
        tag = f"{evidence.manifest['model'].lower()}:latest"
        with _run_bentoml(folder, "project", "build") as building:
            _wait_until(building, BUILD_TIMEOUT_S, cancelled, lambda: building.poll() is not None, "is not built")
            if building.returncode != 0:
                raise MeritError(f"'bentoml build' failed: {_read_log_end(folder)}")
        rows = _select_rows(evidence, row_indices)
        with _serve_bento(folder, tag, cancelled) as port:
            return [*predict_over_http(port, rows, evidence.package), predict_in_batch(folder, rows, evidence.package)]


@contextmanager
def _serve_bento(folder: Path, tag: str, cancelled: threading.Event) -> Iterator[int]:
    """Serve the Bento on a free port while the block runs; yield the port once it is ready."""
    for attempt in range(1, MAX_STARTS + 1):
        port = _find_free_port()
        with _run_bentoml(folder, "elsewhere", "serve", tag, "--host", HOST, "--port", str(port)) as serving:
            try:
                _wait_until(
                    serving, READY_TIMEOUT_S, cancelled, partial(_is_ready, serving, folder, port), "does not come up"
                )
            except PortTakenError:
                if attempt == MAX_STARTS:
                    raise
                continue
            yield port
            return


def _select_rows(evidence: Evidence, row_indices: NDArray[Any]) -> ReplayRows:
    """Return the chosen test rows as the source has them."""
    rows = ReplayRows(evidence.rows) if evidence.source is None else evidence.source.get_rows()
    return replace(rows, table=rows.table[row_indices])


@contextmanager
def _run_bentoml(folder: Path, working_folder: str, *args: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run BentoML with its own store and in its own process group; the whole group ends with the block.

    If this process is killed within the block, a watchdog ends the group.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MERIT_", "BENTOML_"))}
    with _start_watchdog(folder) as register, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(BENTOML_PROGRAM.absolute()), *args],
            cwd=folder / working_folder,
            env={**inherited, "BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            register(f"{process.pid}\n")
            yield process
        finally:
            _stop_group(process)


@contextmanager
def _start_watchdog(folder: Path) -> Iterator[Callable[[str], None]]:
    """Start a watchdog; yield a function that registers a process group to end if this process is killed."""
    command = [sys.executable, "-I", str(WATCHDOG), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True) as watchdog:
        assert watchdog.stdin is not None
        pipe = watchdog.stdin

        def write_line(line: str) -> None:
            with suppress(BrokenPipeError):  # the watchdog died: the replay works without it
                pipe.write(line)
                pipe.flush()

        try:
            yield write_line
        finally:
            write_line("done\n")


def _stop_group(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a process group, and kill it if it doesn't end in time."""
    for stop_signal in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, stop_signal)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
            return


def _wait_until(
    process: "subprocess.Popen[bytes]",
    timeout_s: float,
    cancelled: threading.Event,
    is_done: Callable[[], bool],
    problem: str,
) -> None:
    """Poll until `is_done` returns True.

    Raises:
        MeritError: it took too long, or the gate no longer waits for the replay.
    """
    deadline = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() > deadline:
            raise MeritError(f"it {problem} within {timeout_s:g} seconds (process {process.pid})")
        if cancelled.wait(POLL_INTERVAL_S):
            raise MeritError("given up")


def _read_log_end(folder: Path) -> str:
    """Return the end of BentoML's log."""
    text = " ".join((folder / "log").read_text(encoding="utf-8", errors="replace").split())
    return text[-MAX_QUOTED_CHARS:] or "it said nothing"


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_ready(serving: "subprocess.Popen[bytes]", folder: Path, port: int) -> bool:
    """Return whether the Bento is ready to serve.

    Raises:
        MeritError: the process has ended; PortTakenError if a port was taken.
    """
    if serving.poll() is not None:
        log_end = _read_log_end(folder)
        # BentoML tells this apart by its text alone: its supervisor ends with exit code 1 whatever was wrong.
        error = PortTakenError if os.strerror(errno.EADDRINUSE) in log_end else MeritError
        raise error(f"'bentoml serve' ended with exit code {serving.returncode}: {log_end}")
    try:
        return send_request(port, "GET", "/readyz")[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


FAMILY = CheckFamily(220, build_checks, phase="waiting for predictions of the built Bento", schedule="background")
