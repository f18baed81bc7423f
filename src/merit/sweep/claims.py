"""Who works on a sweep: several processes may, and each trial belongs to one of them until that one is gone."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from merit.errors import MeritError

OWNERS, LOCK = "owners", ".claim"
STALE = 60.0
"""Seconds without a sign after which a process on another machine counts as gone."""


@contextmanager
def claiming(folder: Path) -> Iterator[None]:
    """Let nobody else take a trial of this sweep meanwhile."""
    with (folder / LOCK).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Owner:
    """This process as one that works on a sweep; its name is noted with each trial that it takes."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{socket.gethostname()}.{os.getpid()}"
        self._file = folder / OWNERS / self.name
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._handle = self._file.open("w")
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MeritError(f"{folder}: this process works on it already") from error
        self.place = len(list(self._file.parent.iterdir())) - 1

    def beat(self) -> None:
        """Give a sign of life, for those on other machines."""
        with suppress(OSError):
            os.utime(self._file)

    def leave(self) -> None:
        """Work on it no more."""
        self._file.unlink(missing_ok=True)
        self._handle.close()


def is_there(folder: Path, name: str | None) -> bool:
    """Say whether the owner of that name still works on the sweep."""
    file = folder / OWNERS / (name or "nobody")
    if not file.is_file():
        return False
    if file.name.rpartition(".")[0] != socket.gethostname():
        return time.time() - file.stat().st_mtime < STALE
    with suppress(OSError), file.open("r+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
