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

from merit.errors import MeritError
from merit.reading.dialect import Dialect
from merit.reading.textfile import TextFile, unquoted

KINDS: dict[str, Literal["parquet", "csv"]] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv", ".csv.zst": "csv", ".csv.bz2": "csv",
    ".csv.xz": "csv", ".tsv": "csv",
}  # fmt: skip
OTHERS = (".json", ".jsonl", ".ndjson", ".xlsx", ".xls", ".feather", ".arrow", ".db", ".pdf")
"""File endings that are known not to be supported."""
ADVICE = re.compile(r"\n\n|[;,.]?\s+(?:or )?(?:consider|make sure|you might want|hint:|try )", re.IGNORECASE)
"""The beginning of advice in an error of Polars, which addresses programmers."""
NAMES = "a Parquet or CSV file, a folder or pattern of .parquet or .csv, s3://bucket/prefix/, or sql with --query"


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
class Files:
    """Files of one kind, read one after another as one table.

    Attributes:
        name: the path, pattern or URL that the user gave.
        kind: their format.
        paths: their paths, in order.
        versions: path to a text that identifies its content: size and modification time, or size and ETag in S3.
        storage: Polars' options for the store.
        is_hive: whether folders such as `day=2024-01-31` are columns.
        dialect: the CSV dialect.
        plain: path to a UTF-8 copy, for files in another encoding or in a compression that Polars doesn't read.
    """

    name: str
    kind: Literal["parquet", "csv"]
    paths: tuple[str, ...]
    versions: dict[str, str]
    storage: dict[str, str] = field(default_factory=dict, repr=False)
    is_hive: bool = False
    dialect: Dialect = Dialect()  # noqa: RUF009  # frozen
    plain: dict[str, str] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether the files have no types, as in CSV."""
        return self.kind == "csv"

    def identity(self) -> dict[str, Any]:
        """Return a value that identifies their content."""
        return {"files": self.versions}

    def scan(self, paths: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the files as a lazy table; only those of `paths` if given."""
        chosen = list(self.paths if paths is None else paths)
        if self.kind == "parquet":
            # Polars makes columns of all folders in the path, also of those above the folder that the user named.
            above = [part.partition("=")[0] for part in self.name.split("/") if "=" in part] if self.is_hive else []
            return pl.scan_parquet(
                chosen,
                hive_partitioning=self.is_hive,
                glob=False,
                storage_options=self.storage or None,
                extra_columns="raise",
                cast_options=pl.ScanCastOptions(
                    integer_cast="upcast", float_cast="upcast", categorical_to_string="allow"
                ),
            ).drop(above, strict=False)
        return pl.concat([self._scan_text(path) for path in chosen])

    def _scan_text(self, path: str) -> pl.LazyFrame:
        """Return a CSV file as a lazy table of text; fields are cast later, so that an error can name row and value."""
        return pl.scan_csv(
            self.plain.get(path, path),
            separator=self.dialect.separator,
            infer_schema=False,
            null_values=[""],
            skip_lines=self.text(path).leading,
            glob=False,
            storage_options=None if path in self.plain else self.storage or None,
        ).rename(unquoted)  # not by `with_column_names`: with that, Polars would look for an S3 object here

    def text(self, path: str) -> TextFile:
        """Return one of the CSV files; its UTF-8 copy if there is one."""
        if path in self.plain:
            return TextFile(path, replace(self.dialect, encoding="utf-8"), Path(self.plain[path]))
        if not path.startswith("s3://"):
            return TextFile(path, self.dialect)
        from merit.batch import s3

        # Buffered, so that the length of a line can be limited.
        return TextFile(path, self.dialect, lambda: BufferedReader(cast("RawIOBase", s3.reader(path))))

    def schema(self) -> pl.Schema:
        """Return the columns and their types.

        Raises:
            MeritError: the files can't be read.
        """
        with faults(self.name):
            found = self.scan().collect_schema()
            if self.is_hive and self.kind == "parquet":
                self._check_folders()
            elif self.is_seekable:
                self._check_alike(list(found))
            return found

    def _check_folders(self) -> None:
        """Refuse files with a column that their folders define too: Polars would drop one of the two."""
        for path in self.paths if self.is_seekable else self.paths[:1]:
            own = pl.scan_parquet(path, glob=False, hive_partitioning=False, storage_options=self.storage or None)
            named = [part.partition("=")[0] for part in path.split("/")[:-1] if "=" in part]
            if both := sorted(set(named) & set(own.collect_schema())):
                raise MeritError(
                    f"{path}: holds the column {', '.join(both)}, which its folder names too; rename the folder, or "
                    f"give the files as a pattern, such as '{self.name.rstrip('/')}/**/*.parquet'"
                )

    def _check_alike(self, columns: list[str]) -> None:
        for path in self.paths[1:]:
            others = set(pl.read_parquet_schema(path)) ^ set(columns)
            if others:
                raise MeritError(
                    f"{path}: has other columns than {self.paths[0]}: {', '.join(sorted(others))}; score them apart"
                )

    def rows(self, path: str | None = None) -> int | None:
        """Return the number of rows of all files or one; None for CSV, where counting would read everything."""
        if self.kind == "csv":
            return None
        with faults(self.name):
            return int(self.scan(None if path is None else [path]).select(pl.len()).collect().item())

    @property
    def is_seekable(self) -> bool:
        """Whether a chunk can be read without the rows before it. In S3 that would fetch many bytes twice."""
        return self.kind == "parquet" and not self.paths[0].startswith("s3://")

    def pieces(self, size: int) -> "Iterator[Chunk]":
        """Yield the location of each chunk of `size` rows; the last has the remaining rows."""
        sizes = [self.rows(path) or 0 for path in self.paths]
        ends = list(accumulate(sizes))
        total, file = (ends[-1] if ends else 0), 0
        for number, start in enumerate(range(0, total, size)):
            stop, pieces, at = min(start + size, total), [], start
            while at < stop:
                while ends[file] <= at:
                    file += 1
                until = min(stop, ends[file])
                pieces.append((self.paths[file], at - (ends[file] - sizes[file]), until - at))
                at = until
            yield Chunk(number, stop - start, tuple(pieces))

    def read(self, chunk: "Chunk", schema: pl.Schema) -> pl.DataFrame:
        """Return the rows of a chunk, with the columns and types of `schema`.

        Raises:
            MeritError: the files can't be read.
        """
        with faults(self.name):
            tables = [
                self.scan([path]).select(list(schema)).slice(start, rows).collect().cast(schema)
                for path, start, rows in chunk.pieces
            ]
            return pl.concat(tables).rechunk()

    def chunks(self, columns: list[str], size: int, first: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield each chunk with its index, from chunk `first` on; all but the last have `size` rows.

        Raises:
            MeritError: the files can't be read.
        """
        with faults(self.name):
            lazy = self.scan().select(columns).slice(first * size)
            yield from enumerate(_even(lazy.collect_batches(chunk_size=size, maintain_order=True), size), first)


def _even(batches: Iterator[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """Regroup batches of any size into chunks of `size` rows."""
    waiting: list[pl.DataFrame] = []
    height = 0
    for batch in batches:
        waiting.append(batch)
        height += batch.height
        while height >= size:
            whole = pl.concat(waiting)
            yield whole[:size].rechunk()
            waiting, height = [whole[size:]], height - size
    if height:
        yield pl.concat(waiting).rechunk()


class faults:  # noqa: N801  # reads as a statement
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
            raise MeritError(f"{self.name}: can't be read: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Return the message of an error without secrets, and without Polars' advice on its own parameters."""
    from merit.console.masking import masked

    told = str(error)
    if isinstance(error, pl.exceptions.PolarsError):
        told = ADVICE.split(told, maxsplit=1)[0]
    return masked(" ".join(told.split()))[:300]


def opened(text: str) -> Files:
    """Return the files that the argument IN of `merit predict` names.

    Args:
        text: a path, a folder, a pattern, or `s3://bucket/prefix/`.

    Raises:
        MeritError: no file matches, or the files have several formats or an unsupported one.
    """
    if text.startswith("s3://"):
        from merit.batch import s3

        return s3.opened(text)
    if "://" in text:
        raise MeritError(f"IN: found '{text.partition('://')[0]}://…'; allowed: {NAMES}")
    root = Path(text)
    paths = _inside(root) if root.is_dir() else [root] if root.is_file() else _matching(text)
    names = {str(path): version_of(path) for path in paths}
    is_hive = root.is_dir() and any("=" in part for path in paths for part in path.relative_to(root).parts[:-1])
    kind = kind_of_file(root) if root.is_file() else kind_of(text, list(names))
    return Files(text, kind, tuple(names), names, is_hive=is_hive)


def _inside(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ending(path.name) and not _is_hidden(path.relative_to(folder))
    ]
    if not found:
        raise MeritError(f"{folder}: holds no file that ends in {', '.join(KINDS)}")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _matching(text: str) -> list[Path]:
    found = (
        sorted(Path(path) for path in Path().glob(text)) if not Path(text).is_absolute() else sorted(_absolute(text))
    )
    files = [path for path in found if path.is_file()]
    if not files:
        raise MeritError(f"IN: '{text}' is not there; allowed: {NAMES}")
    return files


def _absolute(text: str) -> Iterator[Path]:
    return Path("/").glob(text.lstrip("/"))


def version_of(path: Path) -> str:
    """Return the size and modification time of a file, which identify its content.

    Raises:
        MeritError: the file is empty.
    """
    found = path.stat()
    if found.st_size == 0:
        raise MeritError(f"{path}: is empty")
    return f"{found.st_size} bytes at {found.st_mtime_ns}"


def ending(name: str) -> str:
    """Return the ending that names a supported format; empty if there is none."""
    return next((each for each in sorted(KINDS, key=len, reverse=True) if name.lower().endswith(each)), "")


def kind_of_file(path: Path) -> Literal["parquet", "csv"]:
    """Return the format of a single file: by its name, else by its first bytes.

    Raises:
        MeritError: the ending names an unsupported format.
    """
    if ending(path.name) or path.suffix.lower() in OTHERS:
        return kind_of(str(path), [str(path)])
    with path.open("rb") as handle:
        return "parquet" if handle.read(4) == b"PAR1" else "csv"


def kind_of(text: str, names: list[str]) -> Literal["parquet", "csv"]:
    """Return the common format of files.

    Raises:
        MeritError: they have several formats, or an unsupported one.
    """
    odd = [name for name in names if not ending(name)]
    if odd:
        raise MeritError(f"IN: found '{odd[0]}'; allowed: {NAMES}")
    kinds = {KINDS[ending(name)] for name in names}
    if len(kinds) > 1:
        raise MeritError(f"{text}: holds Parquet and CSV files; name one kind, such as '{text.rstrip('/')}/*.parquet'")
    return kinds.pop()
