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
from merit.reading import cell_advice, inference
from merit.reading import column_cells as cells
from merit.reading.declaration import ColumnDeclaration, build_declaration, get_defaults

ROW_COLUMN = "/row"
"""Temporary column with each row's index in the source's table, while rows are filtered and sorted."""


@dataclass(frozen=True)
class UnreadCells:
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
    hashes_by_row, columns = hash_rows(table), {column.name: column for column in table}
    del table  # frees the memory of each column's text once it is converted
    table, unread = _read_columns(columns, source, data)
    table = _select_rows(table, data, unread)
    _refuse_unread(unread, table[ROW_COLUMN])
    duplicate_count = count_duplicates(hashes_by_row[table[ROW_COLUMN]])
    table = _sort_rows(_add_target(table, data), data)
    if table.is_empty():
        raise MeritError("data: no row is left after data.window and data.filter; widen them in conf/data")
    rows = table.select(pl.col(ROW_COLUMN).alias("row"))
    table = table.select(*(name for name in data.columns if name != data.target.name), data.target.name)
    artifacts.write_table(artifacts.RAW, table, {artifacts.DUPLICATES_KEY: str(duplicate_count)})
    artifacts.write_table(artifacts.SOURCE_ROWS, rows, {"raw": artifacts.hash_file(artifacts.RAW)})
    return table


def hash_rows(table: pl.DataFrame) -> pl.Series:
    """Return a hash of each row that is equal for equal rows; row numbers that an export added don't count."""
    hashed_columns = [name for name in table.columns if not _is_row_number(table[name])]
    return (
        table.select(hashed_columns).hash_rows() if hashed_columns else pl.Series(range(table.height), dtype=pl.UInt64)
    )


def count_duplicates(hashes: pl.Series) -> int:
    """Return how many rows are complete duplicates of another row."""
    return len(hashes) - hashes.n_unique()


def _is_row_number(column: pl.Series) -> bool:
    """Return whether a column with a generic name only numbers the rows, as an exported pandas index does."""
    if not re.fullmatch(r"(?i)\s*|index|row|#|unnamed: ?0|_duplicated_0|column_1", column.name):
        return False
    numbers = column.cast(pl.Int64, strict=False)
    return bool((numbers.diff().drop_nulls() == 1).all()) and numbers.null_count() == 0


def _read_columns(
    columns: dict[str, pl.Series], source: Any, data: Data
) -> tuple[pl.DataFrame, dict[str, UnreadCells]]:
    """Return the table with the declared columns in their types and those of SQL expressions in inferred types.

    The second value has the cells of declared columns that can't be read, by column.
    """
    names, unread, defaults = list(columns), {}, get_defaults(source)
    declared_columns = {}
    for name, column in data.columns.items():
        if name not in columns:
            raise _create_column_error(name, f"data.columns.{name}", names)
        declared_columns[name], unread_cells = _read_column(
            columns.pop(name), build_declaration(name, column.model_dump(), defaults)
        )
        if unread_cells is not None:
            unread[name] = unread_cells
    used_columns = sorted((_list_used_columns(data.filter) | _list_used_columns(data.target.sql)) & set(columns))
    inferred_columns = inference.infer_types(
        pl.DataFrame([columns[name] for name in used_columns]), is_text=hasattr(source, "dialect"), defaults=defaults
    )
    table = pl.DataFrame(
        list({**columns, **{column.name: column for column in inferred_columns}, **declared_columns}.values())
    )
    return table.with_row_index(ROW_COLUMN), unread


def _read_column(raw: pl.Series, column: ColumnDeclaration) -> tuple[pl.Series, UnreadCells | None]:
    if mismatch := cells.find_mismatch(raw.dtype, column):
        raise MeritError(f"data.columns.{column.name}: {mismatch}")
    reading = cells.read_column(raw, column)
    if column.type == "array":
        reading = _mark_incomplete_arrays(reading, column)
    return reading.values, None if reading.unread is None else UnreadCells(raw, reading.unread, column)


def _list_used_columns(sql: str | None) -> set[str]:
    """Return the columns that a SQL expression uses."""
    return set(list_columns(sql)) if sql else set()


def _select_rows(table: pl.DataFrame, data: Data, unread: Mapping[str, UnreadCells]) -> pl.DataFrame:
    """Return the rows in the window that pass the filter; refuse unreadable cells in columns that these two use."""
    used_columns = _list_used_columns(data.filter) | {data.time or ""}
    _refuse_unread({name: cells_of_column for name, cells_of_column in unread.items() if name in used_columns})
    if data.window is not None:
        day = pl.col(data.time or "").dt.date()
        table = table.filter(day.is_between(data.window.start, data.window.end))
    return table if data.filter is None else table.filter(_evaluate_condition(table, data.filter, "data.filter"))


