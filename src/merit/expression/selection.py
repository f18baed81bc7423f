"""Finds where an expression that selects rows looks at the value of certain columns, beyond whether it is known."""

from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from merit.expression.parser import parse_expression
from merit.expression.tree import Column, Group, Literal, Membership, Node, Test


def list_examined_columns(text: str, columns: Collection[str], options: Collection[object] = ()) -> list[str]:
    """Return those of some columns whose values decide the expression; `IS NULL` and `IS NOT NULL` decide by none.

    Args:
        text: the expression, such as data.filter.
        columns: the names to look for.
        options: values that `column IN (...)` may list if it lists all of them, such as all classes of the target.

    Raises:
        ExpressionError: the text is no expression.

    Example:
        >>> list_examined_columns("delay IS NOT NULL AND delay > 3 AND size > 1", ["delay", "size"])
        ['delay', 'size']
        >>> list_examined_columns("delay IS NOT NULL", ["delay"])
        []
    """
    wanted = {name.lower() for name in columns}
    names = _list_examined(parse_expression(text).root, frozenset(options))
    return list(dict.fromkeys(name for name in names if name.lower() in wanted))


def _list_examined(node: Any, options: frozenset[object]) -> Iterator[str]:
    if isinstance(node, Column):
        yield node.name
    elif isinstance(node, tuple):
        for each in node:
            yield from _list_examined(each, options)
    elif is_dataclass(node) and not _only_asks_whether_known(node) and not _lists_options(node, options):
        for field in fields(node):
            yield from _list_examined(getattr(node, field.name), options)


def _only_asks_whether_known(node: Any) -> bool:
    return isinstance(node, Test) and node.constant == "NULL" and isinstance(_remove_groups(node.operand), Column)


def _lists_options(node: Any, options: frozenset[object]) -> bool:
    """Return whether a node is `column IN (...)` with every option: it drops only values that are none."""
    if not isinstance(node, Membership) or node.negated or not options:
        return False
    values = {each.value for each in node.options if isinstance(each, Literal)}
    return isinstance(_remove_groups(node.operand), Column) and options <= values


def _remove_groups(node: Node) -> Node:
    while isinstance(node, Group):
        node = node.inner
    return node
