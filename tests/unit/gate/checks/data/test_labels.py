from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from merit.config.schema import Lock
from merit.gate.checks.data import labels
from merit.gate.verdict import Verdict
from tests.unit.gate.checks.data.conftest import ROWS, Look, check


@pytest.mark.parametrize(("count", "verdict"), [(10, Verdict.PASS), (60, Verdict.FAIL)])
def test_the_same_features_with_other_answers_are_refused_beyond_the_limit(
    look_at: Look, good: pl.DataFrame, count: int, verdict: Verdict
) -> None:
    other = good.head(count).with_columns(pl.col("when") + pl.duration(minutes=1), late=1 - pl.col("late"))
    found = check(look_at(pl.concat([good, other])), "data: label noise")
    assert found.verdict is verdict
    assert found.found.startswith(f"{2 * count / (ROWS + count):.2%} of rows")


def test_the_same_features_with_the_same_answer_are_no_noise_but_told_as_repeated(
    look_at: Look, good: pl.DataFrame
) -> None:
    found = look_at(pl.concat([good, good.head(60)]))
    assert check(found, "data: label noise").found.startswith("0.00%")
    assert check(found, "data: duplicates").verdict is Verdict.FAIL
    assert check(found, "data: duplicates").found == "60 rows (4.76%)"
    assert found.report["duplicates"] == 60


def test_rows_that_an_undeclared_column_tells_apart_are_no_duplicates(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(pl.concat([good, good.head(60)]), repeated=3)
    assert check(found, "data: duplicates").verdict is Verdict.PASS
    assert found.report["duplicates"] == 3


def test_numbers_conflict_if_they_are_a_deviation_apart(make_lock: Callable[..., Lock]) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["target"]["task"] = "regression"
        values["trainer"]["monitor"] = "rmse"
        values["gate"] |= {"calibration": None, "floors": {}, "champion": []}
        values["gate"]["baseline"] = {"metric": "r2", "margin": 0.1}

    rows = pl.DataFrame({"features": [1, 1, 2, 2, 3], "late": [0.0, 0.1, 0.0, 9.0, 5.0]})
    assert labels.measure_conflicts(rows, make_lock(edit).data.target) == pytest.approx(0.4)


@pytest.mark.parametrize(("part", "first", "last"), [("train", 0, 600), ("validation", 600, 910), ("test", 910, ROWS)])
def test_one_answer_alone_in_any_part_is_refused(
    look_at: Look, good: pl.DataFrame, part: str, first: int, last: int
) -> None:
    inside = pl.int_range(pl.len()).is_between(first, last, closed="left")
    found = check(look_at(good.with_columns(late=pl.when(inside).then(1.0).otherwise("late"))), "data: constant target")
    assert found.verdict is Verdict.FAIL
    assert found.found == f"every row of {part} has late = 1"


def test_a_part_without_rows_is_refused(look_at: Look, good: pl.DataFrame) -> None:
    found = check(look_at(good.head(600)), "data: constant target")
    assert (found.verdict, found.found) == (Verdict.FAIL, "validation has no rows, test has no rows")


def test_the_deviation_is_that_of_the_rows_at_hand(make_lock: Callable[..., Lock]) -> None:
    target = make_lock(lambda values: None).data.target.model_copy(update={"task": "regression"})
    rows = pl.DataFrame({"features": [1, 1, 2, 3], "late": [0.0, 1.1, -0.5, 2.2]})  # its deviation is 1.04
    assert labels.measure_conflicts(rows, target) == 0.5
