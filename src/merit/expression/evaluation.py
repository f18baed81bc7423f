"""Evaluate an expression on a table, node by node, so that each error can name its types and position.

Missing values are unknown, as in SQL: a comparison with one is neither true nor false. Integers have 64 bits, and a
result that they can't hold is an error. Messages name types and positions, never values.
"""

import polars as pl

from merit.expression import functions
from merit.expression.grammar import LITERAL_ARGUMENTS
from merit.expression.operations import (
    COMPARISON_BUILDERS,
    Operand,
    Value,
    apply_operator,
    build_like_pattern,
    check_argument,
    compare_operands,
    evaluate_arithmetic,
    get_only_value,
    get_type,
    make_constant,
    widen_column,
    widen_integers,
)
from merit.expression.tokens import ExpressionError, shorten_text
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

POLARS_TYPES: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "decimal": pl.Decimal(38, 9),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "text": pl.String(),
    "timestamp": pl.Datetime("us"),
}


def evaluate_expression(expression: Expression, table: pl.DataFrame) -> pl.Series:
    """Return the value of an expression for each row of a table.

    Raises:
        ExpressionError: the table lacks a column, or its values have the wrong type.
    """
    result = _Evaluator(table).evaluate_node(expression.root)
    assert isinstance(result, pl.Series)  # `parse` requires a column, so the result is not a constant
    return result


