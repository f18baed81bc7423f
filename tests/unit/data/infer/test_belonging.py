from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.compose import compose
from merit.config.schema import Lock
from merit.data.infer import InferredConfig, infer
from merit.data.infer.belonging import find_entities, hint_entities

ROWS = 400


@pytest.fixture
def visits(conf: Path) -> dict[str, Any]:
    """400 visits, five of each of 80 patients."""
    draw = np.random.default_rng(0)
    return {
        "patient_id": [1000 + i // 5 for i in range(ROWS)],
        "day": [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(ROWS)],
        "x": draw.normal(size=ROWS).round(3).tolist(),
        "c": draw.choice(["a", "b"], ROWS).tolist(),
        "y": draw.integers(0, 2, ROWS).tolist(),
    }


def _infer(columns: dict[str, Any], **how: Any) -> tuple[InferredConfig, Lock]:
    pl.DataFrame(columns, strict=False).write_csv("visits.csv")
    found = infer("visits.csv", "y", **how)
    return found, compose(["experiment=visits"])


def test_rows_of_one_patient_stay_in_one_part_and_the_id_is_no_feature(visits: dict[str, Any]) -> None:
    found, lock = _infer(visits)
    split = {"by": "group", "column": "patient_id", "validation": 0.2, "test": 0.2, "seed": 0}
    assert lock.data.split.model_dump() | split == lock.data.split.model_dump()
    assert (lock.data.columns["patient_id"].type, lock.data.columns["patient_id"].feature) == ("integer", "none")
    (note,) = found.notes
    assert "'patient_id' repeats (80 values in 400 rows): all rows of one stay in one part" in note
    assert "asked about the same ones again, split: {by: random, validation: 0.2, test: 0.2}" in note
    assert "train 240 rows, validation 80 rows, test 80 rows" in Path("conf/data/visits.yaml").read_text()


def test_what_a_note_says_to_do_otherwise_composes(visits: dict[str, Any]) -> None:
    found, _ = _infer(visits)
    for place, text in {"data": "split: {by: random", "experiment": "gate: {data: {leakage: {entity: []}}}"}.items():
        assert text in found.notes[0], place
    lock = compose(
        ["experiment=visits", "~data.split", "+data.split={by: random, validation: 0.2, test: 0.2}",
         "gate.data.leakage.entity=[]"]
    )  # fmt: skip
    assert (lock.data.split.by, lock.gate.data.leakage.entity) == ("random", [])


def test_split_by_time_it_is_said_that_the_same_ones_are_on_both_sides(visits: dict[str, Any]) -> None:
    found, lock = _infer(visits, time="day")
    assert lock.data.split.by == "time"
    assert lock.data.columns["patient_id"].feature == "none"
    assert any("the model is judged on later rows of the same ones" in note for note in found.notes)


@pytest.mark.parametrize(
    ("patients", "says"),
    [
        ([1000 + i % 4 for i in range(ROWS)], "(4 values in 400 rows), too few to split by"),
        ([1 + i % 50 if i > 360 else 0 for i in range(ROWS)], "whole groups of 'patient_id' leave"),
    ],
    ids=["few", "one of nearly all rows"],
)
def test_groups_that_can_not_be_split_are_said_and_the_split_is_by_lot(
    visits: dict[str, Any], patients: list[int], says: str
) -> None:
    found, lock = _infer({**visits, "patient_id": patients})
    assert lock.data.split.by == "random"
    assert "patient_id" not in lock.data.columns
    assert says in found.notes[0]
    assert "rows of one patient_id are on both sides" in found.notes[0]


def test_rows_without_a_patient_keep_their_place(visits: dict[str, Any]) -> None:
    _, lock = _infer({**visits, "patient_id": [None] * 20 + visits["patient_id"][20:]})
    assert (lock.data.split.by, lock.data.columns["patient_id"].missing > 0.05) == ("group", True)


def test_an_id_of_what_recurs_is_a_category_and_no_group(visits: dict[str, Any]) -> None:
    del visits["patient_id"]
    _, lock = _infer({**visits, "store_id": [1 + i % 30 for i in range(ROWS)]})
    assert lock.data.split.by == "random"
    assert (lock.data.columns["store_id"].type, lock.data.columns["store_id"].feature) == ("integer", "category")


def _table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns)


@pytest.mark.parametrize(
    ("columns", "first"),
    [
        ({"id": lambda i: i // 2, "patient": lambda i: i // 5}, "patient"),
        ({"session_id": lambda i: i // 2, "user_id": lambda i: i // 8}, "user_id"),
        ({"user_id": lambda i: i // 5, "machine_id": lambda i: i % 80}, "user_id"),
        ({"case_id": lambda i: i // 2, "x": lambda i: i}, "case_id"),
    ],
    ids=["a name that says so", "sessions of users", "first in the table", "a mere id"],
)
def test_of_several_ids_the_one_to_split_by_comes_first(columns: dict[str, Any], first: str) -> None:
    table = _table(**{name: [make(i) for i in range(ROWS)] for name, make in columns.items()})
    assert find_entities(table, table.columns)[0].name == first


def test_a_column_that_may_name_what_rows_belong_to_is_hinted_at() -> None:
    draw = np.random.default_rng(0)
    table = _table(
        probe=[f"P{i // 5}" for i in range(ROWS)],
        farm_code=draw.integers(0, 40, ROWS),
        week=[i // 8 for i in range(ROWS)],
        x=draw.normal(size=ROWS),
        size=draw.integers(0, 100, ROWS),
    )
    assert list(hint_entities(table, table.columns)) == [
        "'probe' has 80 values, each in 5 rows: if it names a patient, a machine or the like, declare it without a "
        "feature and split: {by: group, column: probe, validation: 0.2, test: 0.2}"
    ]
    codes = [17 * (i % 40) for i in draw.integers(0, 40, ROWS)]
    known = _table(probe=codes, sex=[code % 2 for code in codes], born=[code % 9 for code in codes])
    assert [hint.partition(":")[0] for hint in hint_entities(known, known.columns)] == [
        "'probe' has 40 values, and sex, born follow from it"
    ]
