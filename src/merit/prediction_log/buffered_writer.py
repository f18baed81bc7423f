"""What the writer holds: entries become tables, tables become files; nothing is let go before it is in one."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from merit.prediction_log.files import Files
from merit.prediction_log.protocol import MOST_BYTES, Entry, State

if TYPE_CHECKING:
    import polars as pl

TABLE = 8192
"""Entries made into a table at once: a table of a few costs as much as one of hundreds."""
PART = 8
"""Of the bytes that may wait, what part becomes a table, and what part of tables becomes a file: a file takes as much
memory again while it is written."""
LONGEST_PAUSE = 60.0
"""Seconds between one attempt to write and the next, at most."""

Build = Callable[[Sequence[Entry]], "pl.DataFrame"]
"""Makes a table of entries."""


class Keeper:
    """Keeps what was taken until it is written.

    Args:
        build: makes a table.
        files: where tables go.
        seconds: how often what waits is written.

    Attributes:
        state: how it stands.
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
        """Whether so much could not be written that nothing more should be taken."""
        return self._bytes >= MOST_BYTES

    def take(self, entries: Sequence[Entry], size: int) -> None:
        """Take entries of so many bytes."""
        self._entries += entries
        self._raw += size
        if len(self._entries) >= TABLE or self._raw >= MOST_BYTES // PART:
            self._tabulate()

    def step(self, *, final: bool = False) -> None:
        """Write, if it is time to; what can't be written waits."""
        now = time.monotonic()
        is_due = now >= self._due or self._bytes >= MOST_BYTES // PART
        if not final and (not is_due or now < self._again):
            return
        self._tabulate()
        try:
            self._write()
            self._due = time.monotonic() + self._seconds
        except Exception as error:  # noqa: BLE001  # the writer must outlive whatever it meets
            self._fault(error)
            self._again = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def tidy(self) -> None:
        """Join and remove files, where that is due."""
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
        """Yield the table of entries; where that fails, those of its halves, so that only what is wrong is lost."""
        try:
            yield self._build(entries)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # counted and told; polars panics by a BaseException
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
            # What is written counts at once: a part that fails must not have the others written twice.
            self._files.write(part)
            self.state.written += part.height
            whole = whole.filter(~pl.col("time").is_between(part["time"].min(), part["time"].max()))
            self._tables = [whole] if whole.height else []
        self._bytes = sum(int(each.estimated_size()) for each in self._tables)
        self._pause = 1.0


def _words(error: BaseException) -> str:
    """Return what went wrong, without what polars says of values."""
    told = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{place}{told}"
