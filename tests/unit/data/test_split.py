from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.schema import Lock
from merit.config.schema.data import GroupSplit
from merit.data.split import assign_groups, assign_parts, list_split_columns, split_table
from merit.errors import MeritError


def test_each_row_falls_to_one_part_and_each_part_ends_with_its_day(table: pl.DataFrame, lock: Lock) -> None:
    parts = split_table(table, lock.data)
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
    parts = split_table(pl.DataFrame({"when": times}), lock.data)
    assert [part.height for part in parts.values()] == [1, 2, 2]


def test_rows_after_the_last_day_fall_to_no_part(make_lock: Callable[..., Lock]) -> None:
    days = [datetime(2024, 1, day) for day in (1, 2, 3, 4)]
    ends = {"train_until": "2024-01-01", "validation_until": "2024-01-02", "test_until": "2024-01-03"}
    parts = split_table(
        pl.DataFrame({"when": days}), make_lock(lambda values: values["data"]["split"].update(ends)).data
    )
    assert pl.concat(parts.values())["when"].to_list() == days[:3]


def test_a_row_after_the_last_day_or_without_a_time_has_no_part(lock: Lock) -> None:
    times = [datetime(2024, 2, 29), datetime(2024, 3, 31), datetime(2024, 12, 31), datetime(2025, 1, 1), None]
    assert assign_parts(pl.DataFrame({"when": times}), lock.data).to_list() == [0, 1, 2, -1, -1]


def test_a_split_depends_on_its_time_or_on_the_target_and_the_group(make_lock: Callable[..., Lock], lock: Lock) -> None:
    def split_by_shop(values: dict[str, Any]) -> None:
        values["data"]["split"] = {"by": "group", "column": "shop", "validation": 0.2, "test": 0.2}

    assert list_split_columns(lock.data) == ["when"]
    assert list_split_columns(make_lock(_by_lot("binary")).data) == ["late"]
    assert list_split_columns(make_lock(split_by_shop).data) == ["late", "shop"]


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
        split_table(table, lock.data)
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
    parts = split_table(rows, make_lock(_by_lot(task)).data)
    assert [part.height for part in parts.values()] == [500, 200, 300]
    assert sorted(pl.concat(parts.values())["row"]) == list(range(1000))
    assert all(part["row"].is_sorted() for part in parts.values())
    if task != "regression":
        assert all(part["late"].mean() == pytest.approx(0.1) for part in parts.values())


