"""ingest: read the source, keep the declared window, rows and columns, make the target, write Parquet."""

import numpy as np
import polars as pl

from merit import artifacts
from merit.config import trust
from merit.config.compose import sealed
from merit.config.problems import did_you_mean
from merit.config.schema.data import Column, Data, Target
from merit.data.reasons import reason_of
from merit.errors import MeritError
from merit.expression import ExpressionError, columns_of, evaluate, plain

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
    source, found = sealed(data.source.model_dump(by_alias=True))
    if found != data.fingerprint:
        raise MeritError(
            f"data.source: the files read are {found}, but the lock was made for {data.fingerprint}: "
            "the data changed; 'merit compose' with the overrides in use takes the change into the lock"
        )
    with trust.theirs():
        try:
            table = source.read()
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            if trust.frame_of_theirs(error):
                raise
            raise MeritError(f"data.source: {data.source.target} can't read its file: {reason_of(error)}") from error
    if not isinstance(table, pl.DataFrame):
        raise MeritError(f"data.source: {data.source.target} gives {type(table).__name__}, not a polars.DataFrame")
    return table


def _kept(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Keep the rows inside the window that the filter lets through."""
    if data.time is not None:
        _check_time(table, data.time)
    if data.window is not None:
        day = pl.col(data.time or "").cast(pl.Datetime("us")).dt.date()
        table = table.filter(day.is_between(data.window.start, data.window.end))
    return table if data.filter is None else table.filter(_truth(table, data.filter, "data.filter"))


def _check_time(table: pl.DataFrame, time: str) -> None:
    if time not in table.columns:
        raise _no_column(time, "data.time", table)
    if not table.schema[time].is_temporal():
        raise MeritError(f"data.time: the column '{time}' is {table.schema[time]}; it must be a date or a time")


def _targeted(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Add the target as Float64: whether its condition holds, the place of its class, or its number."""
    target = data.target
    if target.task == "binary":
        found = _truth(table, target.sql, "data.target.sql").cast(pl.Float64)
    elif target.task == "regression":
        found = _number(table, target)
    else:
        found = _place(table, target)
    if found.null_count():
        raise MeritError(
            f"data.target.sql: '{target.sql}' is unknown for {found.null_count()} rows; "
            "drop them by data.filter (IS NOT NULL)"
        )
    return table.with_columns(found.alias(target.name))


def _number(table: pl.DataFrame, target: Target) -> pl.Series:
    made = _asked(table, target.sql, "data.target.sql")
    if not made.dtype.is_numeric():
        raise MeritError(f"data.target.sql: '{target.sql}' gives {made.dtype}; a regression needs a number")
    made = made.cast(pl.Float64).fill_nan(None)
    if infinite := made.is_infinite().sum():
        raise MeritError(f"data.target.sql: '{target.sql}' is infinite for {infinite} rows; drop them by data.filter")
    return made


def _place(table: pl.DataFrame, target: Target) -> pl.Series:
    """Return the place of each row's class among the classes that conf/data names."""
    assert target.classes is not None
    made = _asked(table, target.sql, "data.target.sql")
    kind: pl.DataType = pl.String() if isinstance(target.classes[0], str) else pl.Int64()
    try:
        labels = made.cast(kind)
    except pl.exceptions.PolarsError as error:
        raise MeritError(f"data.target.sql: '{target.sql}' gives {made.dtype}, but the classes are {kind}") from error
    known = pl.Series(target.classes, dtype=kind)
    others = labels.filter(~labels.is_in(known.implode()) & labels.is_not_null()).unique().sort()
    if len(others):
        raise MeritError(
            f"data.target.sql: '{target.sql}' gives {', '.join(map(str, others.head(5)))}, which data.target.classes "
            f"doesn't name; allowed: {', '.join(map(str, target.classes))}; name them, or drop such rows by data.filter"
        )
    return labels.replace_strict(known, list(range(len(known))), default=None, return_dtype=pl.Float64)


def _typed(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Select the declared columns in their declared types and a fixed order of rows."""
    for name in data.columns:
        if name not in table.columns:
            raise _no_column(name, f"data.columns.{name}", table)
    columns = [_cast(table, name, column) for name, column in data.columns.items()]
    chosen = table.select(*columns, data.target.name)
    # Without time and keys the order of the file is kept: it is as fixed as the file's hash.
    order = [*([data.time] if data.time else []), *data.contract.unique]
    return chosen.sort(order, maintain_order=True) if order else chosen


def _cast(table: pl.DataFrame, name: str, column: Column) -> pl.Series:
    """Return a column in its declared type; a cast that would change a value is refused."""
    found = table[name]
    try:
        made = found.cast(_type(column))
    except pl.exceptions.PolarsError as error:
        reason = " ".join(str(error).split())[:160]
        raise _mistyped(name, column, f"found {found.dtype} values that are not of that type ({reason})") from error
    if column.type == "array":
        return _whole(made, name, column)
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


def _type(column: Column) -> pl.DataType:
    return pl.Array(pl.Float64, tuple(column.shape or ())) if column.type == "array" else TYPES[column.type]


def _whole(arrays: pl.Series, name: str, column: Column) -> pl.Series:
    """Return arrays whose every element is a number."""
    if arrays.null_count() or not np.isfinite(arrays.to_numpy()).all():
        raise _mistyped(name, column, "found arrays, or elements of them, that are missing or not finite")
    return arrays


def _mistyped(name: str, column: Column, found: str) -> MeritError:
    declared = f"{column.type} {column.shape}" if column.shape else column.type
    return MeritError(f"data.columns.{name}: declared {declared}, but {found}; change the type or the data")


def _truth(table: pl.DataFrame, sql: str, key: str) -> pl.Series:
    """Return what a SQL condition says of each row: true, false, or unknown."""
    made = _asked(table, sql, key)
    if made.dtype != pl.Boolean:
        raise MeritError(f"{key}: '{sql}' gives {made.dtype}; it must be true or false")
    return made


def _asked(table: pl.DataFrame, sql: str, key: str) -> pl.Series:
    """Return what a SQL expression gives for each row."""
    for name in columns_of(sql):
        if name not in table.columns:
            raise _no_column(plain(name), key, table)
    try:
        return evaluate(sql, table)
    except ExpressionError as error:
        raise MeritError(f"{key}: {error}") from error


def _no_column(name: str, key: str, table: pl.DataFrame) -> MeritError:
    return MeritError(f"{key}: the source has no column '{name}'; {did_you_mean(name, table.columns)}")
