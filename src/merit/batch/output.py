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
from merit.batch.scorer import ScoredChunk
from merit.batch.sources import get_reason
from merit.errors import MeritError, Refused

NOTE_VERSION = 2
"""Format version of the note."""
NOTE_NAME = "_merit.json"
"""File name of the note: what the parts were made from, and after completion the number of rows of each."""
REJECTED_NAME = "_rejected"
"""Folder for rejected rows; readers of a folder as one table ignore names that begin with an underscore."""
STAGED_NAME = ".rows"
"""Folder for the rows of a query until they are scored: a second query may return them in another order."""
RESTAGED_NAME = ".rows.anew"
"""The same for a restart, until the new rows are known to be valid; then it replaces the folder above."""
FILE_SUFFIXES = (".parquet", ".csv")
PART_PATTERN = re.compile(r"part-(\d{8,})\.parquet")


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
        return self.path.suffix in FILE_SUFFIXES

    @property
    def folder(self) -> Path:
        """The folder of the parts; for one file a hidden folder beside it, which holds only the note at the end."""
        return self.path.with_name(f".{self.path.name}.parts") if self.is_file else self.path

    @property
    def rejected(self) -> Path:
        """The folder of the rejected rows."""
        return self.path.with_name(f"{self.path.name}.rejected") if self.is_file else self.path / REJECTED_NAME

    def get_part_path(self, number: int) -> Path:
        """Return the path of the part of a chunk."""
        return self.folder / f"part-{number:08d}.parquet"

    def is_done(self, number: int) -> bool:
        """Return whether a chunk was scored."""
        return self.get_part_path(number).is_file()

    def find_first_missing(self) -> int:
        """Return the index of the first chunk that was not scored."""
        number = 0
        while self.is_done(number):
            number += 1
        return number

    def write_chunk(self, number: int, scored: ScoredChunk) -> None:
        """Write a chunk, its rejected rows first: once its part exists, the chunk is never scored again."""
        if scored.rejected.height:
            _write_parquet(self.rejected / self.get_part_path(number).name, scored.rejected)
        _write_parquet(self.get_part_path(number), scored.rows)

    def write_note(self, note: dict[str, Any]) -> None:
        """Write the note on what the parts are made from."""
        artifacts.write_json(self.folder / NOTE_NAME, note)

    def has_note(self) -> bool:
        """Return whether a batch was started here."""
        return (self.folder / NOTE_NAME).is_file()

    def has_parts(self) -> bool:
        """Return whether any chunk was scored."""
        return bool(list_part_numbers(self.folder))

    def check_complete(self, note: dict[str, Any]) -> bool:
        """Return whether a finished batch is complete; remove parts that differ from its note, to be scored again."""
        damaged = {int(number) for number, rows in note["aside"].items() if self._count_rejected(int(number)) != rows}
        if not self.is_file:
            damaged |= {number for number, rows in enumerate(note["parts"]) if self._count_rows(number) != rows}
        for number in damaged:
            self.get_part_path(number).unlink(missing_ok=True)
        return not damaged and (not self.is_file or get_file_stamp(self.path) == note["file"])

    def _count_rows(self, number: int) -> int:
        """Return the number of rows of a part; -1 if it is missing or unreadable."""
        return _count_part_rows(self.get_part_path(number)) if self.is_done(number) else -1

    def _count_rejected(self, number: int) -> int:
        """Return the number of rejected rows of a chunk."""
        return _count_part_rows(self.rejected / self.get_part_path(number).name)

    def remove_results(self) -> None:
        """Remove the scored rows, but neither the note nor the files of others."""
        for folder in (self.folder, self.rejected):
            for number in list_part_numbers(folder):
                (folder / self.get_part_path(number).name).unlink(missing_ok=True)
        with suppress(OSError):
            self.rejected.rmdir()
        shutil.rmtree(self.folder / STAGED_NAME, ignore_errors=True)
        if self.is_file:
            self.path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove the half-written files of a killed run."""
        for folder in (self.folder, self.rejected):
            for path in [*folder.glob(".part-*.parquet.*"), *folder.glob(f".{NOTE_NAME}.*")]:
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.folder / RESTAGED_NAME, ignore_errors=True)
        if self.is_file and self.path.is_file():  # it exists only after all parts were joined
            self._drop_parts()

    def count_done_rows(self) -> int:
        """Return the number of input rows that are done: scored or rejected."""
        return sum(
            _count_part_rows(self.get_part_path(number)) + self._count_rejected(number)
            for number in list_part_numbers(self.folder)
        )

    def finish(self, note: dict[str, Any]) -> dict[str, Any]:
        """Record completion and row counts in the note, join the parts if the output is one file; return the note."""
        shutil.rmtree(self.folder / STAGED_NAME, ignore_errors=True)
        parts = [_count_part_rows(self.get_part_path(number)) for number in range(self.find_first_missing())]
        rejected_rows = {str(number): self._count_rejected(number) for number in list_part_numbers(self.rejected)}
        note = {**note, "parts": parts, "aside": rejected_rows, "finished": True}
        if self.is_file:
            self._join_parts(note)
        else:
            artifacts.write_json(self.folder / NOTE_NAME, note)
        return note

    def _join_parts(self, note: dict[str, Any]) -> None:
        parts = [self.get_part_path(number) for number in range(len(note["parts"]))]
        with artifacts.write_atomically(self.path) as temporary_path, _translate_disk_errors():
            rows = pl.scan_parquet(parts)
            if self.path.suffix == ".csv":
                rows.sink_csv(temporary_path)
            else:
                rows.sink_parquet(temporary_path)
            # The note is written before the rename: after a kill at any moment, an existing file is known as our own.
            artifacts.write_json(self.folder / NOTE_NAME, {**note, "file": get_file_stamp(temporary_path)})
        self._drop_parts()

    def _drop_parts(self) -> None:
        """Remove the parts that were joined into one file."""
        for number in list_part_numbers(self.folder):
            self.get_part_path(number).unlink(missing_ok=True)


def parse_output(location: str) -> Output:
    """Return the output that the argument OUT of `merit predict` names.

    Raises:
        MeritError: it is no folder and no file that can be written.
    """
    path = Path(location)
    if "://" in location or not location.strip():
        raise MeritError(f"OUT: found '{location}'; allowed: a folder, or a file that ends in .parquet or .csv")
    if path.suffix and path.suffix not in FILE_SUFFIXES and not path.is_dir():
        raise MeritError(
            f"OUT: found '{location}'; allowed: a folder of Parquet files, or a file that ends in .parquet or .csv"
        )
    if path.is_dir() and path.suffix in FILE_SUFFIXES:
        raise MeritError(f"{path}: is a folder, not a file; remove it or give another name")
    if path.is_file() and path.suffix not in FILE_SUFFIXES:
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
    unsupported = [f"'{name}' ({dtype})" for name, dtype in schema.items() if dtype.is_nested() or dtype == pl.Binary]
    if unsupported:
        raise Refused(
            f"{output.path}: CSV can't hold the column {', '.join(unsupported)}; name the columns to carry over "
            "without it, by "
            "--keep, or give a folder or a .parquet file"
        )


def describe_difference(previous: dict[str, Any], current: dict[str, Any]) -> str:
    """Return how the request of the existing output and the present one differ; empty if they don't."""
    for key, label in {
        "form": "the form of the note",
        "input": "the input",
        "package": "the package",
        "version": "the version",
        "keep": "--keep",
    }.items():
        if previous.get(key) != current.get(key):
            return f"{label} is another{_describe_detail(previous.get(key), current.get(key))}"
    return ""


