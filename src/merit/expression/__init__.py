"""SQL expressions of conf/: what `data.filter` and `data.target.sql` may say, and what they give for each row.

`parse` reads a text by a grammar of our own, which has no queries, tables, windows or aggregates; `evaluate` calculates
it on a table. No text reaches an engine that would understand more. docs/expressions.md is the reference.
"""

from typing import TYPE_CHECKING

from merit.expression.parser import parse
from merit.expression.tokens import ExpressionError, plain, quoted

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ExpressionError", "columns_of", "evaluate", "parse", "plain", "quoted"]


def columns_of(text: str) -> tuple[str, ...]:
    """Return the names of the columns that an expression uses, each once, in the order of the text.

    Raises:
        ExpressionError: the text is no expression, or uses what is not allowed.
    """
    return parse(text).columns


def evaluate(text: str, table: "pl.DataFrame") -> "pl.Series":
    """Return what an expression gives for each row of a table.

    Raises:
        ExpressionError: as `parse` does, or the table lacks a column, or its values don't fit what is asked of them.
            No value stands in the message.
    """
    from merit.expression.evaluation import calculate

    return calculate(parse(text), table)
