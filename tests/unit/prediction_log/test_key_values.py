from datetime import datetime
from typing import Any

import pytest

from merit.prediction_log.key_values import convert_value


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        ("string", "529", "529"),
        ("boolean", True, True),
        ("integer", 529.0, 529),
        ("integer", -(2**63), -(2**63)),
        ("number", 529, 529.0),
        ("datetime", "2024-01-31T15:30:00", datetime(2024, 1, 31, 15, 30)),
    ],
)
def test_equal_values_compare_equal_however_json_writes_them(kind: str, value: Any, converted: Any) -> None:
    found = convert_value(value, {"type": kind})
    assert (found, type(found)) == (converted, type(converted))


@pytest.mark.parametrize(
    ("kind", "value", "allowed"),
    [
        ("string", 529, "a text"),
        ("boolean", 1, "true or false"),
        ("integer", 529.5, "a whole number"),
        ("integer", True, "a whole number"),
        ("integer", 2**63, "a whole number"),
        ("integer", float("inf"), "a whole number"),
        ("number", "529", "a number"),
        ("number", 10**400, "a number"),
        ("datetime", 5, "a time such as"),
        ("datetime", "yesterday", "a time such as"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_is_allowed(kind: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"the model takes {allowed}"):
        convert_value(value, {"type": kind})


def test_an_array_is_no_part_of_a_key() -> None:
    with pytest.raises(ValueError, match="an array can't be part of a key"):
        convert_value([1], {"type": "array"})
