"""Lists the conditions that make slices nobody declared: a number's thresholds, a category's values, missing values."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

THRESHOLD_SHARES = np.arange(1, 8) / 8
"""The shares of a number's rows below its thresholds."""


@dataclass(frozen=True)
class Condition:
    """A condition in words, such as `temp at most 34`, and whether each row satisfies it, [rows]."""

    text: str
    mask: NDArray[np.bool_]


def select_columns(rows: pl.DataFrame, names: Iterable[str]) -> dict[str, pl.Series]:
    """Return the columns that conditions can be made of, by the names that rules show.

    A time gives its hour and its weekday, for which a rule also applies on other days; an array gives nothing.
    """
    columns: dict[str, pl.Series] = {}
    for name in names:
        column = rows[name]
        if column.dtype.is_temporal():
            columns[f"weekday of {name}"] = column.cast(pl.Datetime("us")).dt.weekday()
            columns[f"hour of {name}"] = column.cast(pl.Datetime("us")).dt.hour()
        elif column.dtype.is_numeric() or column.dtype in {pl.String, pl.Boolean}:
            columns[name] = column
    return columns


def list_conditions(columns: Mapping[str, pl.Series], min_rows: int) -> list[Condition]:
    """Return every condition that at least `min_rows` rows satisfy, and not all rows."""
    conditions = (condition for name, column in columns.items() for condition in _list_column_conditions(name, column))
    return [each for each in conditions if min_rows <= each.mask.sum() < len(each.mask)]


def _list_column_conditions(name: str, column: pl.Series) -> Iterator[Condition]:
    missing = column.is_null() | (column.is_nan() if column.dtype.is_float() else False)
    yield Condition(f"{name} missing", missing.to_numpy())
    if column.dtype.is_numeric():
        yield from _list_thresholds(name, column.cast(pl.Float64).fill_null(float("nan")).to_numpy())
        return
    values = column.cast(pl.String)
    for value in values.drop_nulls().unique().sort():
        yield Condition(f"{name} is {value}", values.eq_missing(value).to_numpy())


def _list_thresholds(name: str, numbers: NDArray[np.float64]) -> Iterator[Condition]:
    """Yield the conditions below and above each threshold; missing values satisfy none."""
    known = np.sort(numbers[np.isfinite(numbers)])
    if not len(known):
        return
    distinct = np.unique(known)
    few = len(distinct) <= len(THRESHOLD_SHARES) + 1
    for threshold in distinct if few else np.unique(np.quantile(known, THRESHOLD_SHARES, method="lower")):
        yield Condition(f"{name} at most {threshold:.6g}", numbers <= threshold)
        yield Condition(f"{name} above {threshold:.6g}", numbers > threshold)
