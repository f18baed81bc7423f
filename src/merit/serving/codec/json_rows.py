"""Encodes rows that Python holds as the JSON of a request, so that they are read, refused and scored as the endpoint's.

Imports neither Polars nor pandas: a table is anything with columns by name whose values `to_list` gives.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

import msgspec
import numpy as np

from merit.serving.app.row_values import BadRows


class DataFrame(Protocol):
    """A DataFrame of Polars or pandas."""

    @property
    def columns(self) -> Any:
        """The names of the columns."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return a column by its name."""


def encode_table(table: DataFrame, column_names: Sequence[str], max_rows: int) -> Iterator[bytes]:
    """Yield JSON bodies of at most `max_rows` rows each; columns that the model doesn't take are left out.

    Raises:
        BadRows: a value has no JSON form, or the table has a column twice.
    """
    names = [name for name in column_names if name in table.columns]
    for start in range(0, max(1, len(table)), max_rows):
        rows = slice(start, start + max_rows)
        chunk = table.iloc[rows] if hasattr(table, "iloc") else table[rows]
        columns = [_list_values(chunk, name) for name in names]
        values = zip(*columns, strict=True) if columns else [()] * len(chunk)
        yield msgspec.json.encode([dict(zip(names, each, strict=True)) for each in values])


def encode_rows(rows: Sequence[Mapping[str, Any]], max_rows: int) -> Iterator[bytes]:
    """Yield JSON bodies of at most `max_rows` rows each.

    Raises:
        BadRows: a value has no JSON form.
    """
    for start in range(0, max(1, len(rows)), max_rows):
        chunk = rows[start : start + max_rows]
        yield msgspec.json.encode([{name: to_json_value(row[name], name) for name in row} for row in chunk])


def to_json_value(value: Any, name: str) -> Any:
    """Convert a value to its JSON type; NaN and the missing values of pandas become null.

    Args:
        value: the value.
        name: its column, for error messages.

    Raises:
        BadRows: a number is infinite, or the value is of a type that no column takes.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [to_json_value(item, name) for item in value]
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and math.isinf(value):
        raise BadRows(f"column '{name}': a number is infinite; send finite numbers")
    if isinstance(value, str | bool | int):
        return value
    if _is_missing(value):
        return None
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, float):
        raise BadRows(f"column '{name}': found a value of the type {type(value).__name__}; convert it first")
    return value


def _list_values(table: DataFrame, name: str) -> list[Any]:
    column = table[name]
    if not hasattr(column, "to_list"):  # pandas returns a table for a name that several columns have
        raise BadRows(f"column '{name}': the table has it more than once; keep one")
    return [to_json_value(value, name) for value in column.to_list()]


def _is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    pandas = sys.modules.get("pandas")  # without it no value can be one of pandas's
    return pandas is not None and pandas.isna(value) is True
