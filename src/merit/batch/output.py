"""The output of a batch: one Parquet file (a part) per chunk, and a note that records what they were made from.

A part is written under a temporary name and renamed, so an existing part is complete, and a resumed run skips its
chunk. Only files that `merit predict` wrote are removed: parts by their names, and only beside a note.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from merit import artifacts
from merit.batch.scorer import Scored
from merit.batch.sources import reason_of
from merit.errors import MeritError, Refused

FORM = 2
"""Format version of the note."""
NOTE = "_merit.json"
"""File name of the note: what the parts were made from, and after completion the number of rows of each."""
REJECTED = "_rejected"
"""Folder for rejected rows; readers of a folder as one table ignore names that begin with an underscore."""
STAGED = ".rows"
"""Folder for the rows of a query until they are scored: a second query may return them in another order."""
STAGED_ANEW = ".rows.anew"
"""The same for a restart, until the new rows are known to be valid; then it replaces the folder above."""
ENDINGS = (".parquet", ".csv")
PART = re.compile(r"part-(\d{8,})\.parquet")


@dataclass(frozen=True)
class Output:
    """The destination of scored rows.

    Args:
        path: a folder of Parquet files, or one file, .parquet or .csv.
    """

    path: Path

    @property
    def is_file(self) -> bool:
        """Whether the output is one file and not a folder."""
        return self.path.suffix in ENDINGS

    @property
    def folder(self) -> Path:
        """The folder of the parts; for one file a hidden folder beside it, which holds only the note at the end."""
        return self.path.with_name(f".{self.path.name}.parts") if self.is_file else self.path

    @property
    def rejected(self) -> Path:
        """The folder of the rejected rows."""
        return self.path.with_name(f"{self.path.name}.rejected") if self.is_file else self.path / REJECTED

    def part(self, number: int) -> Path:
        """Return the path of the part of a chunk."""
        return self.folder / f"part-{number:08d}.parquet"

    def is_done(self, number: int) -> bool:
        """Return whether a chunk was scored."""
        return self.part(number).is_file()

    def first_open(self) -> int:
        """Return the index of the first chunk that was not scored."""
        number = 0
        while self.is_done(number):
            number += 1
        return number

    def write(self, number: int, scored: Scored) -> None:
        """Write a chunk, its rejected rows first: once its part exists, the chunk is never scored again."""
        if scored.rejected.height:
            _write(self.rejected / self.part(number).name, scored.rejected)
        _write(self.part(number), scored.rows)

    def begin(self, note: dict[str, Any]) -> None:
        """Write the note on what the parts are made from."""
        artifacts.write_json(self.folder / NOTE, note)

    def has_note(self) -> bool:
        """Return whether a batch was started here."""
        return (self.folder / NOTE).is_file()

    def has_parts(self) -> bool:
        """Return whether any chunk was scored."""
        return bool(numbers(self.folder))

    def is_whole(self, note: dict[str, Any]) -> bool:
        """Return whether a finished batch is complete; remove parts that differ from its note, to be scored again."""
        wrong = {int(number) for number, rows in note["aside"].items() if self._aside(int(number)) != rows}
        if not self.is_file:
            wrong |= {number for number, rows in enumerate(note["parts"]) if self._rows(number) != rows}
        for number in wrong:
            self.part(number).unlink(missing_ok=True)
        return not wrong and (not self.is_file or stamp(self.path) == note["file"])

    def _rows(self, number: int) -> int:
        """Return the number of rows of a part; -1 if it is missing or unreadable."""
        return _height(self.part(number)) if self.is_done(number) else -1

    def _aside(self, number: int) -> int:
        """Return the number of rejected rows of a chunk."""
        return _height(self.rejected / self.part(number).name)

    def clear(self) -> None:
        """Remove the scored rows, but neither the note nor the files of others."""
        for folder in (self.folder, self.rejected):
            for number in numbers(folder):
                (folder / self.part(number).name).unlink(missing_ok=True)
        with suppress(OSError):
            self.rejected.rmdir()
        shutil.rmtree(self.folder / STAGED, ignore_errors=True)
        if self.is_file:
            self.path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove the half-written files of a killed run."""
        for folder in (self.folder, self.rejected):
            for path in [*folder.glob(".part-*.parquet.*"), *folder.glob(f".{NOTE}.*")]:
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.folder / STAGED_ANEW, ignore_errors=True)
        if self.is_file and self.path.is_file():  # it exists only after all parts were joined
            self._drop_parts()

    def scored(self) -> int:
        """Return the number of input rows that are done: scored or rejected."""
        return sum(_height(self.part(number)) + self._aside(number) for number in numbers(self.folder))

    def finish(self, note: dict[str, Any]) -> dict[str, Any]:
        """Record completion and row counts in the note, join the parts if the output is one file; return the note."""
        shutil.rmtree(self.folder / STAGED, ignore_errors=True)
        parts = [_height(self.part(number)) for number in range(self.first_open())]
        aside = {str(number): self._aside(number) for number in numbers(self.rejected)}
        note = {**note, "parts": parts, "aside": aside, "finished": True}
        if self.is_file:
            self._join(note)
        else:
            artifacts.write_json(self.folder / NOTE, note)
        return note

    def _join(self, note: dict[str, Any]) -> None:
        parts = [self.part(number) for number in range(len(note["parts"]))]
        with artifacts.written_aside(self.path) as aside, _faults():
            rows = pl.scan_parquet(parts)
            if self.path.suffix == ".csv":
                rows.sink_csv(aside)
            else:
                rows.sink_parquet(aside)
            # The note is written before the rename: after a kill at any moment, an existing file is known as our own.
            artifacts.write_json(self.folder / NOTE, {**note, "file": stamp(aside)})
        self._drop_parts()

    def _drop_parts(self) -> None:
        """Remove the parts that were joined into one file."""
        for number in numbers(self.folder):
            self.part(number).unlink(missing_ok=True)