def _refuse_unread(unread: Mapping[str, UnreadCells], rows: pl.Series | None = None) -> None:
    """Refuse cells that can't be read, in the given rows of the source or in all.

    Raises:
        MeritError: a column has such cells; the line shows its first ones.
    """
    for name, unread_cells in unread.items():
        unreadable = unread_cells.cells
        if rows is not None:
            unreadable = (
                pl.repeat(False, len(unreadable), dtype=pl.Boolean, eager=True).scatter(rows, True) & unreadable
            )
        if unreadable.any():
            raise MeritError(
                f"data.columns.{name}: {cell_advice.describe_unread(unread_cells.raw, unreadable, unread_cells.column)}"
            )


def _add_target(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Add the target column, Float64: 1 or 0 (binary), the index of the class (multiclass), or the number."""
    target = data.target
    if target.task == "binary":
        values = _evaluate_condition(table, target.sql, "data.target.sql").cast(pl.Float64)
    elif target.task == "regression":
        values = _compute_number(table, target)
    else:
        values = _compute_class_index(table, target)
    if values.null_count():
        raise MeritError(
            f"data.target.sql: '{target.sql}' is unknown for {values.null_count()} rows; "
            "drop them by data.filter (IS NOT NULL)"
        )
    return table.with_columns(values.alias(target.name))


def _compute_number(table: pl.DataFrame, target: Target) -> pl.Series:
    values = _evaluate_sql(table, target.sql, "data.target.sql")
    if not values.dtype.is_numeric():
        raise MeritError(f"data.target.sql: '{target.sql}' gives {values.dtype}; a regression needs a number")
    values = values.cast(pl.Float64).fill_nan(None)
    if infinite_count := values.is_infinite().sum():
        raise MeritError(
            f"data.target.sql: '{target.sql}' is infinite for {infinite_count} rows; drop them by data.filter"
        )
    return values


def _compute_class_index(table: pl.DataFrame, target: Target) -> pl.Series:
    """Return the index of each row's class in data.target.classes."""
    assert target.classes is not None
    values = _evaluate_sql(table, target.sql, "data.target.sql")
    dtype: pl.DataType = pl.String() if isinstance(target.classes[0], str) else pl.Int64()
    try:
        labels = values.cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise MeritError(
            f"data.target.sql: '{target.sql}' gives {values.dtype}, but the classes are {dtype}"
        ) from error
    classes = pl.Series(target.classes, dtype=dtype)
    unknown = labels.filter(~labels.is_in(classes.implode()) & labels.is_not_null()).unique().sort()
    if len(unknown):
        raise MeritError(
            f"data.target.sql: '{target.sql}' gives {', '.join(map(str, unknown.head(5)))}, which data.target.classes "
            f"doesn't name; allowed: {', '.join(map(str, target.classes))}; name them, or drop such rows by data.filter"
        )
    return labels.replace_strict(classes, list(range(len(classes))), default=None, return_dtype=pl.Float64)


def _sort_rows(table: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Sort the rows by time and keys; without these the order of the file stays, which the file's hash fixes."""
    order = [*([data.time] if data.time else []), *data.contract.unique]
    return table.sort(order, maintain_order=True) if order else table


def _mark_incomplete_arrays(reading: cells.ColumnReading, column: ColumnDeclaration) -> cells.ColumnReading:
    """Mark arrays as unreadable that are missing or contain non-finite elements."""
    values = reading.values.to_numpy().reshape(len(reading.values), -1)
    is_broken = pl.Series(~np.isfinite(values.astype(float)).all(axis=1))
    return cells.ColumnReading(reading.values, is_broken if is_broken.any() else None)


def _evaluate_condition(table: pl.DataFrame, sql: str, key: str) -> pl.Series:
    """Evaluate a SQL condition for each row: true, false, or null for unknown."""
    result = _evaluate_sql(table, sql, key)
    if result.dtype != pl.Boolean:
        raise MeritError(f"{key}: '{sql}' gives {result.dtype}; it must be true or false")
    return result


def _evaluate_sql(table: pl.DataFrame, sql: str, key: str) -> pl.Series:
    """Evaluate a SQL expression for each row."""
    for name in list_columns(sql):
        if name not in table.columns:
            raise _create_column_error(
                shorten_text(name), key, [column for column in table.columns if column != ROW_COLUMN]
            )
    try:
        return evaluate(sql, table)
    except ExpressionError as error:
        raise MeritError(f"{key}: {error}") from error


def _create_column_error(name: str, key: str, names: list[str]) -> MeritError:
    return MeritError(f"{key}: the source has no column '{name}'; {suggest_allowed(name, names)}")
