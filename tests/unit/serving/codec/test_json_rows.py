import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.serving.app.row_values import BadRows
from merit.serving.codec.json_rows import encode_rows, encode_table, to_json_value


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5])
def test_rows_go_in_bodies_of_at_most_so_many_and_none_is_lost(rows: int) -> None:
    values = [{"a": place, "b": None} for place in range(rows)]
    table = pl.DataFrame({"other": ["x"] * rows, "a": range(rows), "b": pl.Series([None] * rows, dtype=pl.Float64)})
    for bodies in (encode_rows(values, 2), encode_table(table, ["a", "b", "missing"], 2)):
        found = [json.loads(body) for body in bodies]
        assert [len(body) for body in found] == [2] * (rows // 2) + [1] * (rows % 2) + [0] * (rows == 0)
        assert [row for body in found for row in body] == values


def test_a_table_without_any_column_of_the_model_still_has_its_rows() -> None:
    assert list(encode_table(pl.DataFrame({"x": [1, 2]}), ["a"], 9)) == [b"[{},{}]"]


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        (None, None),
        (float("nan"), None),
        (np.float32("nan"), None),
        (0, 0),
        (True, True),
        (np.bool_(True), True),
        (np.int64(7), 7),
        (0.1, 0.1),
        (Decimal("1.5"), 1.5),
        ("", ""),
        (date(2024, 1, 31), "2024-01-31"),
        (datetime(2024, 1, 31, 15, 30, tzinfo=UTC), "2024-01-31T15:30:00+00:00"),
        ((1, [2.5, None]), [1, [2.5, None]]),
        (np.array([[1, 2]]), [[1, 2]]),
    ],
)
def test_a_value_becomes_what_json_has_for_it(value: Any, json_value: Any) -> None:
    found = to_json_value(value, "a")
    assert (found, type(found)) == (json_value, type(json_value))


@pytest.mark.parametrize("value", [float("inf"), -np.float32("inf"), Decimal("-Infinity"), [1.0, float("inf")]])
def test_an_infinite_number_is_refused_by_its_column(value: Any) -> None:
    with pytest.raises(BadRows, match=r"^column 'a': a number is infinite; send finite numbers$"):
        to_json_value(value, "a")


@pytest.mark.parametrize("value", [b"x", {"b": 1}, {1}, 1j])
def test_a_value_that_json_has_no_form_for_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(BadRows, match=rf"^column 'a': found a value of the type {type(value).__name__}; convert it"):
        to_json_value(value, "a")
