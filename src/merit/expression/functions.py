"""The functions of expressions in Polars, and the kinds of their arguments."""

from collections.abc import Callable
from typing import Any

import polars as pl

from merit.expression.grammar import TIME_PARTS

ExpressionBuilder = Callable[..., pl.Expr]

_ONE = pl.lit(1, dtype=pl.Int64)


def _slice_text(text: pl.Expr, start: pl.Expr, length: pl.Expr | None = None) -> pl.Expr:
    """Return characters from a position counted from 1; positions before the first one count towards the length."""
    offset = pl.max_horizontal(start, _ONE) - 1
    if length is None:
        return text.str.slice(offset)
    return text.str.slice(offset, pl.max_horizontal(start + length - 1 - offset, _ONE - 1))


def _with_floats(build: ExpressionBuilder) -> ExpressionBuilder:
    """Return a function that casts its arguments to float64."""
    return lambda *numbers: build(*(number.cast(pl.Float64) for number in numbers))


def _build_nullif(value: pl.Expr, other: pl.Expr) -> pl.Expr:
    return pl.when(value == other).then(None).otherwise(value)


def build_remainder(value: pl.Expr, divisor: pl.Expr) -> pl.Expr:
    """Return the remainder of a division towards zero: it has the sign of the value, as in SQL."""
    magnitude = value.abs() % divisor.abs()
    return pl.when(value < 0).then(-magnitude).otherwise(magnitude)


def _find_position(text: pl.Expr, part: pl.Expr) -> pl.Expr:
    """Return the position of a part in a text, counted from 1; 0 if it isn't in it. Polars itself counts bytes."""
    start = text.str.find(part, literal=True)
    before = text.cast(pl.Binary).bin.slice(0, start).cast(pl.String).str.len_chars().cast(pl.Int64)
    position = pl.when(start.is_null()).then(0).otherwise(before + 1)
    return pl.when(text.is_not_null() & part.is_not_null()).then(position)


def _make_trim(name: str) -> ExpressionBuilder:
    return lambda text, characters=None: getattr(text.str, name)(characters)


NUMBER, TEXT, TIME, ANY = "a number", "text", "a date or time", "a value"

_TIME_PART_BUILDERS: dict[str, ExpressionBuilder] = {
    "YEAR": lambda time: time.dt.year(),
    "QUARTER": lambda time: time.dt.quarter(),
    "MONTH": lambda time: time.dt.month(),
    "WEEK": lambda time: time.dt.week(),
    "DAY": lambda time: time.dt.day(),
    "DOW": lambda time: time.dt.weekday() % 7,
    "ISODOW": lambda time: time.dt.weekday(),
    "DOY": lambda time: time.dt.ordinal_day(),
    "HOUR": lambda time: time.dt.hour(),
    "MINUTE": lambda time: time.dt.minute(),
    "SECOND": lambda time: time.dt.second(),
}

FUNCTION_BUILDERS: dict[str, tuple[tuple[str, ...], ExpressionBuilder]] = {
    "ABS": ((NUMBER,), lambda number: number.abs()),
    "CEIL": ((NUMBER,), lambda number: number.ceil()),
    "CEILING": ((NUMBER,), lambda number: number.ceil()),
    "CHAR_LENGTH": ((TEXT,), lambda text: text.str.len_chars()),
    "COALESCE": ((ANY,), pl.coalesce),
    "CONCAT": ((ANY,), lambda *values: pl.concat_str(*values, ignore_nulls=True)),
    "ENDS_WITH": ((TEXT, TEXT), lambda text, end: text.str.ends_with(end)),
    "EXP": ((NUMBER,), _with_floats(lambda number: number.exp())),
    "FLOOR": ((NUMBER,), lambda number: number.floor()),
    "GREATEST": ((ANY,), pl.max_horizontal),
    "IFNULL": ((ANY, ANY), pl.coalesce),
    "LEAST": ((ANY,), pl.min_horizontal),
    "LEFT": ((TEXT, NUMBER), lambda text, count: text.str.head(count)),
    "LENGTH": ((TEXT,), lambda text: text.str.len_chars()),
    "LN": ((NUMBER,), _with_floats(lambda number: number.log())),
    "LOG10": ((NUMBER,), _with_floats(lambda number: number.log10())),
    "LOG2": ((NUMBER,), _with_floats(lambda number: number.log(2))),
    "LOWER": ((TEXT,), lambda text: text.str.to_lowercase()),
    "LTRIM": ((TEXT,), _make_trim("strip_chars_start")),
    "MOD": ((NUMBER, NUMBER), build_remainder),
    "NULLIF": ((ANY, ANY), _build_nullif),
    "POW": ((NUMBER, NUMBER), _with_floats(lambda number, power: number.pow(power))),
    "POWER": ((NUMBER, NUMBER), _with_floats(lambda number, power: number.pow(power))),
    "REPLACE": ((TEXT,), lambda text, old, new: text.str.replace_all(old, new, literal=True)),
    "RIGHT": ((TEXT, NUMBER), lambda text, count: text.str.tail(count)),
    "ROUND": ((NUMBER,), lambda number, places=0: number.round(places)),
    "RTRIM": ((TEXT,), _make_trim("strip_chars_end")),
    "SIGN": ((NUMBER,), lambda number: number.sign()),
    "SQRT": ((NUMBER,), _with_floats(lambda number: number.sqrt())),
    "STARTS_WITH": ((TEXT, TEXT), lambda text, start: text.str.starts_with(start)),
    "STRPOS": ((TEXT, TEXT), _find_position),
    "SUBSTR": ((TEXT, NUMBER, NUMBER), _slice_text),
    "SUBSTRING": ((TEXT, NUMBER, NUMBER), _slice_text),
    "TRIM": ((TEXT,), _make_trim("strip_chars")),
    "UPPER": ((TEXT,), lambda text: text.str.to_uppercase()),
    "EPOCH": ((TIME,), lambda time: time.dt.epoch("us") / 1_000_000),
    **{part: ((TIME,), _TIME_PART_BUILDERS[part]) for part in TIME_PARTS if part != "EPOCH"},
}
"""Each function's kinds of arguments (the last one repeats for further arguments), and its implementation."""

NULL_TYPES: dict[str, Any] = {NUMBER: pl.Int64(), TEXT: pl.String(), TIME: pl.Datetime("us")}
"""The type of missing values about which nothing else is known, by kind of argument."""


def accepts_type(kind: str, dtype: pl.DataType) -> bool:
    """Return whether values of a type fit a kind of argument."""
    return {
        NUMBER: dtype.is_numeric(),
        TEXT: dtype == pl.String,
        TIME: dtype.is_temporal() and dtype != pl.Time,
        ANY: True,
    }[kind]
