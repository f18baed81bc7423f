"""Convert cells to their column's declared type: text by parsing, typed cells only where nothing is lost.

Text columns keep their text unchanged. A conversion that would change values is refused: for the whole column if its
type implies it, otherwise cell by cell.
"""

from dataclasses import dataclass
from math import inf, isnan

import polars as pl

from merit.reading.declaration import MAX_EXACT_INTEGER, ColumnDeclaration
from merit.reading.nulls import get_null_values
from merit.reading.numbers import NAN_WORDS, get_max_magnitude, parse_integers, parse_numbers, to_integers
from merit.reading.time_columns import parse_times

POLARS_TYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "datetime": pl.Datetime("us"),
}
BOOLEAN_WORDS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class ColumnReading:
    """A column converted to its declared type.

    Attributes:
        values: in the declared type; null where there is no value or it can't be read.
        unread: a mask of the cells whose content can't be read, bool [rows]; None if there are none.
    """

    values: pl.Series
    unread: pl.Series | None = None


def get_polars_type(column: ColumnDeclaration) -> pl.DataType:
    """Return the Polars type of a column's declaration."""
    return pl.Array(pl.Float64, column.shape or (1,)) if column.type == "array" else POLARS_TYPES[column.type]


def find_mismatch(dtype: pl.DataType, column: ColumnDeclaration) -> str:
    """Return why a column of this type can't be read as declared, and what to declare; empty if it can."""
    if dtype == pl.Null or _is_compatible(dtype, column.type):
        return ""
    return f"{dtype} can't be read as {column.type} without changing values; {_suggest_declaration(dtype)}"


def _is_compatible(dtype: pl.DataType, type: str) -> bool:
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return type != "array"
    is_number = dtype.is_numeric() or dtype == pl.Boolean
    return {
        "string": False,
        "integer": is_number,
        "number": is_number,
        "boolean": is_number,
        "datetime": dtype in (pl.Date, pl.Datetime),
        "array": dtype in (pl.List, pl.Array),
    }[type]


def _suggest_declaration(dtype: pl.DataType) -> str:
    """Return what to declare for a Polars type."""
    if dtype.is_integer():
        return "declare {type: integer, feature: category} if they are codes, or have the source give text"
    if dtype.is_numeric():
        return "declare {type: number}"
    settings_by_type = {pl.Boolean: "{type: boolean}", pl.Date: "{type: datetime}", pl.Datetime: "{type: datetime}",
             pl.List: "{type: array, shape: [...]}", pl.Array: "{type: array, shape: [...]}"}  # fmt: skip
    suggestion = next((phrase for kind, phrase in settings_by_type.items() if dtype == kind), "")
    return f"declare {suggestion}" if suggestion else "have the source give text, numbers, truths or times"


def read_column(raw: pl.Series, column: ColumnDeclaration) -> ColumnReading:
    """Return a column converted to its declared type, given that `mismatch` allows it."""
    if raw.dtype == pl.Null:
        return ColumnReading(raw.cast(get_polars_type(column)))
    if raw.dtype in (pl.Categorical, pl.Enum):
        raw = raw.cast(pl.String)
    is_text = raw.dtype == pl.String
    raw = _remove_null_words(raw, column) if is_text else raw
    values = (_parse_text(raw, column) if is_text else _convert_typed(raw, column)).alias(raw.name)
    if null_values := get_null_values(column):
        comparable = values.cast(pl.Float64) if values.dtype == pl.Int64 else values
        is_null = comparable.is_in(list(null_values)).fill_null(False)
        raw, values = raw.set(is_null, None), values.set(is_null, None)
    # The common case: equal null counts show, at no cost, that every cell was read.
    if values.null_count() == raw.null_count() and not _has_nan(values):
        return ColumnReading(values)
    missing = raw.is_nan().fill_null(True) if raw.dtype.is_float() else raw.is_null()
    if values.dtype == pl.Float64:
        missing |= values.is_nan().fill_null(False)
        values = values.fill_nan(None)
    unread = values.is_null() & ~missing
    if is_text and unread.any():
        unread = _exclude_empty(raw, unread, column)
    return ColumnReading(values, unread if unread.any() else None)


