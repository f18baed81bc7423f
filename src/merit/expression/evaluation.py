"""Evaluate an expression on a table, node by node, so that each error can name its types and position.

Missing values are unknown, as in SQL: a comparison with one is neither true nor false. Integers have 64 bits, and a
result that they can't hold is an error. Messages name types and positions, never values.
"""

import polars as pl

from merit.expression import functions
from merit.expression.grammar import LITERAL_ARGUMENTS
from merit.expression.steps import (
    COMPARISONS,
    Operand,
    Value,
    apply,
    argument,
    arithmetic,
    compared,
    constant,
    first,
    pattern_of,
    type_of,
    whole,
    widened,
)
from merit.expression.tokens import ExpressionError, plain
from merit.expression.tree import (
    Between,
    Call,
    Case,
    Cast,
    Chain,
    Column,
    Comparison,
    Expression,
    Group,
    Like,
    Literal,
    Membership,
    Negative,
    Node,
    Not,
    Test,
)

TYPES: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "decimal": pl.Decimal(38, 9),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "text": pl.String(),
    "timestamp": pl.Datetime("us"),
}


def calculate(expression: Expression, table: pl.DataFrame) -> pl.Series:
    """Return the value of an expression for each row of a table.

    Raises:
        ExpressionError: the table lacks a column, or its values have the wrong type.
    """
    found = _Calculation(table).value(expression.root)
    assert isinstance(found, pl.Series)  # `parse` requires a column, so the result is not a constant
    return found


class _Calculation:
    """Evaluates nodes on one table."""

    def __init__(self, table: pl.DataFrame) -> None:
        self._table = table

    def value(self, node: Node) -> Value:  # noqa: PLR0911, PLR0912  # one line for each kind of node
        """Return the value of a node."""
        match node:
            case Column():
                return self._column(node)
            case Literal():
                return constant(node.value)
            case Group():
                return self.value(node.inner)
            case Negative():
                return apply(node.at, "'-'", lambda number: -number, self.value(node.operand))
            case Not():
                return apply(node.at, "NOT", lambda condition: ~condition, self._condition(node.operand))
            case Chain():
                return self._chain(node)
            case Comparison():
                return compared(node.at, node.operator, self._operand(node.left), self._operand(node.right))
            case Test():
                return self._test(node)
            case Membership():
                return self._membership(node)
            case Between():
                return self._between(node)
            case Like():
                return self._like(node)
            case Case():
                return self._case(node)
            case Cast():
                return self._cast(node)
            case Call():
                return self._call(node)

    def _column(self, node: Column) -> pl.Series:
        if node.name not in self._table.columns:
            raise ExpressionError(f"there is no column '{plain(node.name)}'", node.at)
        return widened(self._table.get_column(node.name))

    def _operand(self, node: Node) -> Operand:
        return Operand.of(node, self.value(node))

    def _condition(self, node: Node) -> Value:
        """Return the value of a node that must be a condition: true, false or unknown."""
        found = self.value(node)
        if (dtype := type_of(found)) == pl.Null:
            return apply(node.at, "NULL", lambda missing: missing.cast(pl.Boolean), found)
        if dtype != pl.Boolean:
            raise ExpressionError(f"found {dtype}, where a condition should stand", node.at)
        return found

    def _chain(self, node: Chain) -> Value:
        read = self._condition if node.rest[0][0] in {"AND", "OR"} else self.value
        found = read(node.first)
        for operator, at, operand in node.rest:
            right = read(operand)
            if operator == "AND":
                found = apply(at, operator, lambda one, other: one & other, found, right)
            elif operator == "OR":
                found = apply(at, operator, lambda one, other: one | other, found, right)
            elif operator == "||":
                found = apply(at, "'||'", pl.concat_str, found, right)
            else:
                found = arithmetic(at, operator, found, right)
        return found

    def _test(self, node: Test) -> Value:
        if node.wanted == "NULL":
            found = self.value(node.operand)
            return apply(node.at, "IS", lambda value: value.is_not_null() if node.negated else value.is_null(), found)
        operator = COMPARISONS["DISTINCT" if node.negated else "NOT DISTINCT"]
        return apply(node.at, "IS", operator, self._condition(node.operand), pl.lit(node.wanted == "TRUE"))

    def _membership(self, node: Membership) -> Value:
        operand = self._operand(node.operand)
        found = compared(node.at, "=", operand, self._operand(node.options[0]))
        for option in node.options[1:]:
            equal = compared(option.at, "=", operand, self._operand(option))
            found = apply(node.at, "IN", lambda one, other: one | other, found, equal)
        return _negated(node, found)

    def _between(self, node: Between) -> Value:
        operand = self._operand(node.operand)
        low = compared(node.at, ">=", operand, self._operand(node.low))
        high = compared(node.at, "<=", operand, self._operand(node.high))
        return _negated(node, apply(node.at, "BETWEEN", lambda one, other: one & other, low, high))

    def _like(self, node: Like) -> Value:
        pattern = pattern_of(node)
        operand = argument(node.at, "LIKE", functions.TEXT, self.value(node.operand))
        return _negated(node, apply(node.at, "LIKE", lambda text: text.str.contains(pattern), operand))

    def _case(self, node: Case) -> Value:
        operand = None if node.operand is None else self._operand(node.operand)
        found = pl.lit(None) if node.otherwise is None else self.value(node.otherwise)
        for wanted, result in reversed(node.branches):
            if operand is None:
                holds = self._condition(wanted)
            else:
                holds = compared(wanted.at, "=", operand, self._operand(wanted))
            then = self.value(result)
            found = apply(
                node.at, "CASE", lambda c, one, other: pl.when(c).then(one).otherwise(other), holds, then, found
            )
        return found

    def _cast(self, node: Cast) -> Value:
        dtype = pl.Decimal(*node.scale) if node.scale else TYPES[node.type]
        given = self.value(node.operand)
        made = apply(node.at, "CAST", lambda value: value.cast(dtype, strict=False), given)
        lost = apply(node.at, "CAST", lambda old, new: (old.is_not_null() & new.is_null()).sum(), given, made)
        if node.is_strict and (count := first(lost)):
            raise ExpressionError(f"CAST: {count:,} values are no {dtype}; TRY_CAST gives NULL for them", node.at)
        return made

    def _call(self, node: Call) -> Value:
        kinds, make = functions.CALLS[node.name]
        fixed = LITERAL_ARGUMENTS.get(node.name, ())
        values = [
            argument(each.at, node.name, kinds[min(number, len(kinds) - 1)], self.value(each))
            for number, each in enumerate(node.arguments)
            if number not in fixed
        ]
        stated = [node.arguments[number] for number in fixed if number < len(node.arguments)]
        texts = [each.value for each in stated if isinstance(each, Literal)]
        if node.name == "EPOCH" and type_of(values[0]) == pl.Duration:
            return apply(node.at, node.name, lambda time: time.dt.total_microseconds() / 1_000_000, values[0])
        return whole(node.at, apply(node.at, node.name, lambda *given: make(*given, *texts), *values))


def _negated(node: Membership | Between | Like, found: Value) -> Value:
    """Return the negated value if the node has NOT."""
    return apply(node.at, "NOT", lambda condition: ~condition, found) if node.negated else found
