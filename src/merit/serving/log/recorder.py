"""What waits to be written: put by whoever answers, taken by a thread that makes tables of it and writes them.

Putting is an append to a queue. The thread holds the interpreter only to hand bodies to polars.
"""

import atexit
import concurrent.futures.thread  # noqa: F401  # polars needs it; once the process ends it can not be imported
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from merit.serving.access import Lines
from merit.serving.log.files import Files

if TYPE_CHECKING:
    import polars as pl

POLL_SECONDS = 0.1
BATCH = 512
"""Requests made into a table at once: few, so that the thread never holds the interpreter for long."""
MOST_BYTES = 64 * 2**20
"""Bytes that may wait as bodies, and again as tables that could not be written yet."""
ROWS_PER_FILE = 500_000
NICENESS = 5
"""How far the thread stands back behind those who answer, where the system has that for threads."""
LONGEST_PAUSE = 60.0
"""Seconds between one attempt to write and the next, at most."""
CLOSE_SECONDS = 10.0

Entry = tuple[Any, ...]


class Recorder:
    """Keeps what is put until it is written.

    Args:
        build: makes a table of entries.
        files: where tables go.
        most: entries that may wait.
        seconds: how often what waits is written.
        name: what it is called in lines and as a thread.

    Attributes:
        dropped: rows that were not taken, for too much waited.
        written: rows in files.
        failed: rows that were taken, but could be neither made a table of nor written before the end.
        faults: attempts to write that failed; they are made again.
    """

    def __init__(
        self, build: "Callable[[list[Entry]], pl.DataFrame]", files: Files, most: int, seconds: float, name: str
    ) -> None:
        self._build, self._files, self._most, self._seconds, self._name = build, files, most, seconds, name
        self._lines = Lines(most=1)
        self._queue: deque[tuple[int, int, Entry]] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._tables: list[pl.DataFrame] = []
        self._put_rows = self._put_bytes = self._taken_bytes = self._kept_rows = self._kept_bytes = 0
        self._due = self._again = 0.0
        self._pause = 1.0
        self.dropped = self.written = self.failed = self.faults = 0

    @property
    def waiting(self) -> int:
        """Rows that are neither written nor lost yet."""
        return max(0, self._put_rows - self.written - self.failed)

    def take(self, rows: int, size: int, entry: Entry) -> bool:
        """Take an entry of so many rows and bytes, unless too much waits; say whether. It never blocks."""
        if len(self._queue) >= self._most or self._put_bytes - self._taken_bytes + size > MOST_BYTES:
            self.dropped += rows
            return False
        self._put_rows += rows
        self._put_bytes += size
        self._queue.append((rows, size, entry))
        if self._thread is None:
            self.start()
        return True

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def close(self) -> None:
        """Write what waits, and end the thread; what can't be written by then is counted as failed."""
        self._stop.set()
        if (thread := self._thread) is not None:
            thread.join(CLOSE_SECONDS)
            atexit.unregister(self.close)
        self._give_up()

    def _run(self) -> None:
        os.environ.setdefault("POLARS_MAX_THREADS", "1")  # the processors are for those who answer
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        import polars  # noqa: F401  # now, and not when the first requests are being answered

        self._due = time.monotonic() + self._seconds
        while not self._stop.wait(POLL_SECONDS):
            self._step(final=False)
        while self._queue:
            self._step(final=True)
            if self._kept_bytes >= MOST_BYTES:
                break
        self._step(final=True)

    def _step(self, *, final: bool) -> None:
        try:
            self._take()
            now = time.monotonic()
            is_due = now >= self._due or self._kept_rows >= ROWS_PER_FILE or self._kept_bytes >= MOST_BYTES // 2
            if final or (is_due and now >= self._again):
                self._write()
                self._due = time.monotonic() + self._seconds
        except Exception as error:  # noqa: BLE001  # the thread must outlive whatever it meets
            self._fault(error)

    def _take(self) -> None:
        """Make tables of what waits, as long as tables don't wait themselves.

        What comes meanwhile is left for the next time: a table of a few entries costs as much as one of hundreds.
        """
        waits = len(self._queue)
        while waits and self._kept_bytes < MOST_BYTES:
            batch = [self._queue.popleft() for _ in range(min(BATCH, waits))]
            waits -= len(batch)
            self._taken_bytes += sum(each[1] for each in batch)
            for table in self._made(batch):
                self._tables.append(table)
                self._kept_rows += table.height
                self._kept_bytes += int(table.estimated_size())

    def _made(self, batch: "list[tuple[int, int, Entry]]") -> "Iterator[pl.DataFrame]":
        """Yield the table of a batch; where that fails, those of its entries, so that only what is wrong is lost."""
        try:
            yield self._build([each[2] for each in batch])
        except Exception as error:  # noqa: BLE001  # counted and told
            if len(batch) == 1:
                self.failed += batch[0][0]
                self._lines.tell(self._name, "table", level="error", error=_words(error), rows_lost=batch[0][0])
                return
            for each in batch:
                yield from self._made([each])

    def _write(self) -> None:
        import polars as pl

        if not self._tables:
            return
        whole = pl.concat(self._tables, rechunk=False) if len(self._tables) > 1 else self._tables[0]
        for part in self._files.parts(whole):
            # What is written counts at once: a part that fails must not have the others written twice.
            self._files.write(part)
            self.written += part.height
            self._kept_rows -= part.height
            whole = whole.filter(~pl.col("time").is_between(part["time"].min(), part["time"].max()))
            self._tables = [whole] if whole.height else []
        self._kept_bytes = sum(int(each.estimated_size()) for each in self._tables)
        self._pause = 1.0
        self._files.tidy()

    def _fault(self, error: Exception) -> None:
        self.faults += 1
        self._again = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        told: dict[str, Any] = {"error": _words(error), "rows_waiting": self.waiting, "rows_dropped": self.dropped}
        self._lines.tell(self._name, "write", level="error", **told)

    def _give_up(self) -> None:
        if lost := self.waiting:
            self.failed += lost
            self._lines.tell(self._name, "lost", level="error", rows_lost=lost)


def _words(error: Exception) -> str:
    """Return what went wrong, without what polars says of values."""
    told = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{place}{told}"
