"""Ownership of trials: several processes may work on one sweep, and each trial belongs to one live process."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from merit.errors import MeritError

OWNERS_FOLDER, CLAIM_LOCK_FILE = "owners", ".claim"
STALE_AFTER_S = 60.0
"""Seconds without a heartbeat after which a process on another machine counts as dead."""


@contextmanager
def lock_claims(folder: Path) -> Iterator[None]:
    """Hold the sweep's lock, so that no other process takes a trial meanwhile."""
    folder.stat()  # FileLock would create a folder that was removed
    with filelock.FileLock(folder / CLAIM_LOCK_FILE, fallback_to_soft=False):
        yield


class Owner:
    """This process as a worker of a sweep; each trial that it takes records its name, HOST.PID.

    Raises:
        MeritError: this process works on the sweep already.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"{socket.gethostname()}.{os.getpid()}"
        self._file = folder / OWNERS_FOLDER / self.name
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._handle = self._file.open("w")
        if not filelock.lock_descriptor(self._handle.fileno(), blocking=False):
            self._handle.close()
            raise MeritError(f"{folder}: this process works on it already")
        self.worker_index = len(list(self._file.parent.iterdir())) - 1

    def send_heartbeat(self) -> None:
        """Update the heartbeat that workers on other machines read."""
        with suppress(OSError):
            os.utime(self._file)

    def withdraw(self) -> None:
        """Withdraw from the sweep; unfinished trials of this process may be taken by others."""
        self._file.unlink(missing_ok=True)
        self._handle.close()


def is_active(folder: Path, name: str | None) -> bool:
    """Return whether the named process still works on the sweep: here by its file lock, elsewhere by its heartbeat."""
    file = folder / OWNERS_FOLDER / (name or "nobody")
    if not file.is_file():
        return False
    if file.name.rpartition(".")[0] != socket.gethostname():
        return time.time() - file.stat().st_mtime < STALE_AFTER_S
    with suppress(OSError), file.open("r+") as handle:
        return not filelock.lock_descriptor(handle.fileno(), blocking=False)
    return False
