import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from merit.gate import slice_search
from merit.gate.slice_conditions import list_conditions, select_columns
from merit.gate.slice_search import FoundSlice, SliceTable, find_worst_slice, prepare_slices

ROWS, DAYS = 3_000, 30
DRAW = np.random.default_rng(0)
BLOCKS = np.arange(ROWS) * DAYS // ROWS
COLUMNS = {
    "temp": pl.Series(DRAW.normal(50, 20, ROWS)),
    "rain": pl.Series(np.where(DRAW.random(ROWS) < 0.6, 0.0, DRAW.random(ROWS))),
    "carrier": pl.Series(DRAW.choice(["AA", "B6", "UA"], ROWS)),
}
FREEZING_AND_WET = (COLUMNS["temp"].to_numpy() < 35) & (COLUMNS["rain"].to_numpy() > 0)
NOISE = DRAW.normal(0, 1, ROWS)


def prepare(
    columns: dict[str, pl.Series] = COLUMNS, blocks: NDArray[np.intp] | None = BLOCKS, min_rows: int = 60
) -> SliceTable:
    table = prepare_slices(columns, blocks, np.abs(NOISE), min_rows)
    assert table is not None
    return table


def find(errors: NDArray[np.float64], table: SliceTable | None = None, *, is_signed: bool = True) -> FoundSlice:
    found = find_worst_slice(table or prepare(), errors, confidence=0.95, seed=1, is_signed=is_signed)
    assert found is not None
    return found


def test_conditions_are_thresholds_values_and_missing_ones() -> None:
    columns = {"size": pl.Series([1.0, 1.0, 2.0, None]), "kind": pl.Series(["a", "b", None, "a"])}
    masks = {each.text: each.mask.tolist() for each in list_conditions(columns, 1)}
    assert masks == {
        "size missing": [False, False, False, True],
        "size at most 1": [True, True, False, False],
        "size above 1": [False, False, True, False],
        "size at most 2": [True, True, True, False],
        "kind missing": [False, False, True, False],
        "kind is a": [True, False, False, True],
        "kind is b": [False, True, False, False],
    }
    assert [each.text for each in list_conditions(columns, 2)] == ["size at most 1", "size at most 2", "kind is a"]


def test_a_time_gives_its_hour_and_its_weekday_and_an_array_nothing() -> None:
    rows = pl.DataFrame({"at": ["2013-10-05 07:30"], "pixels": [[1.0, 2.0]], "kind": ["a"]}).with_columns(
        pl.col("at").str.to_datetime(), pl.col("pixels").cast(pl.Array(pl.Float64, 2))
    )
    columns = select_columns(rows, rows.columns)
    assert {name: each.to_list() for name, each in columns.items()} == {
        "weekday of at": [6],
        "hour of at": [7],
        "kind": ["a"],
    }


def test_a_slice_of_two_conditions_is_named_with_its_rows_and_days() -> None:
    found = find(NOISE * 0.2 + 0.3 * FREEZING_AND_WET)
    assert found.rule.startswith("temp at most ")
    assert found.rule.endswith(" and rain above 0")
    assert (found.mask & ~FREEZING_AND_WET).sum() < 0.2 * found.mask.sum()
    assert found.blocks == DAYS
    assert found.error.value == pytest.approx(np.mean((NOISE * 0.2 + 0.3 * FREEZING_AND_WET)[found.mask]), abs=1e-5)
    assert 0 < found.error.low < found.error.value < 0.3 < found.error.high


def test_what_is_better_is_not_worse_but_may_be_off() -> None:
    errors = NOISE * 0.2 - 0.3 * FREEZING_AND_WET
    assert find(errors).error.low < 0
    off = find(errors, is_signed=False)
    assert off.rule.endswith(" and rain above 0")
    assert off.error.high < 0


def test_rows_of_one_day_are_one_witness() -> None:
    days = np.arange(ROWS) % DAYS  # not in the order of the rows: neighbours that are merged are of other days
    errors = np.random.default_rng(3).normal(0.3, 1, DAYS)[days]
    by_day, by_row = (find(errors, prepare(blocks=blocks)).error for blocks in (days, None))
    assert by_day.low < 0 < by_row.low


@pytest.mark.parametrize("kind", ["rows", "days"])
def test_noise_alone_is_seldom_sure(kind: str) -> None:
    table, alarms, rounds = prepare(min_rows=300), 0, 40
    for seed in range(rounds):
        draw = np.random.default_rng(seed)
        noise = draw.normal(0, 1, ROWS) if kind == "rows" else draw.normal(0, 1, DAYS)[BLOCKS] + draw.normal(0, 1, ROWS)
        found = find_worst_slice(table, noise, confidence=0.95, seed=seed, is_signed=True)
        alarms += found is not None and found.error.low > 0
    assert alarms <= 0.1 * rounds


def test_slices_have_the_least_rows_and_days() -> None:
    table = prepare(min_rows=200)
    assert table.counts.sum(axis=0).min() >= 200
    for days, is_searched in ((slice_search.MIN_BLOCKS - 1, False), (slice_search.MIN_BLOCKS, True)):
        table = prepare({"new": pl.Series(days > BLOCKS)})
        assert ("new is true" in {table.conditions[each].text for each in table.pairs[0]}) == is_searched
    assert prepare_slices({"carrier": COLUMNS["carrier"].head(400)}, BLOCKS[:400], np.abs(NOISE[:400]), 10) is None


def test_of_too_many_conditions_those_with_unlike_errors_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_search, "MAX_CONDITIONS", 6)
    relevance = np.abs(NOISE) + 5 * FREEZING_AND_WET
    table = prepare_slices(COLUMNS, BLOCKS, relevance, 60)
    assert table is not None
    assert len(table.conditions) == 6
    assert any(each.text == "rain above 0" for each in table.conditions)
    assert not any(each.text.startswith("carrier") for each in table.conditions)


def test_of_too_many_rows_and_blocks_some_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_search, "MAX_ROWS", 1_000)
    monkeypatch.setattr(slice_search, "MAX_BLOCKS", 10)
    table = prepare(min_rows=90)
    assert (len(table.sample), table.counts.shape[0]) == (1_000, 10)
    assert table.counts.sum(axis=0).min() >= 30
    found = find(NOISE * 0.2 + 0.5 * FREEZING_AND_WET, table)
    assert " and rain above " in found.rule
    assert (len(found.mask), found.blocks) == (ROWS, DAYS)


def test_equal_errors_and_errors_that_are_no_numbers_find_nothing() -> None:
    table = prepare()
    for errors in (np.zeros(ROWS), np.where(np.arange(ROWS) == 7, np.nan, NOISE)):
        assert find_worst_slice(table, errors, confidence=0.95, seed=1, is_signed=True) is None


def test_the_same_seed_finds_the_same() -> None:
    assert find(NOISE).error == find(NOISE).error
