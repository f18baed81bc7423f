"""Operations on columns and constants; errors name positions and types."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from merit.expression import functions
from merit.expression.tokens import ExpressionError
from merit.expression.tree import Group, Like, Literal, Node
from merit.expression.tree import Value as TypedValue

Value = pl.Series | pl.Expr
"""The value of a node: a column, or a constant Polars expression."""

INT64_LIMIT = 2.0**63
"""The least number that doesn't fit a 64-bit integer."""
COMPARISON_BUILDERS: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "=": lambda left, right: left == right,
    "<>": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "DISTINCT": lambda left, right: left.ne_missing(right),
    "NOT DISTINCT": lambda left, right: left.eq_missing(right),
}
ARITHMETIC_BUILDERS: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "%": functions.build_remainder,
}


@dataclass(frozen=True)
class Operand:
    """An operand of a comparison; `text` is its value if it is a text literal."""

    at: int
    value: Value
    text: str | None

    @classmethod
    def from_node(cls, node: Node, value: Value) -> "Operand":
        """Return the operand of a node."""
        while isinstance(node, Group):
            node = node.inner
        text = node.value if isinstance(node, Literal) and isinstance(node.value, str) else None
        return cls(node.at, value, text)


def apply_operator(at: int, name: str, build: Callable[..., pl.Expr], *values: Value) -> Value:
    """Apply an operator or function to values; the result of constants is a constant.

    Raises:
        ExpressionError: the types don't fit.
    """
    columns = {str(number): value for number, value in enumerate(values) if isinstance(value, pl.Series)}
    inputs = [value if isinstance(value, pl.Expr) else pl.col(str(number)) for number, value in enumerate(values)]
    expression = build(*inputs)
    try:
        result = pl.DataFrame(columns).select(value=expression).to_series()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        result = None
    if result is None:  # raised outside the handler: Polars' message contains values, so it must not be chained
        kinds = " and ".join(dict.fromkeys(str(get_type(value)) for value in values))
        raise ExpressionError(f"{name} doesn't fit {kinds}; CAST what is of another type", at)
    return result if columns else expression


def get_type(value: Value) -> pl.DataType:
    """Return the type of a value."""
    return value.dtype if isinstance(value, pl.Series) else pl.select(value=value).to_series().dtype


def make_constant(value: TypedValue) -> pl.Expr:
    """Return a literal as a Polars expression: integers have 64 bits, decimals are exact."""
    return pl.lit(value, dtype=pl.Int64) if type(value) is int else pl.lit(value)


def widen_column(column: pl.Series) -> pl.Series:
    """Return a column in the type for calculations: text, 64-bit integers, times in UTC without a zone."""
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


def evaluate_arithmetic(at: int, operator: str, left: Value, right: Value) -> Value:
    """Return a sum, difference, product, quotient or remainder.

    Raises:
        ExpressionError: the types don't fit, or an integer result is too large for 64 bits.
    """
    if operator in {"*", "/", "%"}:  # for decimals Polars would round the result to one side's scale
        left, right = (_to_float(at, value) for value in (left, right))
    result = apply_operator(at, f"'{operator}'", ARITHMETIC_BUILDERS[operator], left, right)
    return _check_overflow(at, operator, result, left, right) if get_type(result).is_integer() else result


def _to_float(at: int, value: Value) -> Value:
    is_exact = get_type(value) == pl.Decimal
    return apply_operator(at, "CAST", lambda number: number.cast(pl.Float64), value) if is_exact else value


def _check_overflow(at: int, operator: str, result: Value, left: Value, right: Value) -> Value:
    """Refuse integer results beyond 64 bits, which wrap around."""

    def is_beyond(one: pl.Expr, other: pl.Expr) -> pl.Expr:
        rough = ARITHMETIC_BUILDERS[operator](one.cast(pl.Float64), other.cast(pl.Float64))
        return (rough.abs() >= INT64_LIMIT).any()

    if operator != "%" and get_only_value(apply_operator(at, f"'{operator}'", is_beyond, left, right)):
        raise ExpressionError(f"'{operator}' gives whole numbers beyond 64 bits; CAST one side AS DOUBLE", at)
    return result


def compare_operands(at: int, operator: str, left: Operand, right: Operand) -> Value:
    """Return the result of a comparison; a text literal compared with dates or times is parsed as one.

    Raises:
        ExpressionError: the types can't be compared, or the text is no date or time.
    """
    one, other = _parse_if_time(left, right.value), _parse_if_time(right, left.value)
    return apply_operator(at, f"'{operator}'", COMPARISON_BUILDERS[operator], one, other)


def _parse_if_time(operand: Operand, other: Value) -> Value:
    """Return an operand's value; a text literal that is compared with a date or time is parsed."""
    if operand.text is None or get_type(other) not in (pl.Date, pl.Datetime):
        return operand.value
    try:
        time = datetime.fromisoformat(operand.text)
    except ValueError as error:
        raise ExpressionError("the text is no date or time; write it like '2024-01-31'", operand.at) from error
    if time.tzinfo is not None:
        raise ExpressionError("the time has a zone; write it in UTC, without one", operand.at)
    return pl.lit(time.date() if re.fullmatch(r"[\d-]+", operand.text) else time)


def check_argument(at: int, name: str, kind: str, value: Value) -> Value:
    """Return a function's argument, if it is of the kind that the function takes.

    Raises:
        ExpressionError: it is of another kind.
    """
    dtype = get_type(value)
    if dtype == pl.Null and kind in functions.NULL_TYPES:
        return apply_operator(at, name, lambda missing: missing.cast(functions.NULL_TYPES[kind]), value)
    if not functions.accepts_type(kind, dtype):
        raise ExpressionError(f"{name}: found {dtype}, where {kind} should stand", at)
    return value


def widen_integers(at: int, value: Value) -> Value:
    """Return integers in 64 bits: lengths and parts of a time have fewer bits in Polars, and would wrap around."""
    dtype = get_type(value)
    is_short = dtype.is_integer() and dtype not in (pl.Int64, pl.UInt64, pl.Int128, pl.UInt128)
    return apply_operator(at, "CAST", lambda number: number.cast(pl.Int64), value) if is_short else value


def build_like_pattern(node: Like) -> str:
    """Return a LIKE pattern as a regular expression: % is any text, _ any character, ESCAPE makes the next one literal.

    Raises:
        ExpressionError: the pattern ends with its escape character.
    """
    parts, characters = [], iter(node.pattern)
    for character in characters:
        if character == node.escape:
            if (escaped := next(characters, None)) is None:
                raise ExpressionError("the pattern ends with its ESCAPE character", node.at)
            parts.append(re.escape(escaped))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
        if parts[-2:] == [".*", ".*"]:
            parts.pop()
    return f"(?s{'i' if node.is_any_case else ''})^{''.join(parts)}$"


def get_only_value(value: Value) -> object:
    """Return the only value of an aggregate."""
    series = value if isinstance(value, pl.Series) else pl.select(value=value).to_series()
    return series[0]
