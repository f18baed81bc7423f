"""SQL expressions in conf/: the language of `data.filter` and `data.target.sql`, and its evaluation on tables.

`parse` parses a text by merit's own grammar, which has no queries, tables, windows or aggregates; `evaluate` evaluates
it on a table. No text reaches an engine with a larger language. docs/reference/expressions.md is the reference.
"""

from typing import TYPE_CHECKING

from merit.expression.parser import parse_expression
from merit.expression.tokens import ExpressionError, quote_name, shorten_text

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ExpressionError", "evaluate", "list_columns", "parse_expression", "quote_name", "shorten_text"]


def list_columns(text: str) -> tuple[str, ...]:
    """Return the columns that an expression uses, each once, in the order of the text.

    Raises:
        ExpressionError: the text is no expression, or uses something that is not allowed.
    """
    return parse_expression(text).columns


def evaluate(text: str, table: "pl.DataFrame") -> "pl.Series":
    """Return the value of an expression for each row of a table.

    Example:
        >>> import polars as pl
        >>> evaluate("delay >= 15", pl.DataFrame({"delay": [3, 20, None]})).to_list()
        [False, True, None]

    Raises:
        ExpressionError: as for `parse`, or the table lacks a column, or its values have the wrong type. The message
            contains no value.
    """
    from merit.expression.evaluation import evaluate_expression

    return evaluate_expression(parse_expression(text), table)
