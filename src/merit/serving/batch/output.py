"""What is done of a batch: a part per chunk, written aside and renamed, and a note of what it was made from.

A part that is there is whole. So whoever goes on after a kill has only to skip the chunks whose parts are there.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from merit import artifacts
from merit.errors import MeritError
from merit.serving.batch.scorer import Scored

NOTE = "_merit.json"
"""What the parts were made from, and once all are there, how many rows they are."""
REJECTED = "_rejected"
"""Where rows that may not be scored go: who reads the folder as one table leaves out what begins so."""
STAGED = ".rows"
"""The rows of a query, kept until they are scored: a database gives them in another order the next time."""
ENDINGS = (".parquet", ".csv")


@dataclass(frozen=True)
class Output:
    """Where scored rows go.

    Args:
        path: a folder of Parquet files, or one file, .parquet or .csv.
    """

    path: Path

    @property
    def is_file(self) -> bool:
        """Whether one file is asked for."""
        return self.path.suffix in ENDINGS

    @property
    def folder(self) -> Path:
        """The folder of the parts; that of one file is beside it, and gone when that is whole."""
        return self.path.with_name(f".{self.path.name}.parts") if self.is_file else self.path

    @property
    def rejected(self) -> Path:
        """The folder of the rows that may not be scored."""
        return self.path.with_name(f"{self.path.name}.rejected") if self.is_file else self.path / REJECTED

    def part(self, number: int) -> Path:
        """Return the file of a chunk."""
        return self.folder / f"part-{number:08d}.parquet"

    def is_done(self, number: int) -> bool:
        """Say whether a chunk was scored."""
        return self.part(number).is_file()

    def first_open(self) -> int:
        """Return the first chunk that was not scored."""
        number = 0
        while self.is_done(number):
            number += 1
        return number

    def write(self, number: int, scored: Scored) -> None:
        """Keep a chunk, its rejected rows first: once its part is there, it is not scored again."""
        if scored.rejected.height:
            _write(self.rejected / self.part(number).name, scored.rejected)
        _write(self.part(number), scored.rows)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, for two that write into it would each take the other's parts for their own.

        Raises:
            MeritError: another run holds it, or it can't be written.
        """
        _make(self.folder)
        with (self.folder / ".lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise MeritError(f"{self.path}: another 'merit predict' writes there; wait for it") from error
            try:
                yield
            finally:
                self._leave()

    def _leave(self) -> None:
        """Remove what nobody needs: the lock where nothing was begun, and all of one file's once it is whole."""
        names = {each.name for each in self.folder.iterdir()}
        if self.is_file and self.path.is_file() and names <= {".lock", NOTE}:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif NOTE not in names:
            (self.folder / ".lock").unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()

    def note(self) -> dict[str, Any] | None:
        """Return what the parts that are there were made from; None where there is nothing.

        Raises:
            MeritError: something else is there.
        """
        if (self.folder / NOTE).is_file():
            return artifacts.read_json(self.folder / NOTE, "predict")
        others = [each.name for each in self.folder.iterdir() if each.name != ".lock"] if self.folder.is_dir() else []
        if others or (self.is_file and self.path.exists()):
            what = f"holds {', '.join(sorted(others)[:3])}" if others else "is there already"
            raise MeritError(
                f"{self.path}: {what}; give another place, or remove it (--restart replaces what is scored)"
            )
        return None

    def begin(self, note: dict[str, Any]) -> None:
        """Note what the parts are made from."""
        artifacts.write_json(self.folder / NOTE, note)

    def clear(self) -> None:
        """Remove what was done, and nothing else."""
        for folder in (self.folder, self.rejected):
            for path in [*folder.glob("part-*.parquet"), *folder.glob(".part-*")]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(self.folder / STAGED, ignore_errors=True)
        (self.folder / NOTE).unlink(missing_ok=True)
        if self.is_file:
            self.path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a killed run left half-written."""
        for folder in (self.folder, self.rejected):
            for path in folder.glob(".part-*"):
                shutil.rmtree(path, ignore_errors=True)

    def counts(self) -> tuple[int, int]:
        """Return how many rows were scored, and how many set aside."""
        return _height(self.folder), _height(self.rejected)

    def finish(self, note: dict[str, Any]) -> None:
        """Note that all is done; of parts make the one file that was asked for."""
        shutil.rmtree(self.folder / STAGED, ignore_errors=True)
        if self.is_file:
            self._join()
        artifacts.write_json(self.folder / NOTE, note)

    def _join(self) -> None:
        parts = pl.scan_parquet(sorted(self.folder.glob("part-*.parquet")))
        with artifacts.written_aside(self.path) as aside, _faults():
            if self.path.suffix == ".csv":
                parts.sink_csv(aside)
            else:
                parts.sink_parquet(aside)
        for part in self.folder.glob("part-*.parquet"):
            part.unlink()


def of(text: str) -> Output:
    """Return the output that a person names.

    Raises:
        MeritError: it is none that can be written.
    """
    path = Path(text)
    if "://" in text:
        raise MeritError(f"OUT: found '{text}'; allowed: a folder, or a file that ends in .parquet or .csv")
    if path.suffix and path.suffix not in ENDINGS and not path.is_dir():
        raise MeritError(
            f"OUT: found '{text}'; allowed: a folder of Parquet files, or a file that ends in .parquet or .csv"
        )
    if path.is_dir() and path.suffix in ENDINGS:
        raise MeritError(f"{path}: is a folder, not a file; remove it or give another name")
    if path.is_file() and path.suffix not in ENDINGS:
        raise MeritError(f"{path}: is a file; give a folder, or a file that ends in .parquet or .csv")
    return Output(path)


def changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what differs between what was begun and what is asked now; empty if nothing does."""
    for key, told in {
        "input": "the input",
        "package": "the package",
        "version": "the version",
        "keep": "--keep",
    }.items():
        if before.get(key) != now.get(key):
            return f"{told} is another{_which(before.get(key), now.get(key))}"
    return ""


def _which(before: Any, now: Any) -> str:
    """Return in which file or how two inputs or digests differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        old, new = dict(before.get("files", {})), dict(now.get("files", {}))
        names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f": {', '.join(names[:3])}{more}" if names else ""
    return f": it was {before}, now it is {now}" if before and now else ""


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise MeritError(f"{folder}: can't be written: {error.strerror}; free space or fix its permissions") from error


def _height(folder: Path) -> int:
    parts = sorted(folder.glob("part-*.parquet")) if folder.is_dir() else []
    return int(pl.scan_parquet(parts).select(pl.len()).collect().item()) if parts else 0


def _write(path: Path, rows: pl.DataFrame) -> None:
    with artifacts.written_aside(path) as aside, _faults():
        rows.write_parquet(aside)


@contextmanager
def _faults() -> Iterator[None]:
    """Turn what Polars makes of a full disk into what it is."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise OSError(str(error)) from error
