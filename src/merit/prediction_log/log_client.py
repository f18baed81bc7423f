"""The worker's side of the log: a queue of entries, and the thread that sends them to the writer process.

Request handlers append packed entries to the queue. The thread sends them to `merit.prediction_log.writer`, a separate
process that builds tables and files; done in a thread, that work would hold the GIL and delay requests.
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

import merit
from merit.console.json_log import Lines
from merit.prediction_log.privacy import KEY
from merit.prediction_log.protocol import HEAD, MOST_BYTES, Batch, Entry, State, Task, packed
from merit.process.lifetime import STOPS

POLL_SECONDS = 0.02
"""Seconds between two sends. Small, frequent sends leave the CPU caches to the request handlers."""
PIPE = 2**20
"""Pipe capacity in bytes, where the system allows it; a large pipe needs fewer writes."""
LONGEST_PAUSE = 60.0
"""The longest wait in seconds before a failed writer is replaced."""
CLOSE_SECONDS = 10.0
"""Seconds that the writer has to finish after the worker stops."""
SEEN = (KEY, "LD_LIBRARY_PATH", "TMPDIR", "LANG")
"""Environment variables that are passed to the writer."""
INSTALLED = ("site-packages", "dist-packages")
NAMES = {"predictions": "prediction_log", "feedback": "feedback"}


class Link:
    """Queues entries for the writer process and counts what became of their rows.

    Args:
        task: the configuration of the writer.

    Attributes:
        dropped: rows dropped because the queue was full, or because they can't be packed.
        written: rows in files.
        failed: accepted rows that were lost: no table could be built, or they were not written in time.
        faults: failed attempts to write; they are retried.
    """

    def __init__(self, task: Task) -> None:
        self._task, self._name = task, NAMES[task.kind]
        self._lines = Lines(most=1)
        self._lock = threading.Lock()
        self._batch = Batch()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._put_rows = self._sent_rows = 0
        self._dropped_told = 0
        self.dropped = self.written = self.failed = self.faults = 0
        self._writer: Writer | None = None
        here = weakref.WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: (forget := here()) and forget())

    @property
    def waiting(self) -> int:
        """Accepted rows that are neither written nor lost yet."""
        return max(0, self._put_rows - self.written - self.failed)

    def take(self, entry: Entry) -> bool:
        """Append an entry without blocking; return False if it is dropped, because the queue is full."""
        with self._lock:
            if self._batch.count >= self._task.told.queue or self._batch.size >= MOST_BYTES:
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
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def close(self) -> None:
        """Let the writer finish and stop it; rows not written in time count as failed."""
        self._stop.set()
        if (thread := self._thread) is not None:
            thread.join(CLOSE_SECONDS * 1.5)
            atexit.unregister(self.close)
        if lost := self.waiting:
            self.failed += lost
            self._tell("lost", rows_lost=lost)

    def _forked(self) -> None:
        """Reset the state in a forked child, because the writer belongs to the parent."""
        atexit.unregister(self.close)
        self._lock, self._batch, self._thread = threading.Lock(), Batch(), None
        self._put_rows = self.written + self.failed
        self._stop.set()
        if self._writer is not None:
            self._writer.let_go()

    def _run(self) -> None:
        """Run the sending thread; a failed writer is replaced after a growing wait."""
        # Blocked for this thread only; the writer process inherits the mask at its start.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        pause = 1.0
        while True:
            began = time.monotonic()
            try:
                self._writer = Writer(self._task)
                with self._writer as writer:
                    self._work(writer, State(self.written, self.failed, "", self.faults))
            except Exception as error:  # noqa: BLE001  # reported; another writer is started after any error
                self._lose(error)
            if self._stop.is_set():
                return
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = 1.0
            self._stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _work(self, writer: "Writer", before: State) -> None:
        """Send queued entries until the log is closed.

        Args:
            writer: the writer process.
            before: the counts at the start of this writer, because a new writer counts from 0.

        Raises:
            OSError: the writer has ended.
        """
        deadline = float("inf")
        while not writer.has_ended:
            if not writer.has_unsent and self._batch.count:
                writer.put(self._taken().packed())
            if self._stop.is_set():
                deadline = min(deadline, time.monotonic() + CLOSE_SECONDS)
                if time.monotonic() > deadline - CLOSE_SECONDS / 2:
                    writer.hang_up()  # noticed even while the buffer is full; the writer then tries one last write
                elif not writer.has_unsent and not self._batch.count:
                    writer.finish()
            for state in writer.exchange(POLL_SECONDS):
                self._hear(before, state)
            if self.dropped > self._dropped_told:
                self._dropped_told = self.dropped
                self._tell("dropped", rows_waiting=self.waiting)
            if time.monotonic() > deadline:
                return
        if not self._stop.is_set():
            raise OSError(None, f"the writer has ended ({writer.status})")

    def _taken(self) -> Batch:
        with self._lock:
            found, self._batch = self._batch, Batch()
        self._sent_rows += found.rows
        return found

    def _hear(self, before: State, state: State) -> None:
        """Update the counts from the state of a writer; `before` has the counts at its start."""
        failed = before.failed + state.failed - self.failed
        self.written, self.failed = before.written + state.written, before.failed + state.failed
        if failed:
            self._tell("table", error=state.failure, rows_lost=failed)
        if before.faults + state.faults > self.faults:
            self.faults = before.faults + state.faults
            self._tell("write", error=state.fault, rows_waiting=self.waiting)

    def _lose(self, error: Exception) -> None:
        """Count the rows lost with a failed writer."""
        lost = self._sent_rows - self.written - self.failed
        self.failed += lost
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        self._tell("writer", error=why, rows_lost=lost)

    def _tell(self, kind: str, **more: Any) -> None:
        """Log an error with the total losses; at most one of each kind per minute."""
        self._lines.tell(self._name, kind, level="error", **more, rows_failed=self.failed, rows_dropped=self.dropped)


class Writer:
    """A writer process and its pipes.

    Args:
        task: its configuration.

    Raises:
        OSError: it can't be started.
    """

    def __init__(self, task: Task) -> None:
        self._process = started()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked_file, self._answers_file = self._process.stdin, self._process.stdout
        self._asked, self._answers = self._asked_file.fileno(), self._answers_file.fileno()
        for each in (self._asked, self._answers):
            os.set_blocking(each, False)
        if sys.platform == "linux":
            with suppress(OSError):
                fcntl.fcntl(self._asked, fcntl.F_SETPIPE_SZ, PIPE)
        self._unsent, self._heard = memoryview(packed(task)), bytearray()
        self._is_over = self.has_ended = False

    def __enter__(self) -> "Writer":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process; a regular shutdown has given it time to write before."""
        self.hang_up()
        if not self.has_ended:
            self._process.kill()
        self._process.wait()
        self._answers_file.close()

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

    def put(self, packed: memoryview) -> None:
        """Set the data to send next."""
        self._unsent = packed

    def finish(self) -> None:
        """Send the end marker; closing the pipe is not enough if a forked child still holds it open."""
        if not self._is_over:
            self._is_over = True
            self._unsent = memoryview(bytes(HEAD))

    def hang_up(self) -> None:
        """Close the pipe, which the writer notices even while its buffer is full."""
        self._is_over, self._unsent = True, memoryview(b"")
        with suppress(OSError):
            self._asked_file.close()

    def let_go(self) -> None:
        """Close the pipes in a forked child, because they belong to the parent."""
        for each in (self._asked_file, self._answers_file):
            with suppress(OSError):
                each.close()

    def exchange(self, seconds: float) -> list[State]:
        """Send data and return the states that arrived; wait up to `seconds` for either pipe.

        Raises:
            OSError: the writer has closed its input.
        """
        poll = select.poll()  # unlike select, it supports descriptors above 1,023
        poll.register(self._answers, select.POLLIN)
        if self._unsent:
            poll.register(self._asked, select.POLLOUT)
        ready = [each for each, _ in poll.poll(seconds * 1000)]
        if self._answers in ready:
            part = os.read(self._answers, 65536)
            self.has_ended = not part
            self._heard += part
        elif self._asked in ready:
            self._unsent = self._unsent[os.write(self._asked, self._unsent) :]
        return list(self._states())

    def _states(self) -> Iterator[State]:
        while len(self._heard) >= HEAD:
            end = HEAD + int.from_bytes(self._heard[:HEAD], "big")
            if len(self._heard) < end:
                return
            yield msgspec.msgpack.decode(self._heard[HEAD:end], type=State)
            del self._heard[:end]


def started() -> "subprocess.Popen[bytes]":
    """Start a writer process."""
    seen = {name: os.environ[name] for name in SEEN if name in os.environ}
    here = Path(merit.__file__).parents[1]
    places = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    if here.name not in INSTALLED:  # else it is found anyway, and site-packages must not precede the stdlib
        places.insert(0, str(here))
    return subprocess.Popen(  # our own module
        [sys.executable, "-P", "-m", "merit.prediction_log.writer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**seen, "PYTHONPATH": os.pathsep.join(places)},
    )
