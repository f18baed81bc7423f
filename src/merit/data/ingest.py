"""ingest: read the source, keep the declared window, rows and columns, make the target, write Parquet."""

import polars as pl

from merit import artifacts
from merit.config import targets, trust
from merit.config.compose import fingerprint
from merit.config.problems import did_you_mean
from merit.config.schema import Column, Data
from merit.errors import MeritError

TYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "datetime": pl.Datetime("us"),
}


def ingest(data: Data) -> pl.DataFrame:
    """Return the declared table and write it to `artifacts.RAW`, the same bytes on every run.

    Raises:
        MeritError: the files changed since the lock was made, can't be read, or lack a declared column; an
            expression of conf/data is not valid; no row is left.
    """
    table = _read(data)
    table = _typed(_targeted(_kept(table, data), data), data)
    if table.is_empty():
        raise MeritError("data: no row is left after data.window and data.filter; widen them in conf/data")
    artifacts.write_table(artifacts.RAW, table)
    return table


def _read(data: Data) -> pl.DataFrame:
    source = data.source.model_dump(by_alias=True)
    found = fingerprint(source)
    if found != data.fingerprint:
        raise MeritError(
            f"data.source: the files read are {found}, but the lock was made for {data.fingerprint}: "
            "the data changed; 'merit compose' takes the change into the lock"
        )
    with trust.theirs():
        try:
            table = targets.build(source).read()
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            if trust.frame_of_theirs(error):
                raise
            reason = " ".join(str(error).split())[:300]
            raise MeritError(f"data.source: {data.source.target} can't read its file: {reason}") from error
    if not isinstance(table, pl.DataFrame):
        raise MeritError(f"data.source: {data.source.target} gives {type(table).__name__}, not a polars.DataFrame")
    return table


def _kept(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Keep the rows inside the window that the filter lets through."""
    if data.time not in table.columns:
        raise _no_column(data.time, "data.time", table)
    if not table.schema[data.time].is_temporal():
        raise MeritError(
            f"data.time: the column '{data.time}' is {table.schema[data.time]}; it must be a date or a time"
        )
    day = pl.col(data.time).cast(pl.Datetime("us")).dt.date()
    table = table.filter(day.is_between(data.window.start, data.window.end))
    return table if data.filter is None else table.filter(_truth(table, data.filter, "data.filter"))


def _targeted(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Add the target: 1.0 where its condition holds, 0.0 where it doesn't."""
    made = _truth(table, data.target.sql, "data.target.sql")
    if made.null_count():
        raise MeritError(
            f"data.target.sql: '{data.target.sql}' is unknown for {made.null_count()} rows; "
            "drop them by data.filter (IS NOT NULL)"
        )
    return table.with_columns(made.cast(pl.Float64).alias(data.target.name))


def _typed(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Select the declared columns in their declared types and a fixed order of rows."""
    for name in data.columns:
        if name not in table.columns:
            raise _no_column(name, f"data.columns.{name}", table)
    columns = [_cast(table, name, column) for name, column in data.columns.items()]
    chosen = table.select(*columns, data.target.name)
    # Without unique keys the order of the file is kept: it is as fixed as the file's hash.
    return chosen.sort([data.time, *data.contract.unique], maintain_order=True)


def _cast(table: pl.DataFrame, name: str, column: Column) -> pl.Series:
    """Return a column in its declared type; a cast that would change a value is refused."""
    found = table[name]
    try:
        made = found.cast(TYPES[column.type])
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:160]
        raise _mistyped(name, column, f"found {found.dtype} values that are not of that type ({reason})") from error
    if found.dtype.is_float() and column.type in {"integer", "boolean"}:
        changed = found.filter(made.cast(found.dtype) != found)
        if len(changed):
            raise _mistyped(name, column, f"found {len(changed)} other values, such as {changed[0]}")
    if made.dtype != pl.Float64:
        return made
    made = made.fill_nan(None)
    if infinite := made.is_infinite().sum():
        raise _mistyped(name, column, f"found {infinite} infinite values")
    return made


def _mistyped(name: str, column: Column, found: str) -> MeritError:
    return MeritError(f"data.columns.{name}: declared {column.type}, but {found}; change the type or the data")


def _truth(table: pl.DataFrame, sql: str, key: str) -> pl.Series:
    """Return what a SQL condition says of each row: true, false, or unknown."""
    try:
        made = table.select(pl.sql_expr(sql).alias(key)).to_series()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        columns = ", ".join(sorted(table.columns))
        raise MeritError(f"{key}: '{sql}' is not valid: {reason}; columns: {columns}") from error
    if made.len() != table.height:
        raise MeritError(f"{key}: '{sql}' gives {made.len()} values for {table.height} rows; it must ask each row")
    if made.dtype != pl.Boolean:
        raise MeritError(f"{key}: '{sql}' gives {made.dtype}; it must be true or false")
    return made


def _no_column(name: str, key: str, table: pl.DataFrame) -> MeritError:
    return MeritError(f"{key}: the source has no column '{name}'; {did_you_mean(name, table.columns)}")
