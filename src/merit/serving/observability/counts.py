"""Provides counters shared by the workers of a server: each worker writes its own mapped file, a scrape sums all files.

The files of prometheus_client cost 10 us or more per request; an element of a mapped file costs 0.1 us.
"""

import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path

SIZE = 8
MEMORY = Path("/dev/shm")  # noqa: S108  # names there are unique, or ownership is checked before use
"""Folder for in-memory files: writing to a mapped file on a full disk would kill the process (SIGBUS)."""
COUNTS, ENDED = ".counts", ".ended"
"""File suffixes of running workers, and of workers that have shut down."""


class Counts:
    """A fixed number of counters, incremented with `values[index] += 1`.

    Args:
        places: number of counters.
        folder: folder of the workers' files; None keeps the counters in this process only.
    """

    def __init__(self, places: int, folder: Path | None = None) -> None:
        self._folder, self._places = folder, places
        self._file: Path | None = None
        if folder is not None:
            self._file = folder / f"{os.getpid()}{COUNTS}"
            self._file.write_bytes(bytes(SIZE * places))
            with self._file.open("r+b") as handle:
                self.values = memoryview(mmap.mmap(handle.fileno(), SIZE * places)).cast("d")
        else:
            self.values = memoryview(bytearray(SIZE * places)).cast("d")

    def total(self, gauges: range) -> list[float]:
        """Return the sum of each counter over all workers; those at the indices `gauges` sum only running workers."""
        found = list(self.values)
        for file in self._others():
            with suppress(OSError, ValueError, TypeError):
                values = memoryview(file.read_bytes()).cast("d")
                if len(values) != self._places:
                    continue
                lives = _lives(file)
                for place, value in enumerate(values):
                    if lives or place not in gauges:
                        found[place] += value
        return found

    def _others(self) -> list[Path]:
        if self._folder is None:
            return []
        return [file for form in (COUNTS, ENDED) for file in self._folder.glob(f"*{form}") if file != self._file]

    def close(self) -> None:
        """Mark this worker as ended; the last one removes the folder.

        A worker marks itself before it checks the others, so that of several that end at once one removes the folder.
        """
        if self._file is None or self._folder is None:
            return
        with suppress(OSError):
            self._file = self._file.replace(self._file.with_suffix(ENDED))
            others = self._others()
            if not any(map(_lives, others)):
                for file in [self._file, *others]:
                    file.unlink(missing_ok=True)
                self._folder.rmdir()


def _lives(file: Path) -> bool:
    """Return whether the worker that owns a file is running."""
    return file.suffix == COUNTS and Path(f"/proc/{file.stem}").exists()


def place() -> Path:
    """Return the folder for counter files: in memory if possible."""
    return MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def shared_folder() -> Path | None:
    """Create and return the folder shared by all workers of this process's parent; None if that is not possible.

    Its name contains the parent's process id and start time, so that every server has its own.
    """
    parent = os.getppid()
    try:
        started = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
        folder = place() / f"merit-{os.getuid()}-{parent}-{started}"
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = folder.lstat()
    except (OSError, IndexError):
        return None
    is_ours = kept.st_uid == os.getuid() and kept.st_mode & 0o077 == 0 and not folder.is_symlink()
    return folder if is_ours else None
