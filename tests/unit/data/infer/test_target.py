from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.compose import compose
from merit.config.schema import Lock
from merit.data.infer import InferredConfig, infer
from merit.data.ingest import ingest
from merit.errors import MeritError

ROWS = 400
DRAW = np.random.default_rng(0)
COUNTS = DRAW.poisson(1.5, ROWS).tolist()
CLASSES = [["mild", "severe", "none"][i % 3] for i in range(ROWS)]


@pytest.fixture
def table(conf: Path) -> dict[str, Any]:
    """A few columns that a target may follow."""
    return {"x": DRAW.normal(size=ROWS).round(4).tolist(), "c": DRAW.choice(["a", "b"], ROWS).tolist()}


def _infer(table: dict[str, Any], values: list[Any], **how: Any) -> tuple[InferredConfig, Lock]:
    pl.DataFrame({**table, "y": values}, strict=False).write_csv("t.csv")
    found = infer("t.csv", "y", force=True, **how)
    return found, compose(["experiment=t"])


def test_counts_that_thin_out_are_a_regression_and_keep_all_rows(table: dict[str, Any]) -> None:
    found, lock = _infer(table, COUNTS)
    assert (lock.data.target.task, lock.data.filter, found.rows) == ("regression", None, ROWS)
    assert found.target.change == "classes and no amounts: 'merit infer t.csv --target y --task multiclass --force'"


def test_codes_are_classes_and_the_way_to_a_number_is_one_command_that_keeps_all_rows(table: dict[str, Any]) -> None:
    codes = [i % 3 for i in range(ROWS - 3)] + [1, 1, 1]
    codes[:4] = [7, 7, 7, 7]
    codes[10:40] = [8] * 30
    found, lock = _infer(table, codes)
    assert (lock.data.target.task, lock.data.target.classes) == ("multiclass", [0, 1, 2, 8])
    assert found.rows == ROWS - 4
    assert found.target.change.startswith(
        "amounts and no classes: 'merit infer t.csv --target y --task regression --force'"
    )
    _, again = _infer(table, codes, task="regression")
    assert (again.data.target.task, again.data.filter) == ("regression", None)
    assert ingest(again.data).height == ROWS


@pytest.mark.parametrize(
    ("values", "task", "says"),
    [
        (CLASSES, "binary", "--task binary: 'y' has 3 values, and it takes two; add a column"),
        (CLASSES, "regression", "--task regression: 'y' holds words, such as 'mild'; a regression predicts numbers"),
        ([i / 7 for i in range(ROWS)], "multiclass", "--task multiclass: 'y' holds fractions; classes are words"),
    ],
)
def test_a_task_that_the_values_can_not_be_of_is_refused(
    table: dict[str, Any], values: list[Any], task: str, says: str
) -> None:
    with pytest.raises(MeritError) as caught:
        _infer(table, values, task=task)
    assert says in str(caught.value)


def test_two_numbers_may_be_a_regression_if_that_is_asked_for(table: dict[str, Any]) -> None:
    _, lock = _infer(table, [i % 2 for i in range(ROWS)], task="regression")
    assert (lock.data.target.task, lock.gate.floors) == ("regression", {"r2": 0.0})


def test_codes_with_leading_zeros_are_classes(table: dict[str, Any]) -> None:
    _, lock = _infer(table, [["010", "020", "030"][i % 3] for i in range(ROWS)])
    assert (lock.data.target.task, lock.data.target.classes) == ("multiclass", ["010", "020", "030"])
    assert ingest(lock.data).height == ROWS


def test_none_is_a_class_where_it_is_a_word_and_missing_among_the_numbers_of_another_column(
    table: dict[str, Any],
) -> None:
    dose = ["none" if i % 9 == 0 else str(i / 10) for i in range(ROWS)]
    found, lock = _infer({**table, "dose": dose}, CLASSES)
    assert (found.rows, lock.data.target.classes) == (ROWS, ["mild", "none", "severe"])
    assert lock.data.columns["dose"].null_values == ["none"]
    made = ingest(lock.data)
    assert (made.height, made["dose"].null_count()) == (ROWS, dose.count("none"))


