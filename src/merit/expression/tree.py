"""The nodes of a parsed expression; `at` is the position of a node's first character."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal as LiteralType

Value = str | int | float | Decimal | bool | date | datetime | timedelta | None


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    at: int
    name: str


@dataclass(frozen=True)
class Literal:
    """A constant value."""

    at: int
    value: Value


@dataclass(frozen=True)
class Group:
    """An expression in parentheses."""

    at: int
    inner: "Node"


@dataclass(frozen=True)
class Negative:
    """A number with its sign inverted."""

    at: int
    operand: "Node"


@dataclass(frozen=True)
class Not:
    """A negated condition."""

    at: int
    operand: "Node"


@dataclass(frozen=True)
class Chain:
    """Operands joined by operators of equal precedence, from left to right: OR, AND, || or arithmetic.

    Each item of `rest` is an operator, its position, and the operand after it.
    """

    at: int
    first: "Node"
    rest: "tuple[tuple[str, int, Node], ...]"


@dataclass(frozen=True)
class Comparison:
    """A comparison of two values; DISTINCT compares missing values too."""

    at: int
    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True)
class Test:
    """IS [NOT] NULL, TRUE or FALSE."""

    at: int
    operand: "Node"
    constant: LiteralType["NULL", "TRUE", "FALSE"]
    negated: bool


@dataclass(frozen=True)
class Membership:
    """[NOT] IN a list."""

    at: int
    operand: "Node"
    options: "tuple[Node, ...]"
    negated: bool


@dataclass(frozen=True)
class Between:
    """[NOT] BETWEEN two values, both included."""

    at: int
    operand: "Node"
    low: "Node"
    high: "Node"
    negated: bool


@dataclass(frozen=True)
class Like:
    """[NOT] LIKE or ILIKE a pattern."""

    at: int
    operand: "Node"
    pattern: str
    escape: str | None
    is_any_case: bool
    negated: bool


@dataclass(frozen=True)
class Case:
    """CASE [operand] WHEN ... THEN ... [ELSE ...] END."""

    at: int
    operand: "Node | None"
    branches: "tuple[tuple[Node, Node], ...]"
    otherwise: "Node | None"


@dataclass(frozen=True)
class Cast:
    """A value cast to another type; TRY_CAST gives NULL for values that don't fit it."""

    at: int
    operand: "Node"
    type: str
    scale: tuple[int, int] | None
    is_strict: bool


@dataclass(frozen=True)
class Call:
    """A function call."""

    at: int
    name: str
    arguments: "tuple[Node, ...]"


Node = (
    Column
    | Literal
    | Group
    | Negative
    | Not
    | Chain
    | Comparison
    | Test
    | Membership
    | Between
    | Like
    | Case
    | Cast
    | Call
)


@dataclass(frozen=True)
class Expression:
    """A parsed text: its tree, and the columns that it uses."""

    text: str
    root: Node
    columns: tuple[str, ...]
