"""Convert cells to their column's declared type: text by parsing, typed cells only where nothing is lost.

Text columns keep their text unchanged. A conversion that would change values is refused: for the whole column if its
type implies it, otherwise cell by cell.
"""

from dataclasses import dataclass
from math import inf, isnan

import polars as pl

from merit.reading.clocks import clocks
from merit.reading.declaration import EXACT, Declaration
from merit.reading.nulls import null_cells
from merit.reading.numbers import NO_NUMBER, extent, integers, numbers, whole

TYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "datetime": pl.Datetime("us"),
}
TRUTHS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Reading:
    """A column converted to its declared type.

    Attributes:
        values: in the declared type; null where there is no value or it can't be read.
        unread: a mask of the cells whose content can't be read, bool [rows]; None if there are none.
    """

    values: pl.Series
    unread: pl.Series | None = None


def type_of(column: Declaration) -> pl.DataType:
    """Return the Polars type of a column's declaration."""
    return pl.Array(pl.Float64, column.shape or (1,)) if column.type == "array" else TYPES[column.type]


def mismatch(dtype: pl.DataType, column: Declaration) -> str:
    """Return why a column of this type can't be read as declared, and what to declare; empty if it can."""
    if dtype == pl.Null or _fits(dtype, column.type):
        return ""
    return f"{dtype} can't be read as {column.type} without changing values; {_better(dtype)}"


def _fits(dtype: pl.DataType, type: str) -> bool:
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


def _better(dtype: pl.DataType) -> str:
    """Return what to declare for a Polars type."""
    if dtype.is_integer():
        return "declare {type: integer, feature: category} if they are codes, or have the source give text"
    if dtype.is_numeric():
        return "declare {type: number}"
    known = {pl.Boolean: "{type: boolean}", pl.Date: "{type: datetime}", pl.Datetime: "{type: datetime}",
             pl.List: "{type: array, shape: [...]}", pl.Array: "{type: array, shape: [...]}"}  # fmt: skip
    better = next((phrase for kind, phrase in known.items() if dtype == kind), "")
    return f"declare {better}" if better else "have the source give text, numbers, truths or times"


def read(raw: pl.Series, column: Declaration) -> Reading:
    """Return a column converted to its declared type, given that `mismatch` allows it."""
    if raw.dtype == pl.Null:
        return Reading(raw.cast(type_of(column)))
    if raw.dtype in (pl.Categorical, pl.Enum):
        raw = raw.cast(pl.String)
    is_text = raw.dtype == pl.String
    raw = _without_words(raw, column) if is_text else raw
    values = (_of_text(raw, column) if is_text else _of_typed(raw, column)).alias(raw.name)
    if stands := null_cells(column):
        like = values.cast(pl.Float64) if values.dtype == pl.Int64 else values
        is_nothing = like.is_in(list(stands)).fill_null(False)
        raw, values = raw.set(is_nothing, None), values.set(is_nothing, None)
    # The common case: equal null counts show, at no cost, that every cell was read.
    if values.null_count() == raw.null_count() and not _holds_nan(values):
        return Reading(values)
    missing = raw.is_nan().fill_null(True) if raw.dtype.is_float() else raw.is_null()
    if values.dtype == pl.Float64:
        missing |= values.is_nan().fill_null(False)
        values = values.fill_nan(None)
    unread = values.is_null() & ~missing
    if is_text and unread.any():
        unread = _without_empty(raw, unread, column)
    return Reading(values, unread if unread.any() else None)


def _holds_nan(values: pl.Series) -> bool:
    return values.dtype == pl.Float64 and isnan(values.sum())


def _without_words(text: pl.Series, column: Declaration) -> pl.Series:
    """Return text without the column's null values."""
    if not column.null_values:
        return text
    is_word = text.str.strip_chars().is_in(list(column.null_values)).fill_null(False)
    return text.set(is_word, None) if is_word.any() else text


def _without_empty(text: pl.Series, unread: pl.Series, column: Declaration) -> pl.Series:
    """Return the mask of unread cells without those that are empty."""
    empty = ["", *(NO_NUMBER if column.type in {"integer", "number"} else ())]
    is_empty = text.filter(unread).str.strip_chars().is_in(empty)
    return unread.scatter(unread.arg_true(), ~is_empty)


def _of_text(text: pl.Series, column: Declaration) -> pl.Series:
    if column.type == "string":
        return text
    if column.type == "number":
        return numbers(text, column)
    if column.type == "integer":
        return integers(text, column)
    if column.type == "datetime":
        return clocks(text, column.format)
    bare = text.str.strip_chars().str.to_lowercase()
    return bare.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)


def _of_typed(raw: pl.Series, column: Declaration) -> pl.Series:
    if column.type in {"integer", "number"}:
        return _number(raw, column)
    return {"array": _arrays, "datetime": _times, "boolean": _truths}[column.type](raw, column)


def _number(raw: pl.Series, column: Declaration) -> pl.Series:
    if raw.dtype == pl.Boolean:
        return raw.cast(type_of(column))
    if raw.dtype.is_integer():
        return _exact(raw).cast(type_of(column))
    values = raw.cast(pl.Float64)
    if column.type == "integer":
        return whole(values.fill_nan(None))
    return values if extent(values) < inf else values.set(values.is_infinite().fill_null(False), None)


def _exact(raw: pl.Series) -> pl.Series:
    """Return integers as int64, null where float64 can't represent them exactly."""
    values = raw.cast(pl.Int64, strict=False)
    return values if extent(values) <= EXACT else values.set(~values.is_between(-EXACT, EXACT).fill_null(True), None)


def _times(raw: pl.Series, _: Declaration) -> pl.Series:
    if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is not None:
        raw = raw.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return raw.cast(pl.Datetime("us"))


def _truths(raw: pl.Series, _: Declaration) -> pl.Series:
    if raw.dtype == pl.Boolean:
        return raw
    return raw.cast(pl.Float64).replace_strict({1.0: True, 0.0: False}, default=None, return_dtype=pl.Boolean)


def _arrays(raw: pl.Series, column: Declaration) -> pl.Series:
    kind = type_of(column)
    if raw.dtype == kind:
        return raw
    try:
        return raw.cast(kind)
    except pl.exceptions.PolarsError:  # one array of another shape makes the whole cast fail
        return pl.Series(raw.name, [_array(value, kind) for value in raw.to_list()], dtype=kind)


def _array(value: object, kind: pl.DataType) -> object:
    try:
        return pl.Series([value], dtype=kind).to_list()[0]
    except (pl.exceptions.PolarsError, TypeError, ValueError):
        return None
