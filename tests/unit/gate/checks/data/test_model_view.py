from collections.abc import Callable
from math import inf, nan

import polars as pl
import pytest

from merit.config.schema import Lock
from merit.gate.checks.data.model_view import build_target_view


@pytest.mark.parametrize(
    ("task", "expected"),
    [("regression", [1.0, None, None, None]), ("binary", ["1.0", "(missing)", "inf", "NaN"])],
)
def test_a_target_is_a_number_for_a_regression_and_else_a_category(
    make_lock: Callable[..., Lock], task: str, expected: list[object]
) -> None:
    data = make_lock().data
    data = data.model_copy(update={"target": data.target.model_copy(update={"task": task})})
    assert build_target_view(pl.DataFrame({"late": [1.0, None, inf, nan]}), data).to_list() == expected
