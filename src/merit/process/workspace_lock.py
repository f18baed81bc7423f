"""File locks that keep processes from changing the same files: one run, one stage, one registration at a time.

A lock is released when the process ends, even if it is killed. An error names the process that holds the lock.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from merit import artifacts
from merit.errors import MeritError

RUN = Path(".merit/run.lock")
STAGE = Path(".merit/stage.lock")
BESIDE = Path(".merit/beside.lock")
REGISTRY = Path(".merit/registry.lock")
REPRODUCTION = Path(".merit/reproduce.lock")
PATIENCE = 900.0
"""Seconds that a registration waits for another one, which may be running the gate."""


@contextmanager
def run(patience: float = 0.0) -> Iterator[None]:
    """Lock the folder for one `merit run`, and remove the temporary files of killed runs.

    Args:
        patience: the most seconds to wait for another run.

    Raises:
        MeritError: another run has the lock, or a stage that outlived its run is still working.
    """
    with _held(RUN, "another merit run", patience):
        with stage(), beside():  # stages of a killed run may still be working
            artifacts.sweep()
        yield


@contextmanager
def stage() -> Iterator[None]:
    """Lock the folder for one stage, or for the gate, which also writes reports.

    Raises:
        MeritError: another stage has the lock.
    """
    with _held(STAGE, "a stage or a gate of merit"):
        yield


@contextmanager
def beside() -> Iterator[None]:
    """Lock the folder for the stage `baseline`, which may run in parallel: no stage reads its output meanwhile.

    Raises:
        MeritError: another stage `baseline` has the lock.
    """
    with _held(BESIDE, "another stage 'baseline'"):
        yield


@contextmanager
def environment(name: str) -> Iterator[None]:
    """Lock an environment for one `merit apply`.

    Raises:
        MeritError: another apply has the lock.
    """
    with _held(Path(f".merit/environments/{name}.lock"), f"another apply of {name}"):
        yield


@contextmanager
def registry() -> Iterator[None]:
    """Lock this folder's registry; a second registration waits, and then finds the package registered.

    Raises:
        MeritError: another registration still has the lock after the timeout.
    """
    with _held(REGISTRY, "a registration", PATIENCE):
        yield


@contextmanager
def reproduction() -> Iterator[int]:
    """Lock the worktrees of `merit reproduce`; yield the lock's file descriptor.

    Child processes that inherit the descriptor keep the lock until they end.

    Raises:
        MeritError: another reproduction has the lock.
    """
    with _held(REPRODUCTION, "another merit reproduce") as handle:
        yield handle.fileno()


@contextmanager
def _held(path: Path, who: str, patience: float = 0.0) -> Iterator[TextIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    except OSError as error:
        raise MeritError(f"{path}: can't be written: {error.strerror}; free space or fix its permissions") from error
    with handle:
        until = time.monotonic() + patience
        while not _taken(handle):
            if time.monotonic() >= until:
                handle.seek(0)
                raise MeritError(f"{who} (process {handle.read() or 'unknown'}) works in this folder; wait for it")
            time.sleep(0.1)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield handle


def _taken(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