class _Evaluator:
    """Evaluates nodes on one table."""

    def __init__(self, table: pl.DataFrame) -> None:
        self._table = table

    def evaluate_node(self, node: Node) -> Value:  # noqa: PLR0911, PLR0912  # one line for each kind of node
        """Return the value of a node."""
        match node:
            case Column():
                return self._get_column(node)
            case Literal():
                return make_constant(node.value)
            case Group():
                return self.evaluate_node(node.inner)
            case Negative():
                return apply_operator(node.at, "'-'", lambda number: -number, self.evaluate_node(node.operand))
            case Not():
                return apply_operator(
                    node.at, "NOT", lambda condition: ~condition, self._evaluate_condition(node.operand)
                )
            case Chain():
                return self._evaluate_chain(node)
            case Comparison():
                return compare_operands(
                    node.at, node.operator, self._evaluate_operand(node.left), self._evaluate_operand(node.right)
                )
            case Test():
                return self._evaluate_test(node)
            case Membership():
                return self._evaluate_membership(node)
            case Between():
                return self._evaluate_between(node)
            case Like():
                return self._evaluate_like(node)
            case Case():
                return self._evaluate_case(node)
            case Cast():
                return self._evaluate_cast(node)
            case Call():
                return self._evaluate_call(node)

    def _get_column(self, node: Column) -> pl.Series:
        if node.name not in self._table.columns:
            raise ExpressionError(f"there is no column '{shorten_text(node.name)}'", node.at)
        return widen_column(self._table.get_column(node.name))

    def _evaluate_operand(self, node: Node) -> Operand:
        return Operand.from_node(node, self.evaluate_node(node))

    def _evaluate_condition(self, node: Node) -> Value:
        """Return the value of a node that must be a condition: true, false or unknown."""
        value = self.evaluate_node(node)
        if (dtype := get_type(value)) == pl.Null:
            return apply_operator(node.at, "NULL", lambda missing: missing.cast(pl.Boolean), value)
        if dtype != pl.Boolean:
            raise ExpressionError(f"found {dtype}, where a condition should stand", node.at)
        return value

    def _evaluate_chain(self, node: Chain) -> Value:
        evaluate_part = self._evaluate_condition if node.rest[0][0] in {"AND", "OR"} else self.evaluate_node
        result = evaluate_part(node.first)
        for operator, at, operand in node.rest:
            right = evaluate_part(operand)
            if operator == "AND":
                result = apply_operator(at, operator, lambda one, other: one & other, result, right)
            elif operator == "OR":
                result = apply_operator(at, operator, lambda one, other: one | other, result, right)
            elif operator == "||":
                result = apply_operator(at, "'||'", pl.concat_str, result, right)
            else:
                result = evaluate_arithmetic(at, operator, result, right)
        return result

    def _evaluate_test(self, node: Test) -> Value:
        if node.constant == "NULL":
            operand = self.evaluate_node(node.operand)
            return apply_operator(
                node.at, "IS", lambda value: value.is_not_null() if node.negated else value.is_null(), operand
            )
        operator = COMPARISON_BUILDERS["DISTINCT" if node.negated else "NOT DISTINCT"]
        return apply_operator(
            node.at, "IS", operator, self._evaluate_condition(node.operand), pl.lit(node.constant == "TRUE")
        )

    def _evaluate_membership(self, node: Membership) -> Value:
        operand = self._evaluate_operand(node.operand)
        result = compare_operands(node.at, "=", operand, self._evaluate_operand(node.options[0]))
        for option in node.options[1:]:
            equal = compare_operands(option.at, "=", operand, self._evaluate_operand(option))
            result = apply_operator(node.at, "IN", lambda one, other: one | other, result, equal)
        return _negate_if_asked(node, result)

    def _evaluate_between(self, node: Between) -> Value:
        operand = self._evaluate_operand(node.operand)
        low = compare_operands(node.at, ">=", operand, self._evaluate_operand(node.low))
        high = compare_operands(node.at, "<=", operand, self._evaluate_operand(node.high))
        return _negate_if_asked(node, apply_operator(node.at, "BETWEEN", lambda one, other: one & other, low, high))

    def _evaluate_like(self, node: Like) -> Value:
        pattern = build_like_pattern(node)
        operand = check_argument(node.at, "LIKE", functions.TEXT, self.evaluate_node(node.operand))
        return _negate_if_asked(node, apply_operator(node.at, "LIKE", lambda text: text.str.contains(pattern), operand))

    def _evaluate_case(self, node: Case) -> Value:
        operand = None if node.operand is None else self._evaluate_operand(node.operand)
        selected = pl.lit(None) if node.otherwise is None else self.evaluate_node(node.otherwise)
        for condition, result in reversed(node.branches):
            if operand is None:
                holds = self._evaluate_condition(condition)
            else:
                holds = compare_operands(condition.at, "=", operand, self._evaluate_operand(condition))
            then = self.evaluate_node(result)
            selected = apply_operator(
                node.at, "CASE", lambda c, one, other: pl.when(c).then(one).otherwise(other), holds, then, selected
            )
        return selected

    def _evaluate_cast(self, node: Cast) -> Value:
        dtype = pl.Decimal(*node.scale) if node.scale else POLARS_TYPES[node.type]
        operand = self.evaluate_node(node.operand)
        converted = apply_operator(node.at, "CAST", lambda value: value.cast(dtype, strict=False), operand)
        lost_count = apply_operator(
            node.at, "CAST", lambda old, new: (old.is_not_null() & new.is_null()).sum(), operand, converted
        )
        if node.is_strict and (count := get_only_value(lost_count)):
            raise ExpressionError(f"CAST: {count:,} values are no {dtype}; TRY_CAST gives NULL for them", node.at)
        return converted

    def _evaluate_call(self, node: Call) -> Value:
        kinds, implementation = functions.FUNCTION_BUILDERS[node.name]
        literal_indices = LITERAL_ARGUMENTS.get(node.name, ())
        values = [
            check_argument(each.at, node.name, kinds[min(number, len(kinds) - 1)], self.evaluate_node(each))
            for number, each in enumerate(node.arguments)
            if number not in literal_indices
        ]
        literal_nodes = [node.arguments[number] for number in literal_indices if number < len(node.arguments)]
        texts = [each.value for each in literal_nodes if isinstance(each, Literal)]
        if node.name == "EPOCH" and get_type(values[0]) == pl.Duration:
            return apply_operator(node.at, node.name, lambda time: time.dt.total_microseconds() / 1_000_000, values[0])
        return widen_integers(
            node.at, apply_operator(node.at, node.name, lambda *given: implementation(*given, *texts), *values)
        )


def _negate_if_asked(node: Membership | Between | Like, value: Value) -> Value:
    """Return the negated value if the node has NOT."""
    return apply_operator(node.at, "NOT", lambda condition: ~condition, value) if node.negated else value
