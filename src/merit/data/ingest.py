"""Reads the source, selects the declared rows and columns, computes the target and writes Parquet (stage ingest)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from merit import artifacts
from merit.config.problems import suggest_allowed
from merit.config.schema.data import Data, Target
from merit.data.source_table import read_source
from merit.errors import MeritError
from merit.expression import ExpressionError, evaluate, list_columns, shorten_text
from merit.reading import advice, cells, inference
from merit.reading.declaration import ColumnDeclaration, build_declaration, get_defaults

ROW = "/row"
"""Temporary column with each row's index in the source's table, while rows are filtered and sorted."""


@dataclass(frozen=True)
class Unread:
    """The cells of a column that can't be read as declared: the raw column, a mask, and the declaration."""

    raw: pl.Series
    cells: pl.Series
    column: ColumnDeclaration


def ingest(data: Data) -> pl.DataFrame:
    """Build the declared table and write it to `artifacts.RAW`, its row indices to `artifacts.SOURCE_ROWS`.

    The files have the same bytes on every run.

    Raises:
        MeritError: the files changed since the lock was made, can't be read, or lack a declared column; a cell can't be
            read as declared; an expression of conf/data is not valid; no row is left.
    """
    source, table = read_source(data)
    hashes, columns = row_hashes(table), {column.name: column for column in table}
    del table  # frees the memory of each column's text once it is converted
    table, unread = _declared(columns, source, data)
    table = _kept(table, data, unread)
    _check_cells(unread, table[ROW])
    repeated = repeated_rows(hashes[table[ROW]])
    table = _ordered(_targeted(table, data), data)
    if table.is_empty():
        raise MeritError("data: no row is left after data.window and data.filter; widen them in conf/data")
    rows = table.select(pl.col(ROW).alias("row"))
    table = table.select(*(name for name in data.columns if name != data.target.name), data.target.name)
    artifacts.write_table(artifacts.RAW, table, {artifacts.REPEATED: str(repeated)})
    artifacts.write_table(artifacts.SOURCE_ROWS, rows, {"raw": artifacts.sha256(artifacts.RAW)})
    return table


def row_hashes(table: pl.DataFrame) -> pl.Series:
    """Return a hash of each row that is equal for equal rows; row numbers that an export added don't count."""
    named = [name for name in table.columns if not _numbers_rows(table[name])]
    return table.select(named).hash_rows() if named else pl.Series(range(table.height), dtype=pl.UInt64)


def repeated_rows(hashes: pl.Series) -> int:
    """Return how many rows are complete duplicates of another row."""
    return len(hashes) - hashes.n_unique()


def _numbers_rows(column: pl.Series) -> bool:
    """Return whether a column with a generic name only numbers the rows, as an exported pandas index does."""
    if not re.fullmatch(r"(?i)\s*|index|row|#|unnamed: ?0|_duplicated_0|column_1", column.name):
        return False
    counted = column.cast(pl.Int64, strict=False)
    return bool((counted.diff().drop_nulls() == 1).all()) and counted.null_count() == 0


def _declared(columns: dict[str, pl.Series], source: Any, data: Data) -> tuple[pl.DataFrame, dict[str, Unread]]:
    """Return the table with the declared columns in their types and those of SQL expressions in inferred types.

    The second value has the cells of declared columns that can't be read, by column.
    """
    names, unread, defaults = list(columns), {}, get_defaults(source)
    typed = {}
    for name, column in data.columns.items():
        if name not in columns:
            raise _no_column(name, f"data.columns.{name}", names)
        typed[name], odd = _column(columns.pop(name), build_declaration(name, column.model_dump(), defaults))
        if odd is not None:
            unread[name] = odd
    asked = sorted((_names_of(data.filter) | _names_of(data.target.sql)) & set(columns))
    others = inference.infer_types(
        pl.DataFrame([columns[name] for name in asked]), is_text=hasattr(source, "dialect"), defaults=defaults
    )
    table = pl.DataFrame(list({**columns, **{column.name: column for column in others}, **typed}.values()))
    return table.with_row_index(ROW), unread


def _column(raw: pl.Series, column: ColumnDeclaration) -> tuple[pl.Series, Unread | None]:
    if wrong := cells.find_mismatch(raw.dtype, column):
        raise MeritError(f"data.columns.{column.name}: {wrong}")
    reading = cells.read_column(raw, column)
    if column.type == "array":
        reading = _whole(reading, column)
    return reading.values, None if reading.unread is None else Unread(raw, reading.unread, column)


def _names_of(sql: str | None) -> set[str]:
    """Return the columns that a SQL expression uses."""
    return set(list_columns(sql)) if sql else set()


def _kept(table: pl.DataFrame, data: Data, unread: Mapping[str, Unread]) -> pl.DataFrame:
    """Return the rows in the window that pass the filter; refuse unreadable cells in columns that these two use."""
    judging = _names_of(data.filter) | {data.time or ""}
    _check_cells({name: each for name, each in unread.items() if name in judging})
    if data.window is not None:
        day = pl.col(data.time or "").dt.date()
        table = table.filter(day.is_between(data.window.start, data.window.end))
    return table if data.filter is None else table.filter(_truth(table, data.filter, "data.filter"))


def _check_cells(unread: Mapping[str, Unread], rows: pl.Series | None = None) -> None:
    """Refuse cells that can't be read, in the given rows of the source or in all.

    Raises:
        MeritError: a column has such cells; the line shows its first ones.
    """
    for name, each in unread.items():
        unreadable = each.cells
        if rows is not None:
            unreadable = (
                pl.repeat(False, len(unreadable), dtype=pl.Boolean, eager=True).scatter(rows, True) & unreadable
            )
        if unreadable.any():
            raise MeritError(f"data.columns.{name}: {advice.describe_unread(each.raw, unreadable, each.column)}")


def _targeted(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Add the target column, Float64: 1 or 0 (binary), the index of the class (multiclass), or the number."""
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
    """Return the index of each row's class in data.target.classes."""
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


def _ordered(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Sort the rows by time and keys; without these the order of the file stays, which the file's hash fixes."""
    order = [*([data.time] if data.time else []), *data.contract.unique]
    return table.sort(order, maintain_order=True) if order else table


def _whole(reading: cells.ColumnReading, column: ColumnDeclaration) -> cells.ColumnReading:
    """Mark arrays as unreadable that are missing or contain non-finite elements."""
    values = reading.values.to_numpy().reshape(len(reading.values), -1)
    broken = pl.Series(~np.isfinite(values.astype(float)).all(axis=1))
    return cells.ColumnReading(reading.values, broken if broken.any() else None)


def _truth(table: pl.DataFrame, sql: str, key: str) -> pl.Series:
    """Evaluate a SQL condition for each row: true, false, or null for unknown."""
    made = _asked(table, sql, key)
    if made.dtype != pl.Boolean:
        raise MeritError(f"{key}: '{sql}' gives {made.dtype}; it must be true or false")
    return made


def _asked(table: pl.DataFrame, sql: str, key: str) -> pl.Series:
    """Evaluate a SQL expression for each row."""
    for name in list_columns(sql):
        if name not in table.columns:
            raise _no_column(shorten_text(name), key, [each for each in table.columns if each != ROW])
    try:
        return evaluate(sql, table)
    except ExpressionError as error:
        raise MeritError(f"{key}: {error}") from error


def _no_column(name: str, key: str, names: list[str]) -> MeritError:
    return MeritError(f"{key}: the source has no column '{name}'; {suggest_allowed(name, names)}")
