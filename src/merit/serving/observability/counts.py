"""Counts that the workers of one server share: each adds to a file of its own in memory, whoever is asked adds all up.

prometheus_client's own files cost 10 us and more a request; an element of a mapped file costs 0.1.
"""

import mmap
import os
import tempfile
from contextlib import suppress
from pathlib import Path

SIZE = 8
MEMORY = Path("/dev/shm")  # noqa: S108  # what lies there has a name of its own, or is looked at before it is used
"""Files in memory: of a mapped file on a full disk the system would end the process that writes."""
COUNTS, ENDED = ".counts", ".ended"
"""What the files of workers are called, and those of workers that have said goodbye."""


class Counts:
    """Numbers by place: `values[place] += 1` counts.

    Args:
        places: how many numbers.
        folder: where the workers' files are; None for a process alone.
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
        """Return the sum over all workers; in the places of `gauges`, over those that live."""
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
        """Leave; the last worker takes the folder away.

        Each says that it has ended before it looks at the others: of those that end at once, the last finds nobody.
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
    """Say whether the worker of a file is at work."""
    return file.suffix == COUNTS and Path(f"/proc/{file.stem}").exists()


def place() -> Path:
    """Return where the files of counts lie."""
    return MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def shared_folder() -> Path | None:
    """Return the folder of the workers that this process's parent has started, or None where none can be had.

    It is named by the parent and its start, so that another server, or a later one, has another.
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
