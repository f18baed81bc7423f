"""Who works in this folder: one run at a time, and one stage, for each would change files under the other."""

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
"""Seconds that one registration waits for another, which may be judging."""


@contextmanager
def run(patience: float = 0.0) -> Iterator[None]:
    """Hold the folder for one run.

    Args:
        patience: seconds to wait for another one.

    Raises:
        MeritError: another run holds it, or a stage that outlived its run.
    """
    with _held(RUN, "another merit run", patience):
        with stage(), beside():  # a run that is killed leaves its stages at work
            artifacts.sweep()
        yield


@contextmanager
def stage() -> Iterator[None]:
    """Hold the folder for one stage, or for the gate, which writes a report as they write theirs.

    Raises:
        MeritError: another stage holds it.
    """
    with _held(STAGE, "a stage or a gate of merit"):
        yield


@contextmanager
def beside() -> Iterator[None]:
    """Hold the folder for the stage that may work beside another: it writes nothing that the others read meanwhile.

    Raises:
        MeritError: another of its kind holds it.
    """
    with _held(BESIDE, "another stage 'baseline'"):
        yield


@contextmanager
def environment(name: str) -> Iterator[None]:
    """Hold an environment for one apply.

    Raises:
        MeritError: another apply holds it.
    """
    with _held(Path(f".merit/environments/{name}.lock"), f"another apply of {name}"):
        yield


@contextmanager
def registry() -> Iterator[None]:
    """Hold the registry of this folder; who comes second waits, for it then finds the work done.

    Raises:
        MeritError: another holds it for longer than anybody waits.
    """
    with _held(REGISTRY, "a registration", PATIENCE):
        yield


@contextmanager
def reproduction() -> Iterator[int]:
    """Hold this folder's place for clean worktrees; gives the descriptor, and who inherits it holds the place too.

    Raises:
        MeritError: another holds it.
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