def _has_nan(values: pl.Series) -> bool:
    return values.dtype == pl.Float64 and isnan(values.sum())


def _remove_null_words(text: pl.Series, column: ColumnDeclaration) -> pl.Series:
    """Return text without the column's null values."""
    if not column.null_values:
        return text
    is_word = text.str.strip_chars().is_in(list(column.null_values)).fill_null(False)
    return text.set(is_word, None) if is_word.any() else text


def _exclude_empty(text: pl.Series, unread: pl.Series, column: ColumnDeclaration) -> pl.Series:
    """Return the mask of unread cells without those that are empty."""
    empty = ["", *(NAN_WORDS if column.type in {"integer", "number"} else ())]
    is_empty = text.filter(unread).str.strip_chars().is_in(empty)
    return unread.scatter(unread.arg_true(), ~is_empty)


def _parse_text(text: pl.Series, column: ColumnDeclaration) -> pl.Series:
    if column.type == "string":
        return text
    if column.type == "number":
        return parse_numbers(text, column)
    if column.type == "integer":
        return parse_integers(text, column)
    if column.type == "datetime":
        return parse_times(text, column.format)
    stripped = text.str.strip_chars().str.to_lowercase()
    return stripped.replace_strict(BOOLEAN_WORDS, default=None, return_dtype=pl.Boolean)


def _convert_typed(raw: pl.Series, column: ColumnDeclaration) -> pl.Series:
    if column.type in {"integer", "number"}:
        return _convert_number(raw, column)
    return {"array": _convert_arrays, "datetime": _convert_times, "boolean": _convert_booleans}[column.type](
        raw, column
    )


def _convert_number(raw: pl.Series, column: ColumnDeclaration) -> pl.Series:
    if raw.dtype == pl.Boolean:
        return raw.cast(get_polars_type(column))
    if raw.dtype.is_integer():
        return _to_exact_integers(raw).cast(get_polars_type(column))
    values = raw.cast(pl.Float64)
    if column.type == "integer":
        return to_integers(values.fill_nan(None))
    return values if get_max_magnitude(values) < inf else values.set(values.is_infinite().fill_null(False), None)


def _to_exact_integers(raw: pl.Series) -> pl.Series:
    """Return integers as int64, null where float64 can't represent them exactly."""
    values = raw.cast(pl.Int64, strict=False)
    return (
        values
        if get_max_magnitude(values) <= MAX_EXACT_INTEGER
        else values.set(~values.is_between(-MAX_EXACT_INTEGER, MAX_EXACT_INTEGER).fill_null(True), None)
    )


def _convert_times(raw: pl.Series, _: ColumnDeclaration) -> pl.Series:
    if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is not None:
        raw = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return raw.cast(pl.Datetime("us"))


def _convert_booleans(raw: pl.Series, _: ColumnDeclaration) -> pl.Series:
    if raw.dtype == pl.Boolean:
        return raw
    return raw.cast(pl.Float64).replace_strict({1.0: True, 0.0: False}, default=None, return_dtype=pl.Boolean)


def _convert_arrays(raw: pl.Series, column: ColumnDeclaration) -> pl.Series:
    array_type = get_polars_type(column)
    if raw.dtype == array_type:
        return raw
    try:
        return raw.cast(array_type)
    except pl.exceptions.PolarsError:  # one array of another shape makes the whole cast fail
        return pl.Series(raw.name, [_convert_array(value, array_type) for value in raw.to_list()], dtype=array_type)


def _convert_array(value: object, array_type: pl.DataType) -> object:
    try:
        return pl.Series([value], dtype=array_type).to_list()[0]
    except (pl.exceptions.PolarsError, TypeError, ValueError):
        return None
