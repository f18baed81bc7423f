"""The place of a batch, held while it is written: what is not ours is left as it is, also where the run is refused."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from merit import artifacts
from merit.batch.output import FORM, NOTE, STAGED, STAGED_ANEW, Output, numbers, stamp
from merit.batch.staging import DONE
from merit.errors import MeritError

LOCK = "_merit.lock"
TRIES = 10


@contextmanager
def held(output: Output) -> Iterator[dict[str, Any] | None]:
    """Hold the place, for two that write there would each take the other's parts for their own; give its note.

    Raises:
        MeritError: something else is there, another run holds it, or it can't be written.
    """
    note_of(output)  # before anything is made
    made = _made(output.folder)
    with _locked(output):
        interrupted = False
        try:
            yield note_of(output)
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            _leave(output, made, interrupted=interrupted)


def note_of(output: Output) -> dict[str, Any] | None:
    """Return what the parts that are there were made from; None where there is nothing.

    Raises:
        MeritError: something else is there.
    """
    note = _read(output) if (output.folder / NOTE).is_file() else None
    if output.is_file and output.path.exists() and (note is None or note.get("file") != stamp(output.path)):
        what = "was changed since it was scored" if note and note.get("finished") else "is there already"
        raise MeritError(f"{output.path}: {what}; give another place, or remove it")
    others = [] if note else _foreign(output.folder)
    if others:
        raise MeritError(f"{output.folder}: holds {', '.join(others[:3])}; give another place, or remove it")
    if note is None and output.is_file and _foreign(output.rejected):
        raise MeritError(f"{output.rejected}: holds rows set aside before; give another place, or remove it")
    return note


def _read(output: Output) -> dict[str, Any]:
    path = output.folder / NOTE
    note = artifacts.read_json(path, "predict")
    shape = {"chunk_rows": int, "input": dict, **({"parts": list, "aside": dict} if note.get("finished") else {})}
    if note.get("form") == FORM and not all(isinstance(note.get(key), kind) for key, kind in shape.items()):
        raise MeritError(f"{path}: is damaged; give another place, or remove {output.path}")
    if "chunk_rows" not in note or "input" not in note:
        raise MeritError(f"{path}: is no note of 'merit predict'; give another place, or remove it")
    return note


def _foreign(folder: Path) -> list[str]:
    """Return what is there beside the lock and what a kill leaves of a note."""
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if name != LOCK and not name.startswith(f".{NOTE}.")]


def _made(folder: Path) -> list[Path]:
    """Make a folder; return those that were not there, the innermost first."""
    lacking = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise MeritError(f"{folder}: can't be written: {error.strerror}; free space or fix its permissions") from error
    return lacking


@contextmanager
def _locked(output: Output) -> Iterator[None]:
    path = output.folder / LOCK
    with _flocked(path, output):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _flocked(path: Path, output: Output) -> IO[str]:
    """Return the lock's file, locked; one that its holder removed meanwhile locks nothing."""
    for _ in range(TRIES):
        handle = path.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_file() and path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                return handle
        except BlockingIOError:
            break
        handle.close()
    handle.close()
    raise MeritError(f"{output.path}: another 'merit predict' writes there; wait for it")


def _leave(output: Output, made: list[Path], *, interrupted: bool) -> None:
    """Remove all that was begun where no row was scored; the rows of a query are kept if only time was lacking."""
    shutil.rmtree(output.folder / STAGED_ANEW, ignore_errors=True)
    path = output.folder / NOTE
    is_begun = output.has_parts() or (path.is_file() and _read(output).get("finished"))
    if is_begun or (interrupted and (output.folder / STAGED / DONE).is_file()):
        return
    for number in numbers(output.rejected) if path.is_file() else []:
        (output.rejected / output.part(number).name).unlink(missing_ok=True)
    with suppress(OSError):
        output.rejected.rmdir()
    if path.is_file():
        shutil.rmtree(output.folder / STAGED, ignore_errors=True)
        path.unlink()
    (output.folder / LOCK).unlink(missing_ok=True)
    for folder in made:
        with suppress(OSError):
            folder.rmdir()
