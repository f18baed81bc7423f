"""Which rows are resampled together: what evaluate.blocks says, or what follows from the split."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from merit.config.schema import Lock
from merit.metrics import blocks

MakeLock = Callable[..., Lock]
GROUPS = {"by": "group", "column": "shop", "validation": 0.2, "test": 0.2}
RANDOM = {"by": "random", "validation": 0.2, "test": 0.2}
START = datetime(2024, 1, 7, 22)  # a Sunday
ROWS = pl.DataFrame(
    {
        "when": [START + timedelta(hours=hours) for hours in (0, 1, 3, 26, 50, 400, 0)],
        "shop": ["b", None, "a", "b", None, "c", "a"],
    }
)


def _make(make_lock: MakeLock, declared: Any, split: dict[str, Any] | None = None) -> Lock:
    def edit(values: dict[str, Any]) -> None:
        values["evaluate"]["blocks"] = declared
        values["data"]["split"] = split or values["data"]["split"]

    return make_lock(edit)


@pytest.mark.parametrize(
    ("declared", "split", "numbers", "text"),
    [
        (None, None, [0, 0, 1, 2, 3, 4, 0], "days"),
        (None, GROUPS, [1, 3, 0, 1, 4, 2, 0], "values of shop"),
        (None, RANDOM, None, "rows"),
        ({"by": "row"}, GROUPS, None, "rows"),
        ({"by": "time", "every": "1h"}, None, [0, 1, 2, 3, 4, 5, 0], "hours"),
        ({"by": "time", "every": "1w"}, None, [0, 0, 1, 1, 1, 2, 0], "weeks"),
        ({"by": "time", "every": "2d"}, GROUPS, [0, 0, 1, 1, 2, 3, 0], "blocks of 2 days"),
        ({"by": "column", "column": "shop"}, None, [1, 3, 0, 1, 4, 2, 0], "values of shop"),
    ],
)
def test_rows_of_a_block_share_a_number(
    make_lock: MakeLock, declared: Any, split: Any, numbers: list[int] | None, text: str
) -> None:
    lock = _make(make_lock, declared, split)
    found = blocks.number_blocks(lock, ROWS)
    assert (None if found is None else found.tolist()) == numbers
    assert blocks.describe_blocks(lock) == text


def test_without_any_value_each_row_stands_alone(make_lock: MakeLock) -> None:
    lock = _make(make_lock, {"by": "column", "column": "shop"})
    found = blocks.number_blocks(lock, pl.DataFrame({"shop": pl.Series([None, None], dtype=pl.String)}))
    assert found is not None
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"by": "column", "column": "shp"}, "evaluate.blocks names 'shp', which is no column; allowed: when, shop"),
        ({"by": "time", "every": "day"}, "every"),
        ({"by": "time", "every": "0d"}, "every"),
        ({"by": "day"}, "by"),
    ],
)
def test_blocks_that_can_not_be_are_refused(make_lock: MakeLock, declared: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        _make(make_lock, declared)


def test_blocks_by_time_need_a_time(make_lock: MakeLock) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["evaluate"]["blocks"] = {"by": "time"}
        values["data"] |= {"time": None, "split": RANDOM, "window": None}

    with pytest.raises(ValidationError, match=r"evaluate[.]blocks is by time, and data[.]time names no column"):
        make_lock(edit)
