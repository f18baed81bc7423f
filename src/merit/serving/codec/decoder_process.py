"""The process that reads and writes tables (`decoder.py`): started when it is needed, and anew where it has ended."""

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
"""The folder that merit lies in."""
KEPT = ("PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG")
"""What the helper sees of the environment: no secrets."""
NO_FAULT = (0, -signal.SIGKILL, -signal.SIGTERM)
"""How a helper ends that had too much memory after its last answer, or that the system or a person has ended."""
END_SECONDS = 1.0
"""What a helper has to end by itself, once it answers no more."""


class Ended(Exception):
    """The helper ended before it had answered.

    Args:
        code: its exit code; of a signal minus its number.
        is_overdue: whether it was ended for the time it took.
        was_ready: whether it had come to the question.
    """

    def __init__(self, code: int, *, is_overdue: bool, was_ready: bool) -> None:
        super().__init__(f"exit code {code}")
        self.code, self.is_overdue, self.was_ready = code, is_overdue, was_ready


class Helper:
    """Asks one question after another; who asks sees to it that there is but one at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False

    def insisted(self, question: bytes, seconds: float) -> dict[str, Any]:
        """Return the answer to a question; asked twice where the helper ended for another reason than the table.

        What a table does to whoever reads it, it does again.

        Raises:
            OSError: it can't be started.
            Ended: it ended before it had answered.
        """
        until = time.monotonic() + seconds
        try:
            return self._exchanged(question, seconds)
        except Ended as error:
            if error.code not in NO_FAULT or error.is_overdue:
                raise
        return self._exchanged(question, until - time.monotonic())

    def close(self) -> int:
        """End it; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.kill()
        with suppress(OSError), process:  # what it did not read is still to be written to it
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
            with suppress(subprocess.TimeoutExpired):  # its own end says more than ours
                process.wait(END_SECONDS)
            raise Ended(self.close(), is_overdue=overdue.is_set(), was_ready=self._is_ready)
        return answer


def _end(process: "subprocess.Popen[bytes]", overdue: threading.Event) -> None:
    overdue.set()
    process.kill()


def _timer(seconds: float, ends: Callable[[], None]) -> threading.Timer:
    """Return a timer that runs.

    Raises:
        OSError: the system has no thread left.
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
    """Return so many bytes; None where it ended before."""
    assert process.stdout is not None
    found = process.stdout.read(size)
    return found if len(found) == size else None


def _started() -> "subprocess.Popen[bytes]":
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # it has the mask of this thread
    try:
        return subprocess.Popen(  # ours
            [sys.executable, "-P", str(SCRIPT), str(SOURCE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "POLARS_MAX_THREADS": "1"},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
