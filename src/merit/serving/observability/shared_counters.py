"""Provides counters shared by the workers of a server: each worker writes its own mapped file, a scrape sums all files.

The files of prometheus_client cost 10 us or more per request; an element of a mapped file costs 0.1 us.
"""

import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path

VALUE_BYTES = 8
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  # names there are unique, or ownership is checked before use
"""Folder for in-memory files: writing to a mapped file on a full disk would kill the process (SIGBUS)."""
LIVE_SUFFIX, ENDED_SUFFIX = ".counts", ".ended"
"""File suffixes of running workers, and of workers that have shut down."""


class SharedCounters:
    """A fixed number of counters, incremented with `values[index] += 1`.

    Args:
        size: number of counters.
        folder: folder of the workers' files; None keeps the counters in this process only.
    """

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self._folder, self._size = folder, size
        self._file: Path | None = None
        if folder is not None:
            self._file = folder / f"{os.getpid()}{LIVE_SUFFIX}"
            self._file.write_bytes(bytes(VALUE_BYTES * size))
            with self._file.open("r+b") as handle:
                self.values = memoryview(mmap.mmap(handle.fileno(), VALUE_BYTES * size)).cast("d")
        else:
            self.values = memoryview(bytearray(VALUE_BYTES * size)).cast("d")

    def sum_workers(self, gauges: range) -> list[float]:
        """Return the sum of each counter over all workers; those at the indices `gauges` sum only running workers."""
        totals = list(self.values)
        for file in self._list_other_files():
            with suppress(OSError, ValueError, TypeError):
                values = memoryview(file.read_bytes()).cast("d")
                if len(values) != self._size:
                    continue
                is_alive = _is_worker_alive(file)
                for index, value in enumerate(values):
                    if is_alive or index not in gauges:
                        totals[index] += value
        return totals

    def _list_other_files(self) -> list[Path]:
        if self._folder is None:
            return []
        return [
            file
            for suffix in (LIVE_SUFFIX, ENDED_SUFFIX)
            for file in self._folder.glob(f"*{suffix}")
            if file != self._file
        ]

    def close(self) -> None:
        """Mark this worker as ended; the last one removes the folder.

        A worker marks itself before it checks the others, so that of several that end at once one removes the folder.
        """
        if self._file is None or self._folder is None:
            return
        with suppress(OSError):
            self._file = self._file.replace(self._file.with_suffix(ENDED_SUFFIX))
            other_files = self._list_other_files()
            if not any(map(_is_worker_alive, other_files)):
                for file in [self._file, *other_files]:
                    file.unlink(missing_ok=True)
                self._folder.rmdir()


def _is_worker_alive(file: Path) -> bool:
    """Return whether the worker that owns a file is running."""
    return file.suffix == LIVE_SUFFIX and Path(f"/proc/{file.stem}").exists()


def find_memory_folder() -> Path:
    """Return the folder for counter files: in memory if possible."""
    return MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def create_shared_folder() -> Path | None:
    """Create and return the folder shared by all workers of this process's parent; None if that is not possible.

    Its name contains the parent's process id and start time, so that every server has its own.
    """
    parent = os.getppid()
    try:
        start_time = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        folder = find_memory_folder() / f"merit-{os.getuid()}-{parent}-{start_time}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except (OSError, IndexError):
        return None
    is_private = status.st_uid == os.getuid() and status.st_mode & 0o077 == 0 and not folder.is_symlink()
    return folder if is_private else None
