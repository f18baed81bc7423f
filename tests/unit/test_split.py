from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from merit.config.schema import Lock
from merit.errors import MeritError
from merit.split import split


def test_each_row_falls_to_one_part_and_each_part_ends_with_its_day(table: pl.DataFrame, lock: Lock) -> None:
    parts = split(table, lock.data)
    assert list(parts) == ["train", "validation", "test"]
    assert pl.concat(parts.values()).equals(table.sort("when"))
    assert parts["train"]["when"].max() == datetime(2024, 2, 29, 12)
    assert parts["validation"]["when"].min() == datetime(2024, 3, 1)
    assert parts["validation"]["when"].max() == datetime(2024, 3, 31, 12)
    assert parts["test"]["when"].min() == datetime(2024, 4, 1)


def test_a_row_at_the_last_moment_of_a_day_belongs_to_that_day(lock: Lock) -> None:
    times = [
        datetime(2024, 2, 29, 23, 59, 59, 999_999),
        datetime(2024, 3, 1),
        datetime(2024, 3, 31, 23, 59, 59, 999_999),
        datetime(2024, 4, 1),
        datetime(2024, 12, 31, 23, 59, 59, 999_999),
    ]
    parts = split(pl.DataFrame({"when": times}), lock.data)
    assert [part.height for part in parts.values()] == [1, 2, 2]


def test_rows_after_the_last_day_fall_to_no_part(make_lock: Callable[..., Lock]) -> None:
    days = [datetime(2024, 1, day) for day in (1, 2, 3, 4)]
    ends = {"train_until": "2024-01-01", "validation_until": "2024-01-02", "test_until": "2024-01-03"}
    parts = split(pl.DataFrame({"when": days}), make_lock(lambda values: values["data"]["split"].update(ends)).data)
    assert pl.concat(parts.values())["when"].to_list() == days[:3]


@pytest.mark.parametrize(
    ("ends", "part"),
    [
        ({"train_until": "2023-12-31"}, "train"),
        ({"train_until": "2024-02-29", "validation_until": "2024-12-30"}, "test"),
        ({"train_until": "2024-12-01", "validation_until": "2024-12-02"}, "validation"),
    ],
)
def test_a_part_without_rows_is_refused(
    table: pl.DataFrame, make_lock: Callable[..., Lock], ends: dict[str, str], part: str
) -> None:
    lock = make_lock(lambda values: values["data"]["split"].update(ends))
    with pytest.raises(MeritError) as caught:
        split(table, lock.data)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"data.split: no rows fall to the {part} part; the data runs from 2024-01-01 00:00:00 to 2024-04-29 12:00:00: "
        "move data.split or data.window"
    )


def _by_lot(task: str, validation: float = 0.2, test: float = 0.3, seed: int = 0) -> Callable[[dict[str, Any]], None]:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["split"] = {"by": "random", "validation": validation, "test": test, "seed": seed}
        values["data"]["target"] = {"name": "late", "sql": "x", "task": task}
        if task == "multiclass":
            values["data"]["target"]["classes"] = ["a", "b"]
            values["gate"] |= {"floors": {}, "champion": [], "baseline": {"metric": "accuracy", "margin": 0.1}}
        if task == "regression":
            values["trainer"]["monitor"] = "rmse"
            values["gate"] |= {"calibration": None, "floors": {}, "champion": []}
            values["gate"]["baseline"] = {"metric": "r2", "margin": 0.1}

    return edit


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_lot_gives_each_row_to_one_part_in_the_declared_shares(make_lock: Callable[..., Lock], task: str) -> None:
    rows = pl.DataFrame({"row": range(1000), "late": [float(i % 10 == 0) for i in range(1000)]})
    parts = split(rows, make_lock(_by_lot(task)).data)
    assert [part.height for part in parts.values()] == [500, 200, 300]
    assert sorted(pl.concat(parts.values())["row"]) == list(range(1000))
    assert all(part["row"].is_sorted() for part in parts.values())
    if task != "regression":
        assert all(part["late"].mean() == pytest.approx(0.1) for part in parts.values())


def test_the_lot_is_the_same_on_every_run_and_another_with_another_seed(make_lock: Callable[..., Lock]) -> None:
    rows = pl.DataFrame({"row": range(100), "late": [0.0, 1.0] * 50})
    first, again, other = (split(rows, make_lock(_by_lot("binary", seed=seed)).data)["test"] for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_too_few_rows_for_a_part_by_lot_are_told(make_lock: Callable[..., Lock]) -> None:
    rows = pl.DataFrame({"late": [0.0, 1.0, 0.0, 1.0]})
    with pytest.raises(
        MeritError, match=r"^data\.split: no rows fall to the validation part; the data has 4 rows: raise"
    ):
        split(rows, make_lock(_by_lot("binary", validation=0.05, test=0.5)).data)