def _describe_detail(previous: Any, current: Any) -> str:
    """Return the detail of a difference: the files that differ, or both values."""
    if isinstance(previous, dict) and isinstance(current, dict):
        if "query" in previous and "query" in current:
            text = f"the query was '{previous['query']}', now it is '{current['query']}'"
            return f": {text}" if previous["query"] != current["query"] else ": the same query of another database"
        previous_files, current_files = dict(previous.get("files", {})), dict(current.get("files", {}))
        names = [
            name
            for name in sorted({*previous_files, *current_files})
            if previous_files.get(name) != current_files.get(name)
        ]
        suffix = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f": {', '.join(names[:3])}{suffix}" if names else ""
    return f": it was {previous}, now it is {current}" if previous and current else ""


def list_part_numbers(folder: Path) -> list[int]:
    """Return the indices of the chunks whose parts are in a folder, in order."""
    matches = [PART_PATTERN.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in matches if match)


def get_file_stamp(path: Path) -> str | None:
    """Return the size and modification time of a file, which identify its content; None if it is missing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return f"{status.st_size} bytes at {status.st_mtime_ns}"


def _count_part_rows(part: Path) -> int:
    """Return the number of rows of a part; -1 if it is unreadable, 0 if it is missing."""
    if not part.is_file():
        return 0
    try:
        return int(pl.scan_parquet(part, glob=False).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError):
        return -1


def _write_parquet(path: Path, rows: pl.DataFrame) -> None:
    with artifacts.write_atomically(path) as temporary_path, _translate_disk_errors():
        rows.write_parquet(temporary_path)


@contextmanager
def _translate_disk_errors() -> Iterator[None]:
    """Turn the errors that Polars raises on a full disk into OSError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise OSError(get_reason(error)) from error
