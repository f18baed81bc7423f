"""Who works in this folder: one run at a time, and one stage, for each would change files under the other."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from merit import artifacts
from merit.errors import MeritError

RUN = Path(".merit/run.lock")
STAGE = Path(".merit/stage.lock")
BESIDE = Path(".merit/beside.lock")


@contextmanager
def run() -> Iterator[None]:
    """Hold the folder for one run.

    Raises:
        MeritError: another run holds it, or a stage that outlived its run.
    """
    with _held(RUN, "another merit run"):
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
def _held(path: Path, who: str) -> Iterator[None]:
    try:
        path.parent.mkdir(exist_ok=True)
        handle = path.open("a+")
    except OSError as error:
        raise MeritError(f"{path}: can't be written: {error.strerror}; free space or fix its permissions") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise MeritError(
                f"{who} (process {handle.read() or 'unknown'}) works in this folder; wait for it"
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
