"""Input of a batch: local or S3 files in Parquet or CSV, read in chunks."""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BufferedReader, RawIOBase
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, cast

import polars as pl

from merit.batch.formats import ALLOWED_SOURCES, FORMATS_BY_ENDING, detect_format, get_common_format, get_ending
from merit.errors import MeritError
from merit.reading.dialect import Dialect
from merit.reading.textfile import TextFile, unquote_name

ADVICE_PATTERN = re.compile(r"\n\n|[;,.]?\s+(?:or )?(?:consider|make sure|you might want|hint:|try )", re.IGNORECASE)
"""The beginning of advice in an error of Polars, which addresses programmers."""


@dataclass(frozen=True)
class Chunk:
    """The location of the rows of one chunk.

    Attributes:
        number: the index of the chunk.
        rows: its number of rows.
        pieces: path, first row and number of rows in each file that it covers.
    """

    number: int
    rows: int
    pieces: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class InputFiles:
    """Files of one kind, read one after another as one table.

    Attributes:
        name: the path, pattern or URL that the user gave.
        file_format: their format.
        paths: their paths, in order.
        versions: path to a text that identifies its content: size and modification time, or size and ETag in S3.
        storage_options: Polars' options for the store.
        is_hive: whether folders such as `day=2024-01-31` are columns.
        dialect: the CSV dialect.
        utf8_copies: path to a UTF-8 copy, for files in another encoding or in a compression that Polars doesn't read.
    """

    name: str
    file_format: Literal["parquet", "csv"]
    paths: tuple[str, ...]
    versions: dict[str, str]
    storage_options: dict[str, str] = field(default_factory=dict, repr=False)
    is_hive: bool = False
    dialect: Dialect = Dialect()  # noqa: RUF009  # frozen
    utf8_copies: dict[str, str] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether the files have no types, as in CSV."""
        return self.file_format == "csv"

    def get_identity(self) -> dict[str, Any]:
        """Return a value that identifies their content."""
        return {"files": self.versions}

    def scan_files(self, paths: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the files as a lazy table; only those of `paths` if given."""
        chosen = list(self.paths if paths is None else paths)
        if self.file_format == "parquet":
            # Polars makes columns of all folders in the path, also of those above the folder that the user named.
            parent_columns = (
                [part.partition("=")[0] for part in self.name.split("/") if "=" in part] if self.is_hive else []
            )
            return pl.scan_parquet(
                chosen,
                hive_partitioning=self.is_hive,
                glob=False,
                storage_options=self.storage_options or None,
                extra_columns="raise",
                cast_options=pl.ScanCastOptions(
                    integer_cast="upcast", float_cast="upcast", categorical_to_string="allow"
                ),
            ).drop(parent_columns, strict=False)
        return pl.concat([self._scan_text(path) for path in chosen])

    def _scan_text(self, path: str) -> pl.LazyFrame:
        """Return a CSV file as a lazy table of text; fields are cast later, so that an error can name row and value."""
        return pl.scan_csv(
            self.utf8_copies.get(path, path),
            separator=self.dialect.separator,
            infer_schema=False,
            null_values=[""],
            skip_lines=self.open_text(path).header_offset,
            glob=False,
            storage_options=None if path in self.utf8_copies else self.storage_options or None,
        ).rename(unquote_name)  # not by `with_column_names`: with that, Polars would look for an S3 object here

    def open_text(self, path: str) -> TextFile:
        """Return one of the CSV files; its UTF-8 copy if there is one."""
        if path in self.utf8_copies:
            return TextFile(path, replace(self.dialect, encoding="utf-8"), Path(self.utf8_copies[path]))
        if not path.startswith("s3://"):
            return TextFile(path, self.dialect)
        from merit.batch import s3

        # Buffered, so that the length of a line can be limited.
        return TextFile(path, self.dialect, lambda: BufferedReader(cast("RawIOBase", s3.open_object(path))))

    def read_schema(self) -> pl.Schema:
        """Return the columns and their types.

        Raises:
            MeritError: the files can't be read.
        """
        with translate_read_errors(self.name):
            schema = self.scan_files().collect_schema()
            if self.is_hive and self.file_format == "parquet":
                self._check_folders()
            elif self.is_seekable:
                self._check_same_columns(list(schema))
            return schema

    def _check_folders(self) -> None:
        """Refuse files with a column that their folders define too: Polars would drop one of the two."""
        for path in self.paths if self.is_seekable else self.paths[:1]:
            file_table = pl.scan_parquet(
                path, glob=False, hive_partitioning=False, storage_options=self.storage_options or None
            )
            folder_columns = [part.partition("=")[0] for part in path.split("/")[:-1] if "=" in part]
            if duplicates := sorted(set(folder_columns) & set(file_table.collect_schema())):
                raise MeritError(
                    f"{path}: holds the column {', '.join(duplicates)}, which its folder names too; rename the folder, "
                    "or "
                    f"give the files as a pattern, such as '{self.name.rstrip('/')}/**/*.parquet'"
                )

    def _check_same_columns(self, columns: list[str]) -> None:
        for path in self.paths[1:]:
            differing = set(pl.read_parquet_schema(path)) ^ set(columns)
            if differing:
                raise MeritError(
                    f"{path}: has other columns than {self.paths[0]}: {', '.join(sorted(differing))}; score them apart"
                )

    def count_rows(self, path: str | None = None) -> int | None:
        """Return the number of rows of all files or one; None for CSV, where counting would read everything."""
        if self.file_format == "csv":
            return None
        with translate_read_errors(self.name):
            return int(self.scan_files(None if path is None else [path]).select(pl.len()).collect().item())

    @property
    def is_seekable(self) -> bool:
        """Whether a chunk can be read without the rows before it. In S3 that would fetch many bytes twice."""
        return self.file_format == "parquet" and not self.paths[0].startswith("s3://")

    def locate_chunks(self, chunk_rows: int) -> "Iterator[Chunk]":
        """Yield the location of each chunk of `chunk_rows` rows; the last has the remaining rows."""
        row_counts = [self.count_rows(path) or 0 for path in self.paths]
        ends = list(accumulate(row_counts))
        total, file = (ends[-1] if ends else 0), 0
        for number, start in enumerate(range(0, total, chunk_rows)):
            stop, pieces, position = min(start + chunk_rows, total), [], start
            while position < stop:
                while ends[file] <= position:
                    file += 1
                end = min(stop, ends[file])
                pieces.append((self.paths[file], position - (ends[file] - row_counts[file]), end - position))
                position = end
            yield Chunk(number, stop - start, tuple(pieces))

    def read_chunk(self, chunk: "Chunk", schema: pl.Schema) -> pl.DataFrame:
        """Return the rows of a chunk, with the columns and types of `schema`.

        Raises:
            MeritError: the files can't be read.
        """
        with translate_read_errors(self.name):
            tables = [
                self.scan_files([path]).select(list(schema)).slice(start, rows).collect().cast(schema)
                for path, start, rows in chunk.pieces
            ]
            return pl.concat(tables).rechunk()

    def read_chunks(self, columns: list[str], chunk_rows: int, first_chunk: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield each chunk with its index, from `first_chunk` on; all but the last have `chunk_rows` rows.

        Raises:
            MeritError: the files can't be read.
        """
        with translate_read_errors(self.name):
            lazy = self.scan_files().select(columns).slice(first_chunk * chunk_rows)
            yield from enumerate(
                _regroup_batches(lazy.collect_batches(chunk_size=chunk_rows, maintain_order=True), chunk_rows),
                first_chunk,
            )


def _regroup_batches(batches: Iterator[pl.DataFrame], chunk_rows: int) -> Iterator[pl.DataFrame]:
    """Regroup batches of any size into chunks of `chunk_rows` rows."""
    buffered: list[pl.DataFrame] = []
    buffered_rows = 0
    for batch in batches:
        buffered.append(batch)
        buffered_rows += batch.height
        while buffered_rows >= chunk_rows:
            table = pl.concat(buffered)
            yield table[:chunk_rows].rechunk()
            buffered, buffered_rows = [table[chunk_rows:]], buffered_rows - chunk_rows
    if buffered_rows:
        yield pl.concat(buffered).rechunk()


class translate_read_errors:  # noqa: N801  # reads as a statement
    """Context manager that turns errors of unreadable files into a MeritError of one line.

    Args:
        name: the name of the input, for the message.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise a MeritError instead of an error of Polars, the system or zlib."""
        if isinstance(error, (pl.exceptions.PolarsError, OSError, EOFError, zlib.error)):
            raise MeritError(f"{self.name}: can't be read: {get_reason(error)}") from error


def get_reason(error: BaseException) -> str:
    """Return the message of an error without secrets, and without Polars' advice on its own parameters."""
    from merit.console.masking import mask_secrets

    message = str(error)
    if isinstance(error, pl.exceptions.PolarsError):
        message = ADVICE_PATTERN.split(message, maxsplit=1)[0]
    return mask_secrets(" ".join(message.split()))[:300]


def open_files(location: str) -> InputFiles:
    """Return the files that the argument IN of `merit predict` names.

    Args:
        location: a path, a folder, a pattern, or `s3://bucket/prefix/`.

    Raises:
        MeritError: no file matches, or the files have several formats or an unsupported one.
    """
    if location.startswith("s3://"):
        return _open_bucket(location)
    if "://" in location:
        raise MeritError(f"IN: found '{location.partition('://')[0]}://…'; allowed: {ALLOWED_SOURCES}")
    root = Path(location)
    paths = _list_folder(root) if root.is_dir() else [root] if root.is_file() else _match_pattern(location)
    versions = {str(path): get_file_version(path) for path in paths}
    is_hive = root.is_dir() and any("=" in part for path in paths for part in path.relative_to(root).parts[:-1])
    file_format = detect_format(root) if root.is_file() else get_common_format(location, list(versions))
    return InputFiles(location, file_format, tuple(versions), versions, is_hive=is_hive)


def _open_bucket(url: str) -> InputFiles:
    """Return the files below `s3://bucket/prefix/`, or the one object of that name."""
    from merit.batch import s3

    versions = s3.list_objects(url)
    is_hive = any("=" in part for name in versions for part in name.removeprefix(url).split("/")[:-1])
    file_format = get_common_format(url, list(versions))
    return InputFiles(url, file_format, tuple(versions), versions, s3.get_storage_options(), is_hive)


def _list_folder(folder: Path) -> list[Path]:
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and get_ending(path.name) and not _is_hidden(path.relative_to(folder))
    ]
    if not paths:
        raise MeritError(f"{folder}: holds no file that ends in {', '.join(FORMATS_BY_ENDING)}")
    return paths


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _match_pattern(pattern: str) -> list[Path]:
    matches = (
        sorted(Path(path) for path in Path().glob(pattern))
        if not Path(pattern).is_absolute()
        else sorted(_match_absolute(pattern))
    )
    files = [path for path in matches if path.is_file()]
    if not files:
        raise MeritError(f"IN: '{pattern}' is not there; allowed: {ALLOWED_SOURCES}")
    return files


def _match_absolute(pattern: str) -> Iterator[Path]:
    return Path("/").glob(pattern.lstrip("/"))


def get_file_version(path: Path) -> str:
    """Return the size and modification time of a file, which identify its content.

    Raises:
        MeritError: the file is empty.
    """
    status = path.stat()
    if status.st_size == 0:
        raise MeritError(f"{path}: is empty")
    return f"{status.st_size} bytes at {status.st_mtime_ns}"
