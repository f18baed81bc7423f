"""Rows as the model sees them: each feature as a category or a number, whatever it is in the file."""

import polars as pl

from merit.config.schema.column import Column
from merit.config.schema.data import Data

MISSING = "(missing)"


def seen(rows: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Return a column of strings for each category and one of floats for each number, without infinite values.

    A time is its hour and its weekday: its date moves with every month that is added. An array is the mean and the
    deviation of its elements.
    """
    made = [
        one
        for name, column in data.columns.items()
        if column.feature != "none" and name in rows.columns
        for one in _seen(rows[name], column)
    ]
    return pl.DataFrame(made)


def _seen(values: pl.Series, column: Column) -> list[pl.Series]:
    name = values.name
    if column.feature == "time":
        hour, weekday = values.dt.hour(), values.dt.weekday()
        return [_category(hour.alias(f"{name}, hour")), _category(weekday.alias(f"{name}, weekday"))]
    if column.feature == "array":
        elements = values.to_numpy().reshape(len(values), -1).astype("float64")
        mean, deviation = (
            (elements.mean(axis=1), elements.std(axis=1)) if len(values) else ([], [])
        )  # numpy warns of the mean of nothing
        return [_number(pl.Series(f"{name}, mean", mean)), _number(pl.Series(f"{name}, deviation", deviation))]
    if column.feature == "category" or not values.dtype.is_numeric():
        return [_category(values)]
    return [_number(values)]


def _category(values: pl.Series) -> pl.Series:
    return values.cast(pl.String).fill_null(MISSING)


def _number(values: pl.Series) -> pl.Series:
    known = values.cast(pl.Float64)
    return known.set(~known.is_finite(), None)


def answer(rows: pl.DataFrame, data: Data) -> pl.Series:
    """Return the target: a category, or the number of a regression."""
    values = rows[data.target.name]
    return _number(values) if data.target.task == "regression" else _category(values)
