"""The worker's side of the log: a queue of entries, and the thread that sends them to the writer process.

Request handlers append packed entries to the queue. The thread sends them to `merit.prediction_log.writer_process`, a
separate process that builds tables and files; done in a thread, that work would hold the GIL and delay requests.
"""

import atexit
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from merit.console.json_log import RateLimitedLogger
from merit.prediction_log.privacy import KEY_VARIABLE
from merit.prediction_log.protocol import (
    LENGTH_BYTES,
    MAX_QUEUE_BYTES,
    EntryBatch,
    LogEntry,
    WriterState,
    WriterTask,
    pack_message,
)
from merit.process.lifetime import STOP_SIGNALS

POLL_INTERVAL_S = 0.02
"""Seconds between two sends. Small, frequent sends leave the CPU caches to the request handlers."""
PIPE_BYTES = 2**20
"""Pipe capacity in bytes, where the system allows it; a large pipe needs fewer writes."""
MAX_RESTART_WAIT_S = 60.0
"""The longest wait in seconds before a failed writer is replaced."""
CLOSE_TIMEOUT_S = 10.0
"""Seconds that the writer has to finish after the worker stops."""
WRITER_VARIABLES = (KEY_VARIABLE, "LD_LIBRARY_PATH", "TMPDIR", "LANG")
"""Environment variables that are passed to the writer."""
INSTALL_FOLDERS = ("site-packages", "dist-packages")
LOG_NAMES = {"predictions": "prediction_log", "feedback": "feedback"}


