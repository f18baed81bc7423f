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

from merit.process.lifetime import STOPS

SCRIPT = Path(__file__).with_name("decoder.py")
SOURCE = Path(__file__).parents[2]
"""The folder that contains the package merit."""
KEPT = ("PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")
"""Environment variables the helper inherits; none is a secret."""
NO_FAULT = (0, -signal.SIGKILL, -signal.SIGTERM)
"""Exit codes not caused by the table: memory cleanup after a response, or killed by the system or an operator."""
END_SECONDS = 1.0
"""How long a helper that stopped answering may take to exit by itself."""


class Ended(Exception):
    """The helper exited before it answered.

    Args:
        code: its exit code; the negative number of a signal.
        is_overdue: whether it was killed because it took too long.
        was_ready: whether it had started up and could receive the request.
    """

    def __init__(self, code: int, *, is_overdue: bool, was_ready: bool) -> None:
        super().__init__(f"exit code {code}")
        self.code, self.is_overdue, self.was_ready = code, is_overdue, was_ready


class Helper:
    """Client of the helper process; not thread safe, so callers must serialize their requests."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    def insisted(self, question: bytes, seconds: float) -> dict[str, Any]:
        """Return the response to a request; retry once if the helper exited for a reason other than the table.

        A table that crashes the helper would crash it again, so that case is not retried.

        Args:
            question: the msgpack-encoded request.
            seconds: time limit, retry included.

        Raises:
            OSError: the helper can't be started.
            Ended: the helper exited before it answered.
        """
        until = time.monotonic() + seconds
        try:
            return self._exchanged(question, seconds)
        except Ended as error:
            if error.code not in NO_FAULT or error.is_overdue:
                raise
        return self._exchanged(question, until - time.monotonic())

    def close(self) -> int:
        """Kill the helper; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        with suppress(OSError), process:  # closing stdin flushes unsent data, which fails
            pass
        return process.wait()

    def _exchanged(self, question: bytes, seconds: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.poll() is not None:
            self.close()
            process, self._is_ready = _started(), False
            self._process = process
        overdue = threading.Event()
        timer = _timer(seconds, partial(_end, process, overdue))
        answer = None
        try:
            self._is_ready = self._is_ready or _read(process, 8) is not None
            answer = _answered(process, question) if self._is_ready else None
        except (OSError, msgspec.DecodeError):
            pass
        finally:
            timer.cancel()
        if answer is None:
            with suppress(subprocess.TimeoutExpired):  # its own exit code says more than our kill
                process.wait(END_SECONDS)
            raise Ended(self.close(), is_overdue=overdue.is_set(), was_ready=self._is_ready)
        return answer


def _end(process: "subprocess.Popen[bytes]", overdue: threading.Event) -> None:
    overdue.set()
    process.kill()


def _timer(seconds: float, ends: Callable[[], None]) -> threading.Timer:
    """Start and return a timer.

    Raises:
        OSError: no thread can be started.
    """
    timer = threading.Timer(seconds, ends)
    try:
        timer.start()
    except RuntimeError as error:
        raise OSError(str(error)) from error
    return timer


def _answered(process: "subprocess.Popen[bytes]", question: bytes) -> dict[str, Any] | None:
    assert process.stdin is not None
    process.stdin.write(len(question).to_bytes(8, "big") + question)
    process.stdin.flush()
    size = _read(process, 8)
    text = None if size is None else _read(process, int.from_bytes(size, "big"))
    answer: dict[str, Any] | None = None if text is None else msgspec.msgpack.decode(text)
    return answer


def _read(process: "subprocess.Popen[bytes]", size: int) -> bytes | None:
    """Return exactly `size` bytes; None if the helper exited first."""
    assert process.stdout is not None
    found = process.stdout.read(size)
    return found if len(found) == size else None


def _started() -> "subprocess.Popen[bytes]":
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # the child inherits this thread's mask
    try:
        return subprocess.Popen(  # the program is merit's own
            [sys.executable, "-P", str(SCRIPT), str(SOURCE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "POLARS_MAX_THREADS": "1"},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
