"""What a share of all rows hides: changes of one slice, one month, one day, and of labels."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.schema import Lock
from merit.gate.checks.data.cells import CELL_FACTOR, COUNTS, CellCounts, count_cells
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.matching import count_changed_columns, match_rows
from merit.gate.checks.data.selective_rows import Selectivity, measure_selectivity
from merit.gate.verdict import Verdict
from tests.unit.gate.checks.data.conftest import Look, check

Opened = Callable[..., Dataset]
TURN = pl.int_range(pl.len())


@pytest.fixture
def many() -> pl.DataFrame:
    """Twelve thousand rows over the same 120 days: so many that few changes of a slice are no chance."""
    draw = np.random.default_rng(1)
    size = draw.normal(50, 10, 12_000)
    return pl.DataFrame(
        {
            "when": [datetime(2024, 1, 1) + timedelta(minutes=14.4 * row) for row in range(12_000)],
            "shop": draw.choice(["north", "south", "west", "tiny"], 12_000, p=[0.47, 0.4, 0.1, 0.03]),
            "kind": draw.integers(1, 4, 12_000),
            "size": size,
            "weight": draw.uniform(0, 1, 12_000),
            "late": (size + draw.normal(0, 20, 12_000) > 60).astype(np.float64),
        }
    )


def flip(rows: pl.DataFrame, where: pl.Expr) -> pl.DataFrame:
    return rows.with_columns(late=pl.when(where).then(1 - pl.col("late")).otherwise("late"))


@pytest.mark.parametrize(
    ("where", "verdict", "named"),
    [
        (TURN % 250 == 3, Verdict.PASS, "48 of 12,000 changed (0.40%)"),
        (TURN % 100 == 3, Verdict.FAIL, "120 of 12,000 changed (1.00%)"),
        ((pl.col("shop") == "tiny") & (TURN % 8 == 0), Verdict.FAIL, "shop tiny"),
        (TURN.is_between(9000, 9050), Verdict.FAIL, "changed in validation in 2024-03-31: 51 of 100"),
        (TURN.is_between(1000, 1005), Verdict.PASS, "6 of 12,000 changed"),
    ],
)
def test_labels_have_a_limit_of_their_own_in_all_rows_in_each_part_and_in_each_slice(
    look_at: Look, many: pl.DataFrame, where: pl.Expr, verdict: Verdict, named: str
) -> None:
    found = check(look_at(flip(many, where), many), "data: labels")
    assert found.verdict is verdict
    assert named in found.found


def test_a_week_whose_labels_are_shifted_by_a_row_is_refused(look_at: Look, many: pl.DataFrame) -> None:
    week = TURN.is_between(2000, 2700)
    shifted = many.with_columns(late=pl.when(week).then(pl.col("late").shift(1)).otherwise("late"))
    assert check(look_at(shifted, many), "data: labels").verdict is Verdict.FAIL


def test_labels_are_compared_without_a_key_too(
    look_at: Look, many: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    lock = make_lock(lambda values: values["data"]["contract"].update(unique=[]))
    found = look_at(flip(many, TURN % 100 == 3), many, lock=lock)
    assert check(found, "data: labels").found.startswith("120 of 12,000 changed")
    assert found.report["rows"]["gone"] == 0


def test_rows_of_few_values_that_are_gone_are_no_other_labels(
    opened: Opened, many: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"].update(contract={**values["data"]["contract"], "unique": []})

    data, plain = make_lock(edit).data, many.with_columns(when=pl.lit(datetime(2024, 1, 2)), size=1.0, weight=1.0)
    matches = match_rows(opened(plain.sample(fraction=0.9, seed=0), data), opened(plain, data))
    assert (len(matches.candidate_rows), matches.relabelled.sum()) == (10_800, 0)


@pytest.mark.parametrize("gone", [True, False])
def test_rows_of_a_slice_that_are_gone_or_made_up_are_refused_though_they_are_few_of_all(
    look_at: Look, many: pl.DataFrame, gone: bool
) -> None:
    fewer = many.filter((pl.col("shop") != "tiny") | (TURN % 2 > 0))
    found = check(look_at(fewer, many) if gone else look_at(many, fewer), "data: rows")
    assert found.verdict is Verdict.FAIL
    assert f"; {'gone' if gone else 'added'} in " in found.found
    assert "shop tiny: " in found.found


def test_data_that_begins_later_and_ends_later_changes_no_slice(look_at: Look, many: pl.DataFrame) -> None:
    found = check(look_at(many.tail(-400), many.head(-1000)), "data: rows")
    assert found.verdict is Verdict.PASS
    assert found.found.startswith("400 of 11,000 gone (3.64%), 1,000 added")


def test_the_changed_columns_and_slices_are_named(look_at: Look, many: pl.DataFrame) -> None:
    south = (pl.col("shop") == "south") & (TURN % 20 == 0)
    now = many.with_columns(pl.when(south).then(2.0).otherwise("weight").alias("weight"), pl.col("size") + 0.0)
    found = look_at(now.with_columns(size=pl.when(TURN == 7).then(1.0).otherwise("size")), many)
    text = check(found, "data: rows").found
    assert ": weight in " in text
    assert ", size in 1" in text
    assert "changed most shop south: " in text
    assert [each["column"] for each in found.report["changed_columns"]] == ["weight", "size"]
    assert found.report["changed_slices"][0]["slice"] == "shop south"


@pytest.mark.parametrize("single", ["now", "before", "both"])
def test_numbers_that_only_lost_precision_are_the_same(opened: Opened, many: pl.DataFrame, single: str) -> None:
    rounded = many.with_columns(pl.col("size", "weight").cast(pl.Float32))
    through = rounded.with_columns(pl.col("size", "weight").cast(pl.Float64))
    now, before = {"now": (rounded, many), "before": (many, through), "both": (rounded, through)}[single]
    matches = match_rows(opened(now), opened(before))
    assert not matches.changed.any()
    moved = now.with_columns(pl.col("size") * (1 + 1e-5))
    assert match_rows(opened(moved), opened(before)).changed.mean() > 0.99


def test_doubles_are_compared_to_the_last_bit(opened: Opened, many: pl.DataFrame) -> None:
    moved = opened(many.with_columns(pl.col("size") * (1 + 1e-12)))
    matches = match_rows(moved, opened(many))
    assert matches.changed.mean() > 0.9
    assert list(count_changed_columns(moved, opened(many), matches)) == ["size"]


def cells(**counts: list[int]) -> CellCounts:
    """Return cells of the training part: the whole part first, then shops."""
    height = len(next(iter(counts.values())))
    frame = {"part": [0] * height, "column": [None, *["shop"] * (height - 1)], "value": ["a"] * height}
    empty = {name: [0] * height for name in COUNTS}
    dates = dict.fromkeys(("month", "day"), pl.Series([None] * height, dtype=pl.Date))
    return CellCounts(pl.DataFrame({**frame, **dates, **empty, **counts}), 200)


@pytest.mark.parametrize(
    ("rows", "count", "over"),
    [(1000, 73, False), (1000, 74, True), (199, 199, False), (200, 200, True)],  # 5 % of 1,000 and four deviations
)
def test_a_slice_is_over_its_limit_beyond_chance_and_from_a_number_of_rows_on(
    rows: int, count: int, over: bool
) -> None:
    counted = cells(matched=[10_000, rows], changed=[0, count])
    limit = 0.05 / CELL_FACTOR
    assert (counted.find_worst("changed", limit) is not None) is over


def test_a_limit_of_0_allows_no_change_and_one_of_1_allows_any() -> None:
    counted = cells(matched=[10_000, 400], changed=[1, 1])
    assert counted.find_worst("changed", 0.0) is not None
    assert counted.find_worst("changed", 1.0) is None


def test_rows_without_a_time_are_in_no_month(
    opened: Opened, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"].update(time=None, window=None, split={"by": "random", "validation": 0.2, "test": 0.2})

    data = make_lock(edit).data
    now, before = opened(good, data), opened(good.head(900), data)
    counted = count_cells(now, before, match_rows(now, before), ["shop"], 200)
    assert counted.frame["month"].null_count() == counted.frame.height
    assert counted.count("added") == (0, 900)
    assert counted.count("gone") == (0, 900)


@pytest.mark.parametrize("share", [20, 30])
@pytest.mark.parametrize("gone", [True, False])
def test_rows_that_came_or_went_by_their_label_are_refused_though_they_are_few(
    look_at: Look, many: pl.DataFrame, share: int, gone: bool
) -> None:
    fewer = many.filter((pl.col("late") == 0) | (TURN % share > 0))
    found = check(look_at(fewer, many) if gone else look_at(many, fewer), "data: labels")
    assert found.verdict is Verdict.FAIL
    assert f"{'gone' if gone else 'added'} rows were selected by their label" in found.found


def test_a_day_that_is_gone_was_not_selected_by_its_labels(look_at: Look, many: pl.DataFrame) -> None:
    late_day = many.with_columns(late=pl.when(TURN.is_between(2000, 2099)).then(1.0).otherwise("late"))
    found = check(look_at(late_day.filter(~TURN.is_between(2000, 2099)), late_day), "data: labels")
    assert found.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("rows", "excess", "beyond"), [(400, 80.0, False), (400, 81.0, True), (100, 50.0, False), (100, 50.1, True)]
)
def test_rows_are_selected_beyond_the_limit_and_beyond_chance(rows: int, excess: float, beyond: bool) -> None:
    assert Selectivity(rows, excess, 10_000).is_beyond(0.005) is beyond


def test_above_and_below_the_median_are_the_labels_of_a_regression(
    opened: Opened, many: pl.DataFrame, lock: Lock
) -> None:
    data = lock.data.model_copy(update={"target": lock.data.target.model_copy(update={"task": "regression"})})
    dataset = opened(many.with_columns(late=pl.col("size")), data)
    found = measure_selectivity(dataset, (many["size"] > 60).to_numpy())
    assert found.excess > 0.45 * found.rows
