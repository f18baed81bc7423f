"""The steps of a calculation: each takes columns or constants, and says by place and type what doesn't fit."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from merit.expression import functions
from merit.expression.tokens import ExpressionError
from merit.expression.tree import Group, Like, Literal, Node
from merit.expression.tree import Value as Stated

Value = pl.Series | pl.Expr
"""What a node gives: a column, or an expression without columns."""

BEYOND = 2.0**63
"""The least number that an integer of 64 bits can't hold."""
COMPARISONS: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "=": lambda left, right: left == right,
    "<>": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "DISTINCT": lambda left, right: left.ne_missing(right),
    "NOT DISTINCT": lambda left, right: left.eq_missing(right),
}
ARITHMETIC: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "%": functions.remainder,
}


@dataclass(frozen=True)
class Operand:
    """A value that is compared: `text` is what stands in the expression, where that is a text."""

    at: int
    value: Value
    text: str | None

    @classmethod
    def of(cls, node: Node, value: Value) -> "Operand":
        """Return the operand that a node is."""
        while isinstance(node, Group):
            node = node.inner
        text = node.value if isinstance(node, Literal) and isinstance(node.value, str) else None
        return cls(node.at, value, text)


def apply(at: int, name: str, make: Callable[..., pl.Expr], *values: Value) -> Value:
    """Return what an operator or function makes of values; of constants it is a constant.

    Raises:
        ExpressionError: their types don't fit it.
    """
    columns = {str(number): value for number, value in enumerate(values) if isinstance(value, pl.Series)}
    inputs = [value if isinstance(value, pl.Expr) else pl.col(str(number)) for number, value in enumerate(values)]
    made = make(*inputs)
    try:
        found = pl.DataFrame(columns).select(value=made).to_series()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        found = None
    if found is None:  # outside of the handler: Polars' message holds values, and no traceback is to lead to it
        kinds = " and ".join(dict.fromkeys(str(type_of(value)) for value in values))
        raise ExpressionError(f"{name} doesn't fit {kinds}; CAST what is of another type", at)
    return found if columns else made


def type_of(value: Value) -> pl.DataType:
    """Return the type of a value."""
    return value.dtype if isinstance(value, pl.Series) else pl.select(value=value).to_series().dtype


def constant(value: Stated) -> pl.Expr:
    """Return a value that stands in the text: whole numbers have 64 bits, those with a point are exact."""
    return pl.lit(value, dtype=pl.Int64) if type(value) is int else pl.lit(value)


def widened(column: pl.Series) -> pl.Series:
    """Return a column in the type that is calculated with: text, 64 bits, times in UTC without a zone."""
    dtype = column.dtype
    if dtype == pl.UInt64:
        return column if (column.max() or 0) >= 2**63 else column.cast(pl.Int64)  # type: ignore[operator]
    if dtype.is_integer() and dtype not in (pl.Int128, pl.UInt128):
        return column.cast(pl.Int64)
    if dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return column


def arithmetic(at: int, operator: str, left: Value, right: Value) -> Value:
    """Return a sum, difference, product, quotient or remainder.

    Raises:
        ExpressionError: the types don't fit, or a whole number is too large for 64 bits.
    """
    if operator in {"*", "/", "%"}:  # of exact numbers Polars would round these to the places of one side
        left, right = (_inexact(at, value) for value in (left, right))
    made = apply(at, f"'{operator}'", ARITHMETIC[operator], left, right)
    return _checked(at, operator, made, left, right) if type_of(made).is_integer() else made


def _inexact(at: int, value: Value) -> Value:
    is_exact = type_of(value) == pl.Decimal
    return apply(at, "CAST", lambda number: number.cast(pl.Float64), value) if is_exact else value


def _checked(at: int, operator: str, made: Value, left: Value, right: Value) -> Value:
    """Refuse whole numbers that went around, as they do beyond 64 bits."""

    def is_beyond(one: pl.Expr, other: pl.Expr) -> pl.Expr:
        rough = ARITHMETIC[operator](one.cast(pl.Float64), other.cast(pl.Float64))
        return (rough.abs() >= BEYOND).any()

    if operator != "%" and first(apply(at, f"'{operator}'", is_beyond, left, right)):
        raise ExpressionError(f"'{operator}' gives whole numbers beyond 64 bits; CAST one side AS DOUBLE", at)
    return made


def compared(at: int, operator: str, left: Operand, right: Operand) -> Value:
    """Return whether a comparison holds; a text beside dates or times is taken as one.

    Raises:
        ExpressionError: the types can't be compared, or the text is no date or time.
    """
    one, other = _as_time(left, right.value), _as_time(right, left.value)
    return apply(at, f"'{operator}'", COMPARISONS[operator], one, other)


def _as_time(operand: Operand, other: Value) -> Value:
    """Return an operand; a text that is compared with a date or time as what it says."""
    if operand.text is None or type_of(other) not in (pl.Date, pl.Datetime):
        return operand.value
    try:
        found = datetime.fromisoformat(operand.text)
    except ValueError as error:
        raise ExpressionError("the text is no date or time; write it like '2024-01-31'", operand.at) from error
    if found.tzinfo is not None:
        raise ExpressionError("the time has a zone; write it in UTC, without one", operand.at)
    return pl.lit(found.date() if re.fullmatch(r"[\d-]+", operand.text) else found)


def argument(at: int, name: str, kind: str, value: Value) -> Value:
    """Return an argument of a function if it is of the kind that it takes.

    Raises:
        ExpressionError: it is of another.
    """
    dtype = type_of(value)
    if dtype == pl.Null and kind in functions.NO_VALUE:
        return apply(at, name, lambda missing: missing.cast(functions.NO_VALUE[kind]), value)
    if not functions.is_of(kind, dtype):
        raise ExpressionError(f"{name}: found {dtype}, where {kind} should stand", at)
    return value


def whole(at: int, value: Value) -> Value:
    """Return whole numbers in 64 bits: lengths and parts of a time come in fewer, which go around."""
    dtype = type_of(value)
    is_short = dtype.is_integer() and dtype not in (pl.Int64, pl.UInt64, pl.Int128, pl.UInt128)
    return apply(at, "CAST", lambda number: number.cast(pl.Int64), value) if is_short else value


def pattern_of(node: Like) -> str:
    """Return the regular expression of a pattern: % is any text, _ any character, the one after ESCAPE itself.

    Raises:
        ExpressionError: the pattern ends with what escapes.
    """
    found, characters = [], iter(node.pattern)
    for character in characters:
        if character == node.escape:
            if (escaped := next(characters, None)) is None:
                raise ExpressionError("the pattern ends with its ESCAPE character", node.at)
            found.append(re.escape(escaped))
        else:
            found.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
        if found[-2:] == [".*", ".*"]:
            found.pop()
    return f"(?s{'i' if node.is_any_case else ''})^{''.join(found)}$"


def first(value: Value) -> object:
    """Return the only value of a total."""
    found = value if isinstance(value, pl.Series) else pl.select(value=value).to_series()
    return found[0]
