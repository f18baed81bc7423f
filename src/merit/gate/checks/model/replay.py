"""Replay check: end-to-end parity of the served model with the package.

Builds the Bento, serves it on loopback, sends it rows of the source as a client would, and stops it; `merit predict`
scores the same rows. The clients are in `callers`.

This takes seconds, so it starts before the other checks and is awaited after them. The result is cached under a hash of
everything that it depends on: a changed threshold doesn't build the Bento again.
"""

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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit import artifacts
from merit.errors import MeritError, Refused
from merit.gate.checks.model import bento_key
from merit.gate.checks.model.callers import HOST, TOLD, call, in_a_batch, over_http
from merit.gate.checks.model.source import Rows
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.packaging.bento import assemble

NAME = "replay"
KEPT = Path(".merit/replay.json")
"""The cached result: `{key, rows, greatest}`."""
WATCHDOG = Path(__file__).with_name("watchdog.py")
PROGRAM = Path(sys.executable).with_name("bentoml")
BUILD_SECONDS, READY_SECONDS, STOP_SECONDS = 180.0, 60.0, 10.0
POLL_SECONDS = 0.05


@contextmanager
def begun(evidence: Evidence) -> Iterator[Callable[[], list[Check]]]:
    """Start the replay in a thread if gate.replay is set; yield a function that waits for it and returns the check.

    Leaving the block, even by an exception, ends every process that was started.
    """
    rule = evidence.lock.gate.replay
    if rule is None:
        yield list
        return
    given_up = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_measured, evidence, rule.rows, given_up)
        try:
            yield lambda: [_judged(evidence, asked)]
        finally:
            given_up.set()


def _judged(evidence: Evidence, asked: "Future[tuple[float, int, bool]]") -> Check:
    """Check the greatest difference; a Bento that can't be built or queried gives an inconclusive check."""
    limit = evidence.lock.gate.parity
    allowed = f"at most {limit:.0e}"
    try:
        greatest, rows, is_kept = asked.result()
    except Refused as error:
        advice = "the Bento is not the package: look at src/merit/serving and bentofile.yaml"
        return Check(NAME, Verdict.FAIL, str(error), allowed, advice)
    except (MeritError, OSError) as error:
        advice = "fix serving (try 'bentoml build' and 'bentoml serve'), or declare gate.replay: null"
        return Check(NAME, Verdict.INCONCLUSIVE, f"the Bento can't be queried: {error}", allowed, advice)
    verdict = Verdict.PASS if greatest <= limit else Verdict.FAIL
    found = f"{greatest:.1e} on {rows:,} rows over HTTP and in a batch{', measured before' if is_kept else ''}"
    return Check(NAME, verdict, found, allowed, "the served model differs from the package: look at serving")


def _measured(evidence: Evidence, most: int, given_up: threading.Event) -> tuple[float, int, bool]:
    """Return the greatest difference of any prediction, the number of rows, and whether the result was cached.

    Raises:
        Refused: the Bento responds, but not with the package's predictions.
        MeritError: the Bento can't be built or queried.
    """
    key = bento_key.key(most)
    if (kept := _kept(key)) is not None:
        return *kept, True
    chosen = np.unique(np.linspace(0, evidence.rows.height - 1, min(most, evidence.rows.height)).astype(int))
    expected = evidence.candidate[chosen]
    answers = _asked(evidence, chosen, given_up)
    if odd := [each.shape for each in answers if each.shape != expected.shape]:
        raise Refused(f"answers of the shape {odd[0]}, where the package gives {expected.shape}")
    greatest = max(float(np.abs(each - expected).max()) for each in answers) / evidence.unit
    if np.isfinite(greatest):
        artifacts.write_json(KEPT, {"key": key, "rows": len(chosen), "greatest": greatest})
    return greatest, len(chosen), False


def _kept(key: str) -> tuple[float, int] | None:
    """Return the cached difference and number of rows if they were measured under this key."""
    if not KEPT.is_file():
        return None
    with suppress(MeritError, KeyError, TypeError, ValueError):
        last = artifacts.read_json(KEPT, "gate")
        if last["key"] == key:
            return float(last["greatest"]), int(last["rows"])
    return None


def _asked(evidence: Evidence, chosen: NDArray[Any], given_up: threading.Event) -> list[NDArray[np.float64]]:
    """Return three predictions of the chosen test rows: the Bento's by JSON and by Parquet, and `merit predict`'s."""
    with tempfile.TemporaryDirectory(prefix="merit-bento-") as name:
        folder = Path(name)
        assemble(folder / "project")
        (folder / "elsewhere").mkdir()  # serve from an empty folder: the Bento must not rely on the project's files
        tag = f"{evidence.manifest['model'].lower()}:latest"
        with _running(folder, "project", "build") as building:
            _wait(building, BUILD_SECONDS, given_up, lambda: building.poll() is not None, "is not built")
            if building.returncode != 0:
                raise MeritError(f"'bentoml build' failed: {_said(folder)}")
        port = _free_port()
        with _running(folder, "elsewhere", "serve", tag, "--host", HOST, "--port", str(port)) as serving:
            _wait(serving, READY_SECONDS, given_up, lambda: _is_ready(serving, folder, port), "does not come up")
            rows = _rows(evidence, chosen)
            return [*over_http(port, rows, evidence.package), in_a_batch(folder, rows, evidence.package)]


def _rows(evidence: Evidence, chosen: NDArray[Any]) -> Rows:
    """Return the chosen test rows as the source has them."""
    rows = Rows(evidence.rows) if evidence.source is None else evidence.source.rows()
    return replace(rows, table=rows.table[chosen])


@contextmanager
def _running(folder: Path, place: str, *args: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run BentoML with its own store and in its own process group; the whole group ends with the block.

    If this process is killed within the block, a watchdog ends the group.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MERIT_", "BENTOML_"))}
    with _watched(folder) as tell, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(PROGRAM.absolute()), *args],
            cwd=folder / place,
            env={**kept, "BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            tell(f"{process.pid}\n")
            yield process
        finally:
            _stop(process)


@contextmanager
def _watched(folder: Path) -> Iterator[Callable[[str], None]]:
    """Start a watchdog; yield a function that registers a process group to end if this process is killed."""
    command = [sys.executable, "-I", str(WATCHDOG), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True) as watchdog:
        assert watchdog.stdin is not None
        told = watchdog.stdin

        def tell(line: str) -> None:
            with suppress(BrokenPipeError):  # the watchdog died: the replay works without it
                told.write(line)
                told.flush()

        try:
            yield tell
        finally:
            tell("done\n")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a process group, and kill it if it doesn't end in time."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return


def _wait(
    process: "subprocess.Popen[bytes]", seconds: float, given_up: threading.Event, holds: Callable[[], bool], said: str
) -> None:
    """Poll until `holds` returns True.

    Raises:
        MeritError: it took too long, or the gate no longer waits for the replay.
    """
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise MeritError(f"it {said} within {seconds:g} seconds (process {process.pid})")
        if given_up.wait(POLL_SECONDS):
            raise MeritError("given up")


def _said(folder: Path) -> str:
    """Return the end of BentoML's log."""
    text = " ".join((folder / "log").read_text(encoding="utf-8", errors="replace").split())
    return text[-TOLD:] or "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_ready(serving: "subprocess.Popen[bytes]", folder: Path, port: int) -> bool:
    """Return whether the Bento is ready to serve.

    Raises:
        MeritError: the process has ended.
    """
    if serving.poll() is not None:
        raise MeritError(f"'bentoml serve' ended with exit code {serving.returncode}: {_said(folder)}")
    try:
        return call(port, "GET", "/readyz")[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