def test_a_word_among_few_numbers_is_a_class_unless_it_surely_means_missing(table: dict[str, Any]) -> None:
    found, lock = _infer(table, [["1", "2", "none"][i % 3] for i in range(ROWS)])
    assert lock.data.target.classes == ["1", "2", "none"]
    assert "'y': 'none' among few numbers is taken for a class" in found.notes
    found, lock = _infer(table, [["1", "2", "NA"][i % 3] for i in range(ROWS)])
    assert (lock.data.target.task, lock.data.columns["y"].null_values) == ("binary", ["NA"])
    assert ingest(lock.data).height == found.rows == 267


def test_a_number_with_a_decimal_comma_may_be_the_target(table: dict[str, Any]) -> None:
    found, lock = _infer(table, [f"{i / 7:.2f}".replace(".", ",") for i in range(ROWS)])
    assert (lock.data.target.task, lock.data.columns["y"].decimal) == ("regression", ",")
    assert ingest(lock.data)["y"].max() == 57.0
    assert found.notes == []


def test_classes_that_differ_in_blanks_or_capitals_alone_are_told(table: dict[str, Any]) -> None:
    found, lock = _infer(table, [["yes", "Yes ", "no"][i % 3] for i in range(ROWS)])
    assert lock.data.target.classes == ["Yes ", "no", "yes"]
    assert found.notes == [
        "'Yes ', 'yes' differ in blanks or capitals alone, and are classes of their own; write them alike"
    ]


def test_a_mark_that_nobody_calls_a_class_means_no_answer(table: dict[str, Any]) -> None:
    found, lock = _infer(table, [["good", "bad", "?"][i % 3] for i in range(ROWS)])
    assert (lock.data.target.task, lock.data.columns["y"].null_values) == ("binary", ["?"])
    assert found.notes[0] == "'y': '?' in 133 of 400 rows: read as no answer (null_values)"
    assert ingest(lock.data).height == found.rows == 267


def test_blanks_around_a_class_are_told(table: dict[str, Any]) -> None:
    found, _ = _infer(table, [["good ", "bad"][i % 2] for i in range(ROWS)])
    assert found.notes == ["blanks around words are part of a class, as in 'good '"]


def test_a_class_that_may_mean_no_answer_is_told_with_what_to_do(table: dict[str, Any]) -> None:
    found, lock = _infer(table, [["good", "bad", "N/A"][i % 3] for i in range(ROWS)])
    assert lock.data.target.classes == ["N/A", "bad", "good"]
    assert found.notes[0].endswith("is taken for a class; if it means that there is no answer, empty these cells")


def test_a_header_with_quotes_names_the_target(table: dict[str, Any]) -> None:
    name = 'Loan "Status" (Y/N)?'
    pl.DataFrame({**table, name: [["Y", "N"][i % 2] for i in range(ROWS)]}).write_csv("t.csv")
    infer("t.csv", name)
    lock = compose(["experiment=t"])
    assert lock.data.target.name == name
    assert ingest(lock.data)[name].mean() == 0.5


@pytest.mark.parametrize("name", ["y", 'Loan "Status" (Y/N)?', "end", "it's", "a: b #c"])
def test_the_comment_that_turns_the_answer_round_can_be_taken_as_it_is(table: dict[str, Any], name: str) -> None:
    pl.DataFrame({**table, name: [["it's", "no: b"][i % 4 == 0] for i in range(ROWS)]}).write_csv("t.csv")
    infer("t.csv", name)
    place = Path("conf/data/t.yaml")
    text = place.read_text(encoding="utf-8")
    guessed = next(line for line in text.splitlines() if line.startswith("  sql: "))
    place.write_text(text.replace(f"{guessed}\n", "").replace("# the other way round: sql:", "sql:"), encoding="utf-8")
    assert ingest(compose(["experiment=t"]).data)[name].mean() == 0.75
