import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.data import contract
from merit.data.contract import Violation
from merit.errors import MeritError, Refused
from tests.conftest import put


@pytest.fixture
def raw(table: pl.DataFrame) -> pl.DataFrame:
    """The tiny data as `ingest` leaves it: it keeps its contract."""
    return table.with_columns(late=(pl.col("delay") >= 10).cast(pl.Float64)).drop("delay")


def _data(make_lock: Callable[..., Lock], **edits: Any) -> Data:
    return make_lock(lambda values: put(values["data"], edits)).data


def _only(table: pl.DataFrame, data: Data) -> Violation:
    (found,) = contract.find_violations(table, data)
    return found


def test_a_table_that_keeps_its_contract_has_no_violation(raw: pl.DataFrame, lock: Lock) -> None:
    assert contract.find_violations(raw, lock.data) == []


@pytest.mark.parametrize("limits", [{"min": 241, "max": 500}, {"min": 1, "max": 239}])
def test_too_few_or_too_many_rows_are_found(
    raw: pl.DataFrame, make_lock: Callable[..., Lock], limits: dict[str, int]
) -> None:
    found = _only(raw, _data(make_lock, contract__rows=limits))
    assert found == Violation("rows", "", "240 rows", f"{limits['min']} to {limits['max']}", 240, [])


@pytest.mark.parametrize("limits", [{"min": 240, "max": 500}, {"min": 1, "max": 240}])
def test_the_bounds_of_the_number_of_rows_are_inside(
    raw: pl.DataFrame, make_lock: Callable[..., Lock], limits: dict[str, int]
) -> None:
    assert contract.find_violations(raw, _data(make_lock, contract__rows=limits)) == []


def test_a_key_that_comes_twice_is_found_with_its_rows(raw: pl.DataFrame, lock: Lock) -> None:
    found = _only(pl.concat([raw, raw[[3, 5]]]), lock.data)
    assert (found.check, found.column, found.rows) == ("unique", "when", 4)
    assert [example["row"] for example in found.examples] == [3, 5, 240]


def test_a_key_of_many_columns_is_unique_as_a_whole(raw: pl.DataFrame, make_lock: Callable[..., Lock]) -> None:
    data = _data(make_lock, contract__unique=["shop", "kind"])
    assert _only(raw, data).column == "shop, kind"
    assert contract.find_violations(raw, _data(make_lock, contract__unique=["when", "shop"])) == []


def test_missing_values_beyond_the_allowed_share_are_found(raw: pl.DataFrame, make_lock: Callable[..., Lock]) -> None:
    found = _only(raw, _data(make_lock, columns__size__missing=0.05))
    assert (found.check, found.column, found.found, found.allowed, found.rows) == (
        "missing",
        "size",
        "10.00% missing",
        "at most 5.00%",
        24,
    )
    assert [example["row"] for example in found.examples] == [0, 10, 20]
    assert contract.find_violations(raw, _data(make_lock, columns__size__missing=0.1)) == []


def test_one_missing_value_is_found_where_none_is_allowed(raw: pl.DataFrame, lock: Lock) -> None:
    rows = raw.with_columns(shop=pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise("shop"))
    found = _only(rows, lock.data)
    assert (found.check, found.column, found.rows, found.examples[0]["row"]) == ("missing", "shop", 1, 7)


@pytest.mark.parametrize(
    ("edit", "allowed", "values"),
    [({"columns__kind__min": 2}, "at least 2", "1"), ({"columns__kind__max": 2}, "at most 2", "3")],
)
def test_values_out_of_range_are_found_with_examples(
    raw: pl.DataFrame, make_lock: Callable[..., Lock], edit: dict[str, int], allowed: str, values: str
) -> None:
    found = _only(raw, _data(make_lock, **edit))
    rows = raw.filter(pl.col("kind") == int(values))
    assert (found.check, found.column, found.allowed, found.rows) == ("range", "kind", allowed, rows.height)
    assert found.found == f"{values} in {rows.height} rows"
    assert found.examples == [
        {**row, "when": str(row["when"]) + ".000000", "row": example["row"]}
        for row, example in zip(rows.head(3).to_dicts(), found.examples, strict=True)
    ]
    assert all(raw["kind"][example["row"]] == int(values) for example in found.examples)


@pytest.mark.parametrize(
    ("column", "allowed", "bad"),
    [("shop", ["north", "south"], "west"), ("kind", [1, 2], "3")],
    ids=["strings", "integers"],
)
def test_values_that_are_not_among_the_allowed_are_found(
    raw: pl.DataFrame, make_lock: Callable[..., Lock], column: str, allowed: list[Any], bad: str
) -> None:
    found = _only(raw, _data(make_lock, **{f"columns__{column}__allowed": allowed}))
    assert (found.check, found.column) == ("allowed", column)
    assert found.found == f"{bad} in {found.rows} rows"
    assert found.allowed == f"one of {', '.join(map(str, allowed))}"
    assert found.rows == (raw[column].cast(pl.String) == bad).sum()
    assert len(found.examples) == 3


def test_missing_values_are_not_out_of_range(raw: pl.DataFrame, make_lock: Callable[..., Lock]) -> None:
    assert contract.find_violations(raw, _data(make_lock, columns__size__min=-1000)) == []
    found = _only(raw, _data(make_lock, columns__size__max=40))
    assert found.rows == (raw["size"] > 40).sum()


