"""Locks the output of a batch while it is written.

Files that `merit predict` did not write are never changed, and a refused run leaves the output as it was.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from merit import artifacts
from merit.batch.output import (
    NOTE_NAME,
    NOTE_VERSION,
    RESTAGED_NAME,
    STAGED_NAME,
    Output,
    get_file_stamp,
    list_part_numbers,
)
from merit.batch.staging import DONE_NAME
from merit.errors import MeritError

LOCK_NAME = "_merit.lock"
LOCK_TIMEOUT_S = 0.1
"""Seconds for another try, where the previous holder removed the lock file just now."""


@contextmanager
def lock_output(output: Output) -> Iterator[dict[str, Any] | None]:
    """Lock the output for one run and yield its note; None where there is none.

    Two runs at once would each take the other's parts for their own.

    Raises:
        MeritError: the output holds other files, another run has locked it, or it can't be written.
    """
    read_note(output)  # refuses before any folder is created
    created = _create_folders(output.folder)
    try:
        with _hold_lock(output):
            interrupted = False
            try:
                yield read_note(output)
            except KeyboardInterrupt:
                interrupted = True
                raise
            finally:
                _clean_up(output, interrupted=interrupted)
    finally:
        for folder in created:
            with suppress(OSError):  # holds results
                folder.rmdir()


def read_note(output: Output) -> dict[str, Any] | None:
    """Return the note on what the existing parts were made from; None where there is none.

    Raises:
        MeritError: the output holds something that `merit predict` did not write, or changed since.
    """
    note = _parse_note(output) if (output.folder / NOTE_NAME).is_file() else None
    if output.is_file and output.path.exists() and (note is None or note.get("file") != get_file_stamp(output.path)):
        problem = "was changed since it was scored" if note and note.get("finished") else "is there already"
        raise MeritError(f"{output.path}: {problem}; give another place, or remove it")
    foreign_names = [] if note else _list_foreign_names(output.folder)
    if foreign_names:
        raise MeritError(f"{output.folder}: holds {', '.join(foreign_names[:3])}; give another place, or remove it")
    if note is None and output.is_file and _list_foreign_names(output.rejected):
        raise MeritError(f"{output.rejected}: holds rows set aside before; give another place, or remove it")
    return note


def _parse_note(output: Output) -> dict[str, Any]:
    path = output.folder / NOTE_NAME
    note = artifacts.read_json(path, "predict")
    required_types = {
        "chunk_rows": int,
        "input": dict,
        **({"parts": list, "aside": dict} if note.get("finished") else {}),
    }
    if note.get("form") == NOTE_VERSION and not all(
        isinstance(note.get(key), required_type) for key, required_type in required_types.items()
    ):
        raise MeritError(f"{path}: is damaged; give another place, or remove {output.path}")
    if "chunk_rows" not in note or "input" not in note:
        raise MeritError(f"{path}: was not written by 'merit predict'; give another place, or remove it")
    return note


def _list_foreign_names(folder: Path) -> list[str]:
    """Return the names in a folder, without the lock file and half-written notes of killed runs."""
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if name != LOCK_NAME and not name.startswith(f".{NOTE_NAME}.")]


def _create_folders(folder: Path) -> list[Path]:
    """Create a folder and its parents; return those that were missing, the innermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise MeritError(f"{folder}: can't be written: {error.strerror}; free space or fix its permissions") from error
    return missing


@contextmanager
def _hold_lock(output: Output) -> Iterator[None]:
    """Lock the lock file and remove it at the end; FileLock opens it again if the previous holder has removed it."""
    path = output.folder / LOCK_NAME
    lock = filelock.FileLock(path, timeout=LOCK_TIMEOUT_S, poll_interval=0.01, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise MeritError(f"{output.path}: another 'merit predict' writes there; wait for it") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _clean_up(output: Output, *, interrupted: bool) -> None:
    """Remove what this run created if no row was scored.

    An interrupted run keeps the staged rows of a query, so that the next run need not query again.
    """
    shutil.rmtree(output.folder / RESTAGED_NAME, ignore_errors=True)
    path = output.folder / NOTE_NAME
    has_results = output.has_parts() or (path.is_file() and _parse_note(output).get("finished"))
    if has_results or (interrupted and (output.folder / STAGED_NAME / DONE_NAME).is_file()):
        return
    for number in list_part_numbers(output.rejected) if path.is_file() else []:
        (output.rejected / output.get_part_path(number).name).unlink(missing_ok=True)
    with suppress(OSError):
        output.rejected.rmdir()
    if path.is_file():
        shutil.rmtree(output.folder / STAGED_NAME, ignore_errors=True)
        path.unlink()
