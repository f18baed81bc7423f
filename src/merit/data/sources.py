"""Provides the data sources; conf/data selects one by `_target_`, and each reads one table."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from merit.config import addresses, trusted_paths
from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl
    from sqlalchemy import URL

MAX_QUERY_CHARACTERS = 200
"""Maximum characters of a query in an error message."""


class Source(Protocol):
    """The protocol of data sources; any class of a trusted module with these two methods is one.

    A source without files has `fingerprint() -> str` instead of `files`: "sha256:" and the hash of its rows. A source
    of text files has the attributes `dialect`, `null_values` and `decimal` of `Csv`; other files with the same format,
    such as those of `merit predict`, are read with them.

    Example:
        class Orders:
            def files(self) -> list[Path]:
                return [Path("orders.parquet")]

            def read(self) -> pl.DataFrame:
                return pl.read_parquet("orders.parquet")
    """

    def files(self) -> list[Path]:
        """Return the files that `read` uses; the lock contains the hash of their contents."""

    def read(self) -> "pl.DataFrame":
        """Return the complete table, one row per example."""


class Csv:
    """A text file with a header and separated fields, optionally compressed with gzip, zstd, bz2 or xz.

    Every field is read as text, an empty field as missing: `data.columns` declares the type of each column and the
    notation of its cells. docs/reference/reading.md describes the details.

    Args:
        path: the file, relative to the repository's root; inside it or a root that pyproject.toml declares.
        separator: the character between fields.
        null_values: texts that mean "no value" in every column, in addition to the empty field.
        encoding: the text's encoding, such as windows-1252; a file with a byte order mark needs none.
        decimal: the decimal separator of numbers, "." or ","; a column may declare another.
        skip_rows: number of lines before the header.
        comment: prefix of comment lines before the header, such as "#".
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

        self.path = trusted_paths.validate_path(path, "data.source.path")
        self.dialect = Dialect(separator, encoding, skip_rows, comment)
        self.null_values = null_values or []
        self.decimal = decimal

    def files(self) -> list[Path]:
        """Return the file."""
        return [self.path]

    def read(self) -> "pl.DataFrame":
        """Return the table with every field as text."""
        from merit.reading.text_table import read_text_table
        from merit.reading.textfile import TextFile

        return read_text_table(TextFile(str(self.path), self.dialect))


class Parquet:
    """A Parquet file.

    Args:
        path: the file, relative to the repository's root; inside it or a root that pyproject.toml declares.
    """

    def __init__(self, path: str) -> None:
        self.path = trusted_paths.validate_path(path, "data.source.path")

    def files(self) -> list[Path]:
        """Return the file."""
        return [self.path]

    def read(self) -> "pl.DataFrame":
        """Return the table with the types of the file."""
        import polars as pl

        return pl.read_parquet(self.path, glob=False)


class Sql:
    """The rows of a database query.

    The rows are sorted by their content, so that the same rows always make the same table: a database's own order
    varies without ORDER BY and, among equal keys, even with it.

    Args:
        url: the SQLAlchemy URL, such as sqlite:///shop.db (relative to the repository's root; inside it or a root that
            pyproject.toml declares) or postgresql+psycopg://user@127.0.0.1/shop. It must not contain a password, for
            it is committed.
        query: one SELECT statement; the database connection enforces that nothing else runs.
    """

    def __init__(self, url: str, query: str) -> None:
        self.url = _parse_url(url)
        self.query = query

    def fingerprint(self) -> str:
        """Return the hash of the column names and types and of every value."""
        return self._table_and_fingerprint[1]

    def read(self) -> "pl.DataFrame":
        """Return the rows that `fingerprint` hashed."""
        return self._table_and_fingerprint[0]

    @cached_property
    def _table_and_fingerprint(self) -> "tuple[pl.DataFrame, str]":
        table = _convert_objects(self._fetch_table())
        hashed_table = _convert_dates(table)  # keeps fingerprints equal to those of earlier versions of merit
        lines = _render_rows(hashed_table)
        order = lines.arg_sort()
        digest = hashlib.sha256(repr([(name, str(dtype)) for name, dtype in hashed_table.schema.items()]).encode())
        for line in lines[order]:
            digest.update(line.encode() + b"\n")
        return table[order], f"sha256:{digest.hexdigest()}"

    def _fetch_table(self) -> "pl.DataFrame":
        from merit import database

        query = " ".join(self.query.split())[:MAX_QUERY_CHARACTERS]
        try:
            password_rule = addresses.get_password_rule() if self.url.get_backend_name() == "postgresql" else {}
            table = database.read_table(self.url.update_query_dict(password_rule), self.query)
        except database.DatabaseError as error:
            raise MeritError(f"data.source: '{query}' can't be read from {self.url}: {error}") from error
        if table.is_empty():
            raise MeritError(f"data.source: '{query}' gives no rows; correct the query")
        return table


def _parse_url(text: str) -> "URL":
    """Parse a database URL and refuse one that configuration must not contain.

    Raises:
        ValueError: it is invalid, or it contains a password or parameters that access files or credentials.
        MeritError: it names a file outside the project and its declared roots.
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
        trusted_paths.validate_path(str(url.database), "data.source.url")
    elif fault := addresses.find_parameter_error(url.query):
        raise ValueError(fault)
    elif "service" in url.query and (url.host or "host" in url.query):
        raise ValueError("the url has a service and a host: what the service holds is not for another host; name one")
    return url


def _convert_objects(table: "pl.DataFrame") -> "pl.DataFrame":
    """Convert values of driver-specific Python types, such as UUIDs, to text."""
    import polars as pl

    object_columns = [name for name, dtype in table.schema.items() if dtype == pl.Object]
    converted = [
        pl.Series(name, [None if item is None else str(item) for item in table[name]], dtype=pl.String)
        for name in object_columns
    ]
    return table.with_columns(converted)


def _convert_dates(table: "pl.DataFrame") -> "pl.DataFrame":
    """Convert text columns that contain only ISO 8601 dates, or only times, to these types."""
    import polars as pl

    return table.with_columns([_parse_dates(column) for column in table.select(pl.col(pl.String))])


def _parse_dates(column: "pl.Series") -> "pl.Series":
    """Convert a text column to dates or times; return it unchanged if one value is neither."""
    # The first values rule out most columns cheaply.
    sampled = column.drop_nulls().head(100)
    if sampled.is_empty():
        return column
    if sampled.str.contains(r"^\d{4}-\d\d-\d\d$").all():
        parsed = column.str.to_date("%Y-%m-%d", strict=False)
    elif sampled.str.contains(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d").all():
        parsed = column.str.to_datetime(time_unit="us", strict=False)
    else:
        return column
    return parsed if parsed.null_count() == column.null_count() else column


def _render_rows(table: "pl.DataFrame") -> "pl.Series":
    """Return each row as one text, unique per distinct row."""
    import polars as pl

    # JSON can't represent bytes, NaN and infinity.
    as_text = table.with_columns(pl.col(pl.Binary).bin.encode("hex"), pl.col(pl.Float32, pl.Float64).cast(pl.String))
    if as_text.is_empty():
        return pl.Series([], dtype=pl.String)
    return as_text.select(pl.struct(pl.all()).struct.json_encode()).to_series()
