"""Runs the helper process that decodes and encodes tables (`decoder.py`); starts it on demand and after an exit."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from merit.process.lifetime import STOP_SIGNALS

SCRIPT = Path(__file__).with_name("decoder.py")
SOURCE_FOLDER = Path(__file__).parents[2]
"""The folder that contains the package merit."""
INHERITED_VARIABLES = ("PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")
"""Environment variables the helper inherits; none is a secret."""
RETRIED_EXIT_CODES = (0, -signal.SIGKILL, -signal.SIGTERM)
"""Exit codes not caused by the table: memory cleanup after a response, or killed by the system or an operator."""
EXIT_TIMEOUT_S = 1.0
"""How long a helper that stopped answering may take to exit by itself."""


class HelperExited(Exception):
    """The helper exited before it answered.

    Args:
        code: its exit code; the negative number of a signal.
        is_overdue: whether it was killed because it took too long.
        was_ready: whether it had started up and could receive the request.
    """

    def __init__(self, code: int, *, is_overdue: bool, was_ready: bool) -> None:
        super().__init__(f"exit code {code}")
        self.code, self.is_overdue, self.was_ready = code, is_overdue, was_ready


class TableHelper:
    """Client of the helper process; not thread safe, so callers must serialize their requests."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    def request_with_retry(self, payload: bytes, timeout_s: float) -> dict[str, Any]:
        """Return the response to a request; retry once if the helper exited for a reason other than the table.

        A table that crashes the helper would crash it again, so that case is not retried.

        Args:
            payload: the msgpack-encoded request.
            timeout_s: time limit, retry included.

        Raises:
            OSError: the helper can't be started.
            HelperExited: the helper exited before it answered.
        """
        deadline = time.monotonic() + timeout_s
        try:
            return self._request(payload, timeout_s)
        except HelperExited as error:
            if error.code not in RETRIED_EXIT_CODES or error.is_overdue:
                raise
        return self._request(payload, deadline - time.monotonic())

    def close(self) -> int:
        """Kill the helper; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        with suppress(OSError), process:  # closing stdin flushes unsent data, which fails
            pass
        return process.wait()

    def _request(self, payload: bytes, timeout_s: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.poll() is not None:
            self.close()
            process, self._is_ready = _start_process(), False
            self._process = process
        overdue = threading.Event()
        timer = _start_timer(timeout_s, partial(_kill_overdue, process, overdue))
        response = None
        try:
            self._is_ready = self._is_ready or _read_exactly(process, 8) is not None
            response = _exchange(process, payload) if self._is_ready else None
        except (OSError, msgspec.DecodeError):
            pass
        finally:
            timer.cancel()
        if response is None:
            with suppress(subprocess.TimeoutExpired):  # its own exit code says more than our kill
                process.wait(EXIT_TIMEOUT_S)
            raise HelperExited(self.close(), is_overdue=overdue.is_set(), was_ready=self._is_ready)
        return response


def _kill_overdue(process: "subprocess.Popen[bytes]", overdue: threading.Event) -> None:
    overdue.set()
    process.kill()


def _start_timer(seconds: float, on_timeout: Callable[[], None]) -> threading.Timer:
    """Start and return a timer.

    Raises:
        OSError: no thread can be started.
    """
    timer = threading.Timer(seconds, on_timeout)
    try:
        timer.start()
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return timer


def _exchange(process: "subprocess.Popen[bytes]", payload: bytes) -> dict[str, Any] | None:
    assert process.stdin is not None
    process.stdin.write(len(payload).to_bytes(8, "big") + payload)
    process.stdin.flush()
    size = _read_exactly(process, 8)
    message = None if size is None else _read_exactly(process, int.from_bytes(size, "big"))
    response: dict[str, Any] | None = None if message is None else msgspec.msgpack.decode(message)
    return response


def _read_exactly(process: "subprocess.Popen[bytes]", size: int) -> bytes | None:
    """Return exactly `size` bytes; None if the helper exited first."""
    assert process.stdout is not None
    data = process.stdout.read(size)
    return data if len(data) == size else None


def _start_process() -> "subprocess.Popen[bytes]":
    environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # the child inherits this thread's mask
    try:
        return subprocess.Popen(  # the program is merit's own
            [sys.executable, "-P", str(SCRIPT), str(SOURCE_FOLDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "POLARS_MAX_THREADS": "1"},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