def test_the_lot_is_the_same_on_every_run_and_another_with_another_seed(make_lock: Callable[..., Lock]) -> None:
    rows = pl.DataFrame({"row": range(100), "late": [0.0, 1.0] * 50})
    first, again, other = (
        split_table(rows, make_lock(_by_lot("binary", seed=seed)).data)["test"] for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


def test_too_few_rows_for_a_part_by_lot_are_told(make_lock: Callable[..., Lock]) -> None:
    rows = pl.DataFrame({"late": [0.0, 1.0, 0.0, 1.0]})
    with pytest.raises(
        MeritError, match=r"^data\.split: no rows fall to the validation part; the data has 4 rows: raise"
    ):
        split_table(rows, make_lock(_by_lot("binary", validation=0.05, test=0.5)).data)


def _grouped(groups: Any, classes: Any = None, **shares: Any) -> pl.DataFrame:
    """Return the rows with the place of each one's part, once no group is found in two of them."""
    rows = pl.DataFrame({"group": groups, "class": [0.0] * len(groups) if classes is None else classes}, strict=False)
    how = GroupSplit(**{"by": "group", "column": "group", "validation": 0.2, "test": 0.2} | shares)
    found = rows.with_columns(part=assign_groups(rows["group"], None if classes is None else rows["class"], how))
    assert found.drop_nulls("group").group_by("group").agg(pl.col("part").n_unique())["part"].to_list().count(1) == (
        found["group"].drop_nulls().n_unique()
    )
    return found


def _shares(found: pl.DataFrame) -> list[float]:
    return [float((found["part"] == part).mean()) for part in range(3)]  # type: ignore[arg-type]  # a share


def test_a_group_falls_to_one_part_and_the_parts_get_their_shares_of_rows_and_classes(
    make_lock: Callable[..., Lock],
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["split"] = {"by": "group", "column": "kind", "validation": 0.2, "test": 0.2}
        values["data"]["target"] = {"name": "late", "sql": "x"}

    draw = np.random.default_rng(0)
    rows = pl.DataFrame({"kind": draw.integers(0, 300, 3000), "late": (draw.random(3000) < 0.1).astype(float)})
    parts = split_table(rows, make_lock(edit).data)
    assert [part.height / 3000 for part in parts.values()] == pytest.approx([0.6, 0.2, 0.2], abs=0.005)
    assert [part["late"].mean() for part in parts.values()] == pytest.approx([rows["late"].mean()] * 3, abs=0.01)
    assert pl.concat(part.select(pl.col("kind").unique()) for part in parts.values())["kind"].is_unique().all()


@pytest.mark.parametrize("kind", [int, float, lambda value: f"p{value}"], ids=["integer", "number", "text"])
def test_the_split_by_group_depends_on_the_seed_and_not_on_the_order_of_rows(kind: Callable[[int], Any]) -> None:
    groups, classes = [kind(i // 5) for i in range(400)], [float(i % 7 == 0) for i in range(400)]
    order = np.random.default_rng(0).permutation(400)
    found = _grouped(groups, classes)
    shuffled = _grouped([groups[i] for i in order], [classes[i] for i in order])
    assert shuffled["part"].to_list() == found["part"].gather(order).to_list()
    assert _grouped(groups, classes, seed=1)["part"].to_list() != found["part"].to_list()


def test_where_whole_groups_fall_is_the_same_with_every_version() -> None:
    parts = _grouped([f"p{i}" for i in range(10)])["part"].to_list()
    assert parts == [0, 0, 0, 2, 0, 2, 0, 0, 1, 1]


def test_where_groups_of_unlike_sizes_and_classes_fall_is_the_same_with_every_version() -> None:
    sizes = [1, 2, 3, 5, 8, 13, 4, 6, 7, 9]
    groups = [f"p{number}" for number, size in enumerate(sizes) for _ in range(size)]
    parts = _grouped(groups, [float(row % 3 == 0) for row in range(58)]).unique("group", maintain_order=True)["part"]
    assert parts.to_list() == [2, 2, 1, 0, 2, 0, 0, 0, 0, 1]


def test_as_many_groups_as_empty_parts_fill_them_even_where_another_part_needs_rows_more() -> None:
    found = _grouped([0] * 48 + [1] * 46 + [2] * 6, validation=0.1, test=0.1)
    assert sorted(_shares(found)) == pytest.approx([0.06, 0.46, 0.48])


def test_a_part_may_have_half_of_its_share_and_no_less() -> None:
    assert _shares(_grouped([0] * 85 + [1] * 10 + [2] * 5, validation=0.1, test=0.1))[0] == 0.85
    with pytest.raises(MeritError, match=r"leave 4\.0% of the rows to the (test|validation) part, where 10\.0% are"):
        _grouped([0] * 86 + [1] * 10 + [2] * 4, validation=0.1, test=0.1)


def test_a_group_of_most_rows_falls_to_the_training_part_and_the_others_share_the_rest() -> None:
    found = _grouped([0] * 600 + [1 + i % 100 for i in range(400)])
    assert _shares(found) == pytest.approx([0.6, 0.2, 0.2], abs=0.01)
    assert found["part"][0] == 0


def test_rows_without_a_group_fall_to_the_training_part() -> None:
    found = _grouped([None] * 50 + [i // 10 for i in range(350)])
    assert set(found["part"].head(50)) == {0}
    assert _shares(found) == pytest.approx([0.6, 0.2, 0.2], abs=0.03)


@pytest.mark.parametrize("groups", [3, 4, 5])
def test_a_few_groups_fill_every_part(groups: int) -> None:
    assert min(_shares(_grouped([i % groups for i in range(60)], [float(i % 2) for i in range(60)]))) > 0


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([1, 2] * 50, "found 2 different values in the column 'group'; at least 3 are needed, one for each part"),
        (
            [0] * 950 + list(range(50)),
            "whole groups of 'group' leave 2.5% of the rows to the validation part, where 20.0% are asked for "
            "(the largest group has 95.1%); ask for shares that groups allow, name a column of smaller groups",
        ),
    ],
)
def test_groups_that_can_not_make_three_parts_are_refused(groups: list[int], says: str) -> None:
    with pytest.raises(MeritError) as caught:
        _grouped(groups)
    assert says in str(caught.value)
