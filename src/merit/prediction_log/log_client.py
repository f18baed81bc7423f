"""What waits in a worker for its writer: put by whoever answers, sent by a thread.

Putting packs it behind what waits. The thread sends that to another process, `merit.prediction_log.writer`, which makes
tables and files of it: in a thread that would hold the interpreter, and so those who answer.
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
"""How often what waits is sent: while it is little, it does not drive from the processor's caches what answers."""
PIPE = 2**20
"""Bytes that a pipe holds, where the system allows it: fewer turns to send what waits."""
LONGEST_PAUSE = 60.0
"""Seconds between a writer that failed and the next, at most."""
CLOSE_SECONDS = 10.0
"""What the writer has, to write what waits, once the worker ends."""
SEEN = (KEY, "LD_LIBRARY_PATH", "TMPDIR", "LANG")
"""What the writer sees of the environment."""
INSTALLED = ("site-packages", "dist-packages")
NAMES = {"predictions": "prediction_log", "feedback": "feedback"}


class Link:
    """Keeps what is put until it is sent, and knows what became of it.

    Args:
        task: what the writer is for.

    Attributes:
        dropped: rows that were not taken, for too much waited, or because they can't be packed.
        written: rows in files.
        failed: rows that were taken, but could be neither made a table of nor written before the end.
        faults: attempts to write that failed; they are made again.
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
        """Rows that are neither written nor lost yet."""
        return max(0, self._put_rows - self.written - self.failed)

    def take(self, entry: Entry) -> bool:
        """Take an entry, unless too much waits; say whether. It waits for nobody."""
        with self._lock:
            if self._batch.count >= self._task.told.queue or self._batch.size >= MOST_BYTES:
                self.dropped += entry[0]
                return False
            try:
                self._batch.add(entry)
            except (ValueError, TypeError, OverflowError):  # a text that is no Unicode, for one
                self.dropped += entry[0]
                return False
            self._put_rows += entry[0]
        if self._thread is None:
            self.start()
        return True

    def start(self) -> None:
        """Start the thread and the writer, unless they run."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def close(self) -> None:
        """Have the writer write what waits, and end it; what can't be written by then is counted as failed."""
        self._stop.set()
        if (thread := self._thread) is not None:
            thread.join(CLOSE_SECONDS * 1.5)
            atexit.unregister(self.close)
        if lost := self.waiting:
            self.failed += lost
            self._tell("lost", rows_lost=lost)

    def _forked(self) -> None:
        """In a child that was forked: the writer is its parent's."""
        atexit.unregister(self.close)
        self._lock, self._batch, self._thread = threading.Lock(), Batch(), None
        self._put_rows = self.written + self.failed
        self._stop.set()
        if self._writer is not None:
            self._writer.let_go()

    def _run(self) -> None:
        """Work with one writer after another; there is another only where one failed."""
        # Of this thread; what it starts has the mask from its first moment.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        pause = 1.0
        while True:
            began = time.monotonic()
            try:
                self._writer = Writer(self._task)
                with self._writer as writer:
                    self._work(writer, State(self.written, self.failed, "", self.faults))
            except Exception as error:  # noqa: BLE001  # told; whatever it was, there is another writer
                self._lose(error)
            if self._stop.is_set():
                return
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = 1.0
            self._stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _work(self, writer: "Writer", before: State) -> None:
        """Send what comes, until there is to be no more of it.

        Args:
            writer: whom to.
            before: what there was before it began.

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
                    writer.hang_up()  # which it hears also while it takes nothing more: it tries to write once more
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
        """Take note of how a writer stands; `before` is what there was before it began."""
        failed = before.failed + state.failed - self.failed
        self.written, self.failed = before.written + state.written, before.failed + state.failed
        if failed:
            self._tell("table", error=state.failure, rows_lost=failed)
        if before.faults + state.faults > self.faults:
            self.faults = before.faults + state.faults
            self._tell("write", error=state.fault, rows_waiting=self.waiting)

    def _lose(self, error: Exception) -> None:
        """Count what a writer had when it failed."""
        lost = self._sent_rows - self.written - self.failed
        self.failed += lost
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        self._tell("writer", error=why, rows_lost=lost)

    def _tell(self, kind: str, **more: Any) -> None:
        """Write a line, one of a kind in a minute, with what was lost in all."""
        self._lines.tell(self._name, kind, level="error", **more, rows_failed=self.failed, rows_dropped=self.dropped)


class Writer:
    """A writer's process, and the pipes to it and from it.

    Args:
        task: what it is for.

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
        """Work with it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it: by now it has written, or has had the time to."""
        self.hang_up()
        if not self.has_ended:
            self._process.kill()
        self._process.wait()
        self._answers_file.close()

    @property
    def has_unsent(self) -> bool:
        """Whether something that was put is not sent yet."""
        return bool(self._unsent)

    @property
    def status(self) -> str:
        """How it has ended; its pipes may be closed a moment before it is no more."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return f"status {self._process.returncode}"

    def put(self, packed: memoryview) -> None:
        """Put what is to be sent next."""
        self._unsent = packed

    def finish(self) -> None:
        """Say that nothing more comes; a closed pipe would not say so where a child that was forked holds it too."""
        if not self._is_over:
            self._is_over = True
            self._unsent = memoryview(bytes(HEAD))

    def hang_up(self) -> None:
        """Close the pipe, which also a writer hears that takes nothing more."""
        self._is_over, self._unsent = True, memoryview(b"")
        with suppress(OSError):
            self._asked_file.close()

    def let_go(self) -> None:
        """In a child that was forked: close what is the parent's."""
        for each in (self._asked_file, self._answers_file):
            with suppress(OSError):
                each.close()

    def exchange(self, seconds: float) -> list[State]:
        """Send what can be sent, and return how the writer says it stands; wait so long for one or the other.

        Raises:
            OSError: it reads no more, and has said nothing more.
        """
        poll = select.poll()  # unlike select, it takes descriptors past 1,023
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
    """Return a writer's process."""
    seen = {name: os.environ[name] for name in SEEN if name in os.environ}
    here = Path(merit.__file__).parents[1]
    places = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    if here.name not in INSTALLED:  # where it is installed it is found, but nothing there may come before Python's own
        places.insert(0, str(here))
    return subprocess.Popen(  # ours
        [sys.executable, "-P", "-m", "merit.prediction_log.writer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**seen, "PYTHONPATH": os.pathsep.join(places)},
    )
