"""Where the rows of a batch come from: Parquet and CSV files here or in S3, and the rows of a query."""

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
"""Endings of files that are neither."""
ADVICE = re.compile(r"\n\n|[;,.]?\s+(?:or )?(?:consider|make sure|you might want|hint:|try )", re.IGNORECASE)
"""Where Polars begins to advise whoever calls it."""
NAMES = "a Parquet or CSV file, a folder or pattern of .parquet or .csv, s3://bucket/prefix/, or sql with --query"


@dataclass(frozen=True)
class Chunk:
    """Where rows that are scored together are: their number, their count, and each file's path, start and rows."""

    number: int
    rows: int
    pieces: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Files:
    """Files of one kind, read one after another as one table.

    Attributes:
        name: what a person called them.
        paths: their places, in order.
        versions: what tells one content from another: sizes and times, or what the store says.
        storage: how their store is reached.
        is_hive: whether folders such as `day=2024-01-31` are columns.
        dialect: how files of text are laid out.
        plain: where those lie in UTF-8 that are in another encoding, or compressed by what Polars doesn't know.
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
        """Whether they know no types."""
        return self.kind == "csv"

    def identity(self) -> dict[str, Any]:
        """Return what names their content."""
        return {"files": self.versions}

    def scan(self, paths: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the table, unread; of some of the files, if they are named."""
        chosen = list(self.paths if paths is None else paths)
        if self.kind == "parquet":
            # Polars takes the whole path for columns, also what lies above the folder that was named.
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
        """Return a file of text, unread, every field as text: a value that is of no use is told with its row."""
        return pl.scan_csv(
            self.plain.get(path, path),
            separator=self.dialect.separator,
            infer_schema=False,
            null_values=[""],
            skip_lines=self.text(path).leading,
            glob=False,
            storage_options=None if path in self.plain else self.storage or None,
        ).rename(unquoted)  # by `with_column_names` Polars would look for an object of S3 here

    def text(self, path: str) -> TextFile:
        """Return one of the files of text; where it was recoded, what it is now."""
        if path in self.plain:
            return TextFile(path, replace(self.dialect, encoding="utf-8"), Path(self.plain[path]))
        if not path.startswith("s3://"):
            return TextFile(path, self.dialect)
        from merit.batch import s3

        # Buffered, so that its lines can be bounded.
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
        """Refuse files that hold a column which their folders name too: one of the two would be lost."""
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
        """Return how many there are, where that is cheap to know."""
        if self.kind == "csv":
            return None
        with faults(self.name):
            return int(self.scan(None if path is None else [path]).select(pl.len()).collect().item())

    @property
    def is_seekable(self) -> bool:
        """Whether a chunk can be read without what lies before it. In a store, that would fetch much of it twice."""
        return self.kind == "parquet" and not self.paths[0].startswith("s3://")

    def pieces(self, size: int) -> "Iterator[Chunk]":
        """Give the place of each chunk of `size` rows; the last has what is left."""
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
        """Return the rows of a chunk, of the columns and types of `schema`.

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
        """Give each chunk of rows with its number, from chunk `first` on; all but the last have `size` rows.

        Raises:
            MeritError: the files can't be read.
        """
        with faults(self.name):
            lazy = self.scan().select(columns).slice(first * size)
            yield from enumerate(_even(lazy.collect_batches(chunk_size=size, maintain_order=True), size), first)


def _even(batches: Iterator[pl.DataFrame], size: int) -> Iterator[pl.DataFrame]:
    """Give chunks of just `size` rows, of batches of any."""
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
    """Turn what Polars raises of unreadable files into one line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        """Nothing is to be done before."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise it as a line."""
        if isinstance(error, (pl.exceptions.PolarsError, OSError, EOFError, zlib.error)):
            raise MeritError(f"{self.name}: can't be read: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Return what a library says went wrong, without its advice on options that nobody can give here."""
    from merit.console.masking import masked

    told = str(error)
    if isinstance(error, pl.exceptions.PolarsError):
        told = ADVICE.split(told, maxsplit=1)[0]
    return masked(" ".join(told.split()))[:300]


def opened(text: str) -> Files:
    """Return the files that a person names.

    Raises:
        MeritError: there are none, they are of several kinds, or of none that is read.
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
    """Return what tells one content of a file from another.

    Raises:
        MeritError: it has none.
    """
    found = path.stat()
    if found.st_size == 0:
        raise MeritError(f"{path}: is empty")
    return f"{found.st_size} bytes at {found.st_mtime_ns}"


def ending(name: str) -> str:
    """Return the ending that says what a file is; empty if it is none that is read."""
    return next((each for each in sorted(KINDS, key=len, reverse=True) if name.lower().endswith(each)), "")


def kind_of_file(path: Path) -> Literal["parquet", "csv"]:
    """Return what kind a file is of that a person named: by its content where its name doesn't say.

    Raises:
        MeritError: it is of none.
    """
    if ending(path.name) or path.suffix.lower() in OTHERS:
        return kind_of(str(path), [str(path)])
    with path.open("rb") as handle:
        return "parquet" if handle.read(4) == b"PAR1" else "csv"


def kind_of(text: str, names: list[str]) -> Literal["parquet", "csv"]:
    """Return what kind files are of.

    Raises:
        MeritError: they are of several, or of none.
    """
    odd = [name for name in names if not ending(name)]
    if odd:
        raise MeritError(f"IN: found '{odd[0]}'; allowed: {NAMES}")
    kinds = {KINDS[ending(name)] for name in names}
    if len(kinds) > 1:
        raise MeritError(f"{text}: holds Parquet and CSV files; name one kind, such as '{text.rstrip('/')}/*.parquet'")
    return kinds.pop()
