from collections.abc import Callable
from datetime import date, datetime

import polars as pl
import pytest

from merit.config.schema import Lock, Split
from merit.errors import MeritError
from merit.features.split import split


def test_each_row_falls_to_one_part_and_each_part_ends_with_its_day(table: pl.DataFrame, lock: Lock) -> None:
    parts = split(table, "when", lock.data.split)
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
    parts = split(pl.DataFrame({"when": times}), "when", lock.data.split)
    assert [part.height for part in parts.values()] == [1, 2, 2]


def test_rows_after_the_last_day_fall_to_no_part() -> None:
    days = [datetime(2024, 1, day) for day in (1, 2, 3, 4)]
    ends = Split(train_until=date(2024, 1, 1), validation_until=date(2024, 1, 2), test_until=date(2024, 1, 3))
    parts = split(pl.DataFrame({"when": days}), "when", ends)
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
        split(table, "when", lock.data.split)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"data.split: no rows fall to the {part} part; the data runs from 2024-01-01 00:00:00 to 2024-04-29 12:00:00: "
        "move data.split or data.window"
    )