def of(text: str) -> Output:
    """Return the output that the argument OUT of `merit predict` names.

    Raises:
        MeritError: it is no folder and no file that can be written.
    """
    path = Path(text)
    if "://" in text or not text.strip():
        raise MeritError(f"OUT: found '{text}'; allowed: a folder, or a file that ends in .parquet or .csv")
    if path.suffix and path.suffix not in ENDINGS and not path.is_dir():
        raise MeritError(
            f"OUT: found '{text}'; allowed: a folder of Parquet files, or a file that ends in .parquet or .csv"
        )
    if path.is_dir() and path.suffix in ENDINGS:
        raise MeritError(f"{path}: is a folder, not a file; remove it or give another name")
    if path.is_file() and path.suffix not in ENDINGS:
        raise MeritError(f"{path}: is a file; give a folder, or a file that ends in .parquet or .csv")
    if path.exists() and not path.is_dir() and not path.is_file():
        raise MeritError(f"{path}: is a device or pipe; give a folder, or a file that ends in .parquet or .csv")
    return Output(path)


def check_columns(output: Output, schema: pl.Schema) -> None:
    """Refuse columns that a CSV file can't hold.

    Raises:
        Refused: the output is CSV, and a column is nested or binary.
    """
    if output.path.suffix != ".csv":
        return
    odd = [f"'{name}' ({dtype})" for name, dtype in schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if odd:
        raise Refused(
            f"{output.path}: CSV can't hold the column {', '.join(odd)}; name the columns to carry over without it, by "
            "--keep, or give a folder or a .parquet file"
        )


def changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return how the request of the existing output and the present one differ; empty if they don't."""
    for key, told in {
        "form": "the form of the note",
        "input": "the input",
        "package": "the package",
        "version": "the version",
        "keep": "--keep",
    }.items():
        if before.get(key) != now.get(key):
            return f"{told} is another{_which(before.get(key), now.get(key))}"
    return ""


def _which(before: Any, now: Any) -> str:
    """Return the detail of a difference: the files that differ, or both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        if "query" in before and "query" in now:
            told = f"the query was '{before['query']}', now it is '{now['query']}'"
            return f": {told}" if before["query"] != now["query"] else ": the same query of another database"
        old, new = dict(before.get("files", {})), dict(now.get("files", {}))
        names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f": {', '.join(names[:3])}{more}" if names else ""
    return f": it was {before}, now it is {now}" if before and now else ""


def numbers(folder: Path) -> list[int]:
    """Return the indices of the chunks whose parts are in a folder, in order."""
    found = [PART.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in found if match)


def stamp(path: Path) -> str | None:
    """Return the size and modification time of a file, which identify its content; None if it is missing."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return f"{found.st_size} bytes at {found.st_mtime_ns}"


def _height(part: Path) -> int:
    """Return the number of rows of a part; -1 if it is unreadable, 0 if it is missing."""
    if not part.is_file():
        return 0
    try:
        return int(pl.scan_parquet(part, glob=False).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError):
        return -1


def _write(path: Path, rows: pl.DataFrame) -> None:
    with artifacts.written_aside(path) as aside, _faults():
        rows.write_parquet(aside)


@contextmanager
def _faults() -> Iterator[None]:
    """Turn the errors that Polars raises on a full disk into OSError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise OSError(reason_of(error)) from error
