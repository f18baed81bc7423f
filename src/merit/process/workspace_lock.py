"""File locks that keep processes from changing the same files: one run, one stage, one registration at a time.

A lock is released when the process ends, even if it is killed. An error names the process that holds the lock.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from merit import artifacts
from merit.errors import MeritError

RUN_LOCK = Path(".merit/run.lock")
STAGE_LOCK = Path(".merit/stage.lock")
SIDE_STAGE_LOCK = Path(".merit/beside.lock")
SEEDS_LOCK = Path(".merit/seeds.lock")
REGISTRY_LOCK = Path(".merit/registry.lock")
REPRODUCTION_LOCK = Path(".merit/reproduce.lock")
REGISTRY_TIMEOUT_S = 900.0
"""Seconds that a registration waits for another one, which may be running the gate."""


@contextmanager
def lock_run(timeout_s: float = 0.0) -> Iterator[None]:
    """Lock the folder for one `merit run`, and remove the temporary files of killed runs.

    Args:
        timeout_s: the most seconds to wait for another run.

    Raises:
        MeritError: another run has the lock, or a stage that outlived its run is still working.
    """
    with _lock_file(RUN_LOCK, "another merit run", timeout_s):
        with lock_all_stages():  # stages of a killed run may still be working
            artifacts.remove_temporary_files()
        yield


@contextmanager
def lock_stage() -> Iterator[None]:
    """Lock the folder for one stage; those of `lock_side_stage` may run in parallel with it.

    Raises:
        MeritError: another stage has the lock.
    """
    with _lock_file(STAGE_LOCK, "a stage or a gate of merit"):
        yield


@contextmanager
def lock_side_stage() -> Iterator[None]:
    """Lock the folder for a stage that may run in parallel with another one, which doesn't read its output meanwhile.

    Raises:
        MeritError: another stage of this kind, or a gate, has the lock.
    """
    with _lock_file(SIDE_STAGE_LOCK, "a stage or a gate of merit"):
        yield


@contextmanager
def lock_seeds_stage() -> Iterator[None]:
    """Lock the folder for the stage that trains other seeds, in parallel with all that follows the features.

    Raises:
        MeritError: another process runs that stage, or a gate has the lock.
    """
    with _lock_file(SEEDS_LOCK, "a stage or a gate of merit"):
        yield


@contextmanager
def lock_all_stages() -> Iterator[None]:
    """Lock the folder against every stage.

    Raises:
        MeritError: a stage or a gate has a lock.
    """
    with lock_stage(), lock_side_stage(), lock_seeds_stage():
        yield


@contextmanager
def lock_environment(name: str) -> Iterator[None]:
    """Lock an environment for one `merit apply`.

    Raises:
        MeritError: another apply has the lock.
    """
    with _lock_file(Path(f".merit/environments/{name}.lock"), f"another apply of {name}"):
        yield


@contextmanager
def lock_registry() -> Iterator[None]:
    """Lock this folder's registry; a second registration waits, and then finds the package registered.

    Raises:
        MeritError: another registration still has the lock after the timeout.
    """
    with _lock_file(REGISTRY_LOCK, "a registration", REGISTRY_TIMEOUT_S):
        yield


@contextmanager
def lock_reproduction() -> Iterator[int]:
    """Lock the worktrees of `merit reproduce`; yield the lock's file descriptor.

    Child processes that inherit the descriptor keep the lock until they end.

    Raises:
        MeritError: another reproduction has the lock.
    """
    with _lock_file(REPRODUCTION_LOCK, "another merit reproduce") as handle:
        yield handle.fileno()


@contextmanager
def _lock_file(path: Path, holder: str, timeout_s: float = 0.0) -> Iterator[TextIO]:
    """Lock a file. The lock ends with its last descriptor: child processes that inherit it keep it."""
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+")
    except OSError as error:
        raise MeritError(f"{path}: can't be written: {error.strerror}; free space or fix its permissions") from error
    with handle:
        deadline = time.monotonic() + timeout_s
        while not filelock.lock_descriptor(handle.fileno(), blocking=False):
            if time.monotonic() >= deadline:
                handle.seek(0)
                raise MeritError(f"{holder} (process {handle.read() or 'unknown'}) works in this folder; wait for it")
            time.sleep(0.1)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield handle
