"""Buffers entries in the writer process until they are in a file: entries become tables, tables become files."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from merit.prediction_log.files import LogFiles
from merit.prediction_log.protocol import MAX_QUEUE_BYTES, LogEntry, WriterState

if TYPE_CHECKING:
    import polars as pl

MAX_TABLE_ENTRIES = 8192
"""Number of entries that become a table: a table of a few costs as much as one of hundreds."""
FLUSH_DIVISOR = 8
"""Divisor of MAX_QUEUE_BYTES: at that share of it entries become a table, and tables a file. A file takes as much
memory again while it is written."""
MAX_RETRY_WAIT_S = 60.0
"""The longest wait in seconds between two attempts to write."""

BuildTable = Callable[[Sequence[LogEntry]], "pl.DataFrame"]
"""Builds a table from entries."""


class BufferedWriter:
    """Buffers entries until they are written; a failed write is retried with growing waits.

    Args:
        build_table: builds a table from entries.
        files: the destination.
        interval_s: interval between two writes.

    Attributes:
        state: counts of written and failed rows, and the last errors.
    """

    def __init__(self, build_table: BuildTable, files: LogFiles, interval_s: float) -> None:
        self._build_table, self._files, self._interval_s = build_table, files, interval_s
        self._entries: list[LogEntry] = []
        self._tables: list[pl.DataFrame] = []
        self._entry_bytes = self._table_bytes = 0
        self._next_write, self._next_retry = time.monotonic() + interval_s, 0.0
        self._retry_wait_s = 1.0
        self.state = WriterState()

    @property
    def is_full(self) -> bool:
        """Whether the unwritten tables have reached the limit, so that no more entries should be read."""
        return self._table_bytes >= MAX_QUEUE_BYTES

    def add_entries(self, entries: Sequence[LogEntry], byte_count: int) -> None:
        """Add entries.

        Args:
            entries: the entries.
            byte_count: their packed size in bytes.
        """
        self._entries += entries
        self._entry_bytes += byte_count
        if len(self._entries) >= MAX_TABLE_ENTRIES or self._entry_bytes >= MAX_QUEUE_BYTES // FLUSH_DIVISOR:
            self._build_tables()

    def write_if_due(self, *, final: bool = False) -> None:
        """Write if a write is due; after an error, keep the tables for the next attempt.

        Args:
            final: write at once, because the process ends.
        """
        now = time.monotonic()
        is_due = now >= self._next_write or self._table_bytes >= MAX_QUEUE_BYTES // FLUSH_DIVISOR
        if not final and (not is_due or now < self._next_retry):
            return
        self._build_tables()
        try:
            self._write_tables()
            self._next_write = time.monotonic() + self._interval_s
        except Exception as error:  # noqa: BLE001  # the writer must survive any error
            self._record_error(error)
            self._next_retry = time.monotonic() + self._retry_wait_s
            self._retry_wait_s = min(self._retry_wait_s * 2, MAX_RETRY_WAIT_S)

    def tidy_files(self) -> None:
        """Join and remove files if due."""
        try:
            self._files.tidy()
        except Exception as error:  # noqa: BLE001  # as above
            self._record_error(error)

    def _record_error(self, error: Exception) -> None:
        self.state.faults += 1
        self.state.fault = _describe_error(error)

    def _build_tables(self) -> None:
        entries, self._entries, self._entry_bytes = self._entries, [], 0
        for table in self._build_or_split(entries) if entries else ():
            self._tables.append(table)
            self._table_bytes += int(table.estimated_size())

    def _build_or_split(self, entries: Sequence[LogEntry]) -> "Iterator[pl.DataFrame]":
        """Yield the table of entries; if that fails, split them in halves, so that only invalid entries are lost."""
        try:
            yield self._build_table(entries)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # counted and reported; a panic of Polars is a BaseException
            if len(entries) == 1:
                self.state.failed += entries[0][0]
                self.state.failure = _describe_error(error)
                return
            half = len(entries) // 2
            yield from self._build_or_split(entries[:half])
            yield from self._build_or_split(entries[half:])

    def _write_tables(self) -> None:
        import polars as pl

        if not self._tables:
            return
        table = pl.concat(self._tables, rechunk=False) if len(self._tables) > 1 else self._tables[0]
        for part in self._files.split_by_hour(table):
            # Drop written rows at once: if a later part fails, a retry must not write the earlier ones twice.
            self._files.write_hour(part)
            self.state.written += part.height
            table = table.filter(~pl.col("time").is_between(part["time"].min(), part["time"].max()))
            self._tables = [table] if table.height else []
        self._table_bytes = sum(int(each.estimated_size()) for each in self._tables)
        self._retry_wait_s = 1.0


def _describe_error(error: BaseException) -> str:
    """Return a short description of an error, without the message of Polars, which may contain values."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    location = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{location}{message}"