class LogClient:
    """Queues entries for the writer process and counts what became of their rows.

    Args:
        task: the configuration of the writer.

    Attributes:
        dropped: rows dropped because the queue was full, or because they can't be packed.
        written: rows in files.
        failed: accepted rows that were lost: no table could be built, or they were not written in time.
        faults: failed attempts to write; they are retried.
    """

    def __init__(self, task: WriterTask) -> None:
        self._task, self._name = task, LOG_NAMES[task.kind]
        self._error_lines = RateLimitedLogger(max_per_minute=1)
        self._lock = threading.Lock()
        self._batch = EntryBatch()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._put_rows = self._sent_rows = 0
        self._dropped_logged = 0
        self.dropped = self.written = self.failed = self.faults = 0
        self._writer: WriterProcess | None = None
        weak_reset = weakref.WeakMethod(self._reset_after_fork)
        os.register_at_fork(after_in_child=lambda: (forget := weak_reset()) and forget())

    @property
    def waiting(self) -> int:
        """Accepted rows that are neither written nor lost yet."""
        return max(0, self._put_rows - self.written - self.failed)

    def enqueue(self, entry: LogEntry) -> bool:
        """Append an entry without blocking; return False if it is dropped, because the queue is full."""
        with self._lock:
            if self._batch.count >= self._task.settings.queue or self._batch.size >= MAX_QUEUE_BYTES:
                self.dropped += entry[0]
                return False
            try:
                self._batch.add(entry)
            except (ValueError, TypeError, OverflowError):  # for example text with invalid Unicode
                self.dropped += entry[0]
                return False
            self._put_rows += entry[0]
        if self._thread is None:
            self.start()
        return True

    def start(self) -> None:
        """Start the thread, which starts the writer; do nothing if it runs or was closed."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run_thread, name=self._name, daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def close(self) -> None:
        """Let the writer finish and stop it; rows not written in time count as failed."""
        self._stop.set()
        if (thread := self._thread) is not None:
            thread.join(CLOSE_TIMEOUT_S * 1.5)
            atexit.unregister(self.close)
        if lost := self.waiting:
            self.failed += lost
            self._log_error("lost", rows_lost=lost)

    def _reset_after_fork(self) -> None:
        """Reset the state in a forked child, because the writer belongs to the parent."""
        atexit.unregister(self.close)
        self._lock, self._batch, self._thread = threading.Lock(), EntryBatch(), None
        self._put_rows = self.written + self.failed
        self._stop.set()
        if self._writer is not None:
            self._writer.close_after_fork()

    def _run_thread(self) -> None:
        """Run the sending thread; a failed writer is replaced after a growing wait."""
        # Blocked for this thread only; the writer process inherits the mask at its start.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        restart_wait_s = 1.0
        while True:
            started_at = time.monotonic()
            try:
                self._writer = WriterProcess(self._task)
                with self._writer as writer:
                    self._send_until_closed(writer, WriterState(self.written, self.failed, "", self.faults))
            except Exception as error:  # noqa: BLE001  # reported; another writer is started after any error
                self._count_lost(error)
            if self._stop.is_set():
                return
            if time.monotonic() - started_at > MAX_RESTART_WAIT_S:
                restart_wait_s = 1.0
            self._stop.wait(restart_wait_s)
            restart_wait_s = min(restart_wait_s * 2, MAX_RESTART_WAIT_S)

    def _send_until_closed(self, writer: "WriterProcess", start_state: WriterState) -> None:
        """Send queued entries until the log is closed.

        Args:
            writer: the writer process.
            start_state: the counts at the start of this writer, because a new writer counts from 0.

        Raises:
            OSError: the writer has ended.
        """
        deadline = float("inf")
        while not writer.has_ended:
            if not writer.has_unsent and self._batch.count:
                writer.queue_data(self._take_batch().pack())
            if self._stop.is_set():
                deadline = min(deadline, time.monotonic() + CLOSE_TIMEOUT_S)
                if time.monotonic() > deadline - CLOSE_TIMEOUT_S / 2:
                    writer.close_input()  # noticed even while the buffer is full; the writer then tries one last write
                elif not writer.has_unsent and not self._batch.count:
                    writer.finish()
            for state in writer.exchange_data(POLL_INTERVAL_S):
                self._update_counts(start_state, state)
            if self.dropped > self._dropped_logged:
                self._dropped_logged = self.dropped
                self._log_error("dropped", rows_waiting=self.waiting)
            if time.monotonic() > deadline:
                return
        if not self._stop.is_set():
            raise OSError(None, f"the writer has ended ({writer.status})")

    def _take_batch(self) -> EntryBatch:
        with self._lock:
            batch, self._batch = self._batch, EntryBatch()
        self._sent_rows += batch.rows
        return batch

    def _update_counts(self, start_state: WriterState, state: WriterState) -> None:
        """Update the counts from the state of a writer; `start_state` has the counts at its start."""
        failed = start_state.failed + state.failed - self.failed
        self.written, self.failed = start_state.written + state.written, start_state.failed + state.failed
        if failed:
            self._log_error("table", error=state.failure, rows_lost=failed)
        if start_state.faults + state.faults > self.faults:
            self.faults = start_state.faults + state.faults
            self._log_error("write", error=state.fault, rows_waiting=self.waiting)

    def _count_lost(self, error: Exception) -> None:
        """Count the rows lost with a failed writer."""
        lost = self._sent_rows - self.written - self.failed
        self.failed += lost
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        self._log_error("writer", error=reason, rows_lost=lost)

    def _log_error(self, kind: str, **fields: Any) -> None:
        """Log an error with the total losses; at most one of each kind per minute."""
        self._error_lines.log(
            self._name, kind, level="error", **fields, rows_failed=self.failed, rows_dropped=self.dropped
        )


class WriterProcess:
    """A writer process and its pipes.

    Args:
        task: its configuration.

    Raises:
        OSError: it can't be started.
    """

    def __init__(self, task: WriterTask) -> None:
        self._process = start_process()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input_file, self._output_file = self._process.stdin, self._process.stdout
        self._input_fd, self._output_fd = self._input_file.fileno(), self._output_file.fileno()
        for each in (self._input_fd, self._output_fd):
            os.set_blocking(each, False)
        if sys.platform == "linux":
            with suppress(OSError):
                fcntl.fcntl(self._input_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._unsent, self._received = memoryview(pack_message(task)), bytearray()
        self._is_finished = self.has_ended = False

    def __enter__(self) -> "WriterProcess":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process; a regular shutdown has given it time to write before."""
        self.close_input()
        if not self.has_ended:
            self._process.kill()
        self._process.wait()
        self._output_file.close()

    @property
    def has_unsent(self) -> bool:
        """Whether data is not sent yet."""
        return bool(self._unsent)

    @property
    def status(self) -> str:
        """Its exit status; its pipes may close a moment before the process ends."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return f"status {self._process.returncode}"

    def queue_data(self, content: memoryview) -> None:
        """Set the data to send next."""
        self._unsent = content

    def finish(self) -> None:
        """Send the end marker; closing the pipe is not enough if a forked child still holds it open."""
        if not self._is_finished:
            self._is_finished = True
            self._unsent = memoryview(bytes(LENGTH_BYTES))

    def close_input(self) -> None:
        """Close the pipe, which the writer notices even while its buffer is full."""
        self._is_finished, self._unsent = True, memoryview(b"")
        with suppress(OSError):
            self._input_file.close()

    def close_after_fork(self) -> None:
        """Close the pipes in a forked child, because they belong to the parent."""
        for each in (self._input_file, self._output_file):
            with suppress(OSError):
                each.close()

    def exchange_data(self, timeout_s: float) -> list[WriterState]:
        """Send data and return the states that arrived; wait up to `timeout_s` for either pipe.

        Raises:
            OSError: the writer has closed its input.
        """
        poll = select.poll()  # unlike select, it supports descriptors above 1,023
        poll.register(self._output_fd, select.POLLIN)
        if self._unsent:
            poll.register(self._input_fd, select.POLLOUT)
        ready = [each for each, _ in poll.poll(timeout_s * 1000)]
        if self._output_fd in ready:
            part = os.read(self._output_fd, 65536)
            self.has_ended = not part
            self._received += part
        elif self._input_fd in ready:
            self._unsent = self._unsent[os.write(self._input_fd, self._unsent) :]
        return list(self._parse_states())

    def _parse_states(self) -> Iterator[WriterState]:
        while len(self._received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._received[:LENGTH_BYTES], "big")
            if len(self._received) < end:
                return
            yield msgspec.msgpack.decode(self._received[LENGTH_BYTES:end], type=WriterState)
            del self._received[:end]


def start_process() -> "subprocess.Popen[bytes]":
    """Start a writer process."""
    variables = {name: os.environ[name] for name in WRITER_VARIABLES if name in os.environ}
    source_folder = Path(__file__).resolve().parents[2]
    python_paths = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    if (
        source_folder.name not in INSTALL_FOLDERS
    ):  # else it is found anyway, and site-packages must not precede the stdlib
        python_paths.insert(0, str(source_folder))
    return subprocess.Popen(  # our own module
        [sys.executable, "-P", "-m", "merit.prediction_log.writer_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**variables, "PYTHONPATH": os.pathsep.join(python_paths)},
    )
