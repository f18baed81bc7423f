from collections.abc import Collection

import pytest

from merit.expression.selection import list_examined_columns


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("delay IS NOT NULL", []),
        ("(delay) IS NOT NULL AND NOT (delay IS NULL) OR size > 3", []),
        ("delay NOT BETWEEN 12 AND 17", ["delay"]),
        ("delay IS NOT NULL AND Delay < 12", ["Delay"]),
        ("size > 1 OR NOT (delay IN (1, 2))", ["delay"]),
        ("NULLIF(delay, 15) IS NOT NULL", ["delay"]),
        ("delay + 0 IS NOT NULL", ["delay"]),
        ("CASE WHEN size > 1 THEN delay ELSE 0 END > 1", ["delay"]),
        ("CAST(delay AS VARCHAR) LIKE '1%'", ["delay"]),
        ("ABS(-delay) > size", ["delay"]),
        ("delay IS TRUE", ["delay"]),
    ],
)
def test_a_filter_may_ask_whether_a_column_is_known_and_no_more(text: str, found: list[str]) -> None:
    assert list_examined_columns(text, ["delay"]) == found
    assert list_examined_columns(text, ["other"]) == []


@pytest.mark.parametrize(
    ("text", "options", "found"),
    [
        ("kind IN ('a', 'b')", ("a", "b"), []),
        ("kind IN ('a', 'b', 'c')", ("a", "b"), []),
        ("kind IN ('a')", ("a", "b"), ["kind"]),
        ("kind NOT IN ('a', 'b')", ("a", "b"), ["kind"]),
        ("kind IN ('a', 'b')", (), ["kind"]),
        ("LOWER(kind) IN ('a', 'b')", ("a", "b"), ["kind"]),
    ],
)
def test_a_filter_may_drop_rows_of_no_class(text: str, options: Collection[str], found: list[str]) -> None:
    assert list_examined_columns(text, ["kind"], options) == found
