"""Rows as the model sees them: every feature as a category or a number, whatever its type in the file."""

import polars as pl
from polars import selectors

from merit.config.schema.column import Column
from merit.config.schema.data import Data

MISSING_CATEGORY = "(missing)"


def build_model_view(rows: pl.DataFrame, data: Data) -> pl.DataFrame:
    """Return the features as strings (categories) and floats (numbers); infinite values become null.

    A time gives its hour and its weekday, since its date drifts with every month that is added. An array gives the
    mean and the standard deviation of its elements.
    """
    schema = rows.schema
    features = {name: each for name, each in data.columns.items() if each.feature != "none" and name in schema}
    arrays = {name: _summarize_arrays(rows[name]) for name, column in features.items() if column.feature == "array"}
    expressions = [
        expression
        for name, column in features.items()
        if name not in arrays
        for expression in _build_expressions(schema, name, column)
    ]
    view = rows.select(expressions)  # one query: a column on its own takes as long as a hundred together
    if not arrays:
        return view
    names = [each for name in features for each in _name_outputs(name, features[name])]
    return pl.DataFrame([*view.get_columns(), *(each for summaries in arrays.values() for each in summaries)]).select(
        names
    )


def _name_outputs(name: str, column: Column) -> list[str]:
    """Return the names of the columns that a feature column turns into."""
    parts = {"time": ("hour", "weekday"), "array": ("mean", "deviation")}.get(column.feature)
    return [name] if parts is None else [f"{name}, {part}" for part in parts]


def _build_expressions(schema: pl.Schema, name: str, column: Column) -> list[pl.Expr]:
    """Return the expressions for a feature column that is no array."""
    values = selectors.by_name(name).as_expr()
    names = _name_outputs(name, column)
    if column.feature == "time":
        return [
            _as_category(part).alias(each)
            for part, each in zip((values.dt.hour(), values.dt.weekday()), names, strict=True)
        ]
    if column.feature == "category" or not schema[name].is_numeric():
        return [_as_category(values)]
    return [_as_number(values)]


def _summarize_arrays(values: pl.Series) -> list[pl.Series]:
    """Return the mean and the standard deviation of each array's elements."""
    elements = values.to_numpy().reshape(len(values), -1).astype("float64")
    mean, deviation = (
        (elements.mean(axis=1), elements.std(axis=1)) if len(values) else ([], [])
    )  # numpy warns about the mean of an empty array
    summaries = pl.DataFrame({f"{values.name}, mean": mean, f"{values.name}, deviation": deviation})
    return summaries.select(_as_number(selectors.all().as_expr())).get_columns()


def _as_category(values: pl.Expr) -> pl.Expr:
    return values.cast(pl.String).fill_null(MISSING_CATEGORY)


def _as_number(values: pl.Expr) -> pl.Expr:
    number = values.cast(pl.Float64)
    return pl.when(number.is_finite()).then(number)


def build_target_view(rows: pl.DataFrame, data: Data) -> pl.Series:
    """Return the target: a number for a regression, else a category."""
    values = selectors.by_name(data.target.name).as_expr()
    return rows.select(_as_number(values) if data.target.task == "regression" else _as_category(values)).to_series()
