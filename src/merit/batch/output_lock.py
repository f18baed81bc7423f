"""Locks the output of a batch while it is written.

Files that `merit predict` did not write are never changed, and a refused run leaves the output as it was.
"""

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
    """Lock the output for one run and yield its note; None where there is none.

    Two runs at once would each take the other's parts for their own.

    Raises:
        MeritError: the output holds other files, another run has locked it, or it can't be written.
    """
    note_of(output)  # refuses before any folder is created
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
    """Return the note on what the existing parts were made from; None where there is none.

    Raises:
        MeritError: the output holds something that `merit predict` did not write, or changed since.
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
        raise MeritError(f"{path}: was not written by 'merit predict'; give another place, or remove it")
    return note


def _foreign(folder: Path) -> list[str]:
    """Return the names in a folder, without the lock file and half-written notes of killed runs."""
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if name != LOCK and not name.startswith(f".{NOTE}.")]


def _made(folder: Path) -> list[Path]:
    """Create a folder and its parents; return those that were missing, the innermost first."""
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
    """Return the lock file, open and locked.

    The previous holder may have removed the file between our open and our lock. A lock on a removed file protects
    nothing, so it is opened again.
    """
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
    """Remove what this run created if no row was scored.

    An interrupted run keeps the staged rows of a query, so that the next run need not query again.
    """
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
