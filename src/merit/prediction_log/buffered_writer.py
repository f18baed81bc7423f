"""Buffers entries in the writer process until they are in a file: entries become tables, tables become files."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from merit.prediction_log.files import Files
from merit.prediction_log.protocol import MOST_BYTES, Entry, State

if TYPE_CHECKING:
    import polars as pl

TABLE = 8192
"""Number of entries that become a table: a table of a few costs as much as one of hundreds."""
PART = 8
"""Divisor of MOST_BYTES: at that share of it entries become a table, and tables a file. A file takes the same memory
again while it is written."""
LONGEST_PAUSE = 60.0
"""The longest wait in seconds between two attempts to write."""

Build = Callable[[Sequence[Entry]], "pl.DataFrame"]
"""Builds a table from entries."""


class Keeper:
    """Buffers entries until they are written; a failed write is retried with growing waits.

    Args:
        build: builds a table from entries.
        files: the destination.
        seconds: interval between two writes.

    Attributes:
        state: counts of written and failed rows, and the last errors.
    """

    def __init__(self, build: Build, files: Files, seconds: float) -> None:
        self._build, self._files, self._seconds = build, files, seconds
        self._entries: list[Entry] = []
        self._tables: list[pl.DataFrame] = []
        self._raw = self._bytes = 0
        self._due, self._again = time.monotonic() + seconds, 0.0
        self._pause = 1.0
        self.state = State()

    @property
    def is_full(self) -> bool:
        """Whether the unwritten tables have reached the limit, so that no more entries should be read."""
        return self._bytes >= MOST_BYTES

    def take(self, entries: Sequence[Entry], size: int) -> None:
        """Add entries.

        Args:
            entries: the entries.
            size: their packed size in bytes.
        """
        self._entries += entries
        self._raw += size
        if len(self._entries) >= TABLE or self._raw >= MOST_BYTES // PART:
            self._tabulate()

    def step(self, *, final: bool = False) -> None:
        """Write if a write is due; after an error, keep the tables for the next attempt.

        Args:
            final: write at once, because the process ends.
        """
        now = time.monotonic()
        is_due = now >= self._due or self._bytes >= MOST_BYTES // PART
        if not final and (not is_due or now < self._again):
            return
        self._tabulate()
        try:
            self._write()
            self._due = time.monotonic() + self._seconds
        except Exception as error:  # noqa: BLE001  # the writer must survive any error
            self._fault(error)
            self._again = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def tidy(self) -> None:
        """Join and remove files if due."""
        try:
            self._files.tidy()
        except Exception as error:  # noqa: BLE001  # as above
            self._fault(error)

    def _fault(self, error: Exception) -> None:
        self.state.faults += 1
        self.state.fault = _words(error)

    def _tabulate(self) -> None:
        entries, self._entries, self._raw = self._entries, [], 0
        for table in self._made(entries) if entries else ():
            self._tables.append(table)
            self._bytes += int(table.estimated_size())

    def _made(self, entries: Sequence[Entry]) -> "Iterator[pl.DataFrame]":
        """Yield the table of entries; if that fails, split them in halves, so that only invalid entries are lost."""
        try:
            yield self._build(entries)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # counted and reported; a panic of Polars is a BaseException
            if len(entries) == 1:
                self.state.failed += entries[0][0]
                self.state.failure = _words(error)
                return
            half = len(entries) // 2
            yield from self._made(entries[:half])
            yield from self._made(entries[half:])

    def _write(self) -> None:
        import polars as pl

        if not self._tables:
            return
        whole = pl.concat(self._tables, rechunk=False) if len(self._tables) > 1 else self._tables[0]
        for part in self._files.parts(whole):
            # Drop written rows at once: if a later part fails, a retry must not write the earlier ones twice.
            self._files.write(part)
            self.state.written += part.height
            whole = whole.filter(~pl.col("time").is_between(part["time"].min(), part["time"].max()))
            self._tables = [whole] if whole.height else []
        self._bytes = sum(int(each.estimated_size()) for each in self._tables)
        self._pause = 1.0


def _words(error: BaseException) -> str:
    """Return a short description of an error, without the message of Polars, which may contain values."""
    told = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{place}{told}"