def test_several_violations_are_found_at_once(raw: pl.DataFrame, make_lock: Callable[..., Lock]) -> None:
    data = _data(
        make_lock,
        contract__rows={"min": 1000, "max": 2000},
        columns__size__missing=0.0,
        columns__kind__min=2,
        columns__kind__max=2,
        columns__shop__allowed=["north"],
    )
    found = contract.find_violations(pl.concat([raw, raw.head(1)]), data)
    assert sorted((each.check, each.column) for each in found) == [
        ("allowed", "shop"),
        ("missing", "size"),
        ("range", "kind"),
        ("range", "kind"),
        ("rows", ""),
        ("unique", "when"),
    ]


def test_a_column_may_be_called_row(raw: pl.DataFrame, make_lock: Callable[..., Lock]) -> None:
    data = _data(make_lock, columns__row={"type": "integer", "max": 1})
    found = _only(raw.with_columns(row=pl.int_range(pl.len()) % 3), data)
    assert (found.column, found.rows, found.found) == ("row", 80, "2 in 80 rows")
    assert [(example["row number"], example["row"]) for example in found.examples] == [(2, 2), (5, 2), (8, 2)]


@pytest.mark.parametrize("name", ["*", "^s.*$", "a b", "é"])
def test_a_column_may_have_any_name(raw: pl.DataFrame, make_lock: Callable[..., Lock], name: str) -> None:
    data = _data(make_lock, **{f"columns__{name}": {"type": "number", "min": 1}, "contract__unique": [name]})
    rows = raw.with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias(name))
    found = _only(rows, data)
    assert (found.column, found.rows, found.examples[0][name]) == (name, 1, 0.0)


def test_of_a_wide_table_every_violation_is_found_and_examples_show_what_it_is_about(
    raw: pl.DataFrame, make_lock: Callable[..., Lock], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"g{n}" for n in range(300)]
    rows = raw.with_columns(pl.lit(1.0).alias(name) for name in names)
    wide = {f"columns__{name}": {"type": "number", "max": 0} for name in names}
    found = contract.find_violations(rows, _data(make_lock, **wide))
    assert [each.column for each in found] == names
    assert all(list(each.examples[0])[:3] == ["row", each.column, "when"] for each in found)
    assert all(len(each.examples[0]) == contract.MAX_SHOWN for each in found)
    contract.print_violations(found)
    assert "and 200 more, all in reports/data.json" in capsys.readouterr().out


def _written(raw: pl.DataFrame, data: Data) -> tuple[list[Violation], dict[str, Any]]:
    artifacts.RAW.parent.mkdir(parents=True)
    raw.write_parquet(artifacts.RAW)
    found = contract.validate(data)
    return found, json.loads(artifacts.DATA_REPORT.read_text(encoding="utf-8"))


def test_the_report_of_good_data_says_what_was_looked_at(workdir: Path, raw: pl.DataFrame, lock: Lock) -> None:
    found, report = _written(raw, lock.data)
    assert found == []
    assert report["passed"] is True
    assert report["violations"] == []
    assert report["rows"] == 240
    assert {column["name"]: column["missing"] for column in report["columns"]}["size"] == pytest.approx(0.1)
    contract.refuse_violations(found)


def test_the_report_of_bad_data_holds_every_violation(
    workdir: Path, raw: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    found, report = _written(raw, _data(make_lock, columns__kind__max=2, columns__size__missing=0.0))
    assert report["passed"] is False
    assert [(each["check"], each["column"], each["rows"]) for each in report["violations"]] == [
        (each.check, each.column, each.rows) for each in found
    ]
    assert len(found) == 2


def test_validating_needs_the_data(workdir: Path, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: not found; 'merit ingest' makes it"):
        contract.validate(lock.data)


@pytest.mark.parametrize(("count", "words"), [(1, "1 violation of"), (2, "2 violations of")])
def test_a_broken_contract_is_refused_with_exit_1(count: int, words: str) -> None:
    with pytest.raises(Refused) as caught:
        contract.refuse_violations([Violation("rows", "", "", "", 1, [])] * count)
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"data: {words} the contract; the rows are in reports/data.json; correct the data, or the contract in conf/data"
    )


def test_the_violations_are_shown_with_an_example(
    raw: pl.DataFrame,
    make_lock: Callable[..., Lock],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    contract.print_violations(contract.find_violations(raw, _data(make_lock, columns__kind__max=2)))
    shown = capsys.readouterr().out
    for word in ("range", "kind", "at most 2", "kind=3", "row="):
        assert word in shown


def test_no_violation_is_shown_as_passed(capsys: pytest.CaptureFixture[str]) -> None:
    contract.print_violations([])
    assert capsys.readouterr().out == "contract: passed\n"


def test_an_element_of_an_array_that_is_out_of_range_is_found(
    raw: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    images = np.ones((raw.height, 2, 2))
    images[3, 0, 1], images[5, 1, 1] = 7, -2
    table = raw.with_columns(pl.Series("image", images))
    column = {"type": "array", "shape": [2, 2], "min": 0, "max": 5}
    found = _only(table, _data(make_lock, columns__image=column))
    assert (found.check, found.column, found.rows, found.allowed) == ("range", "image", 2, "at least 0 and at most 5")
    assert found.found == "7 and 1 more elements"
    assert [example["row"] for example in found.examples] == [3, 5]
    assert contract.find_violations(table, _data(make_lock, columns__image={**column, "min": -2, "max": 7})) == []
