from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merit.batch import contract
from merit.batch.contract import ColumnRule, Contract
from merit.errors import MeritError, Refused
from merit.scoring.package import Package


def _reasons(rule: ColumnRule, values: pl.Series) -> list[tuple[int, str]]:
    _, faults = Contract([rule]).cast_rows(values.alias("x").to_frame())
    return contract.merge_reasons(faults).rows() if faults else []


def _typed(kind: str, values: pl.Series, shape: tuple[int, ...] = ()) -> list[Any]:
    made, faults = Contract([ColumnRule("x", kind, nullable=True, shape=shape)]).cast_rows(values.alias("x").to_frame())
    assert not faults
    return made["x"].to_list()


def test_the_contract_is_the_signature_with_the_ranges_of_the_packaged_lock(package: Path) -> None:
    rules = contract.from_package(Package.load(package), package).rules
    assert rules == [
        ColumnRule("shop", "string", nullable=False, allowed=("north", "south", "west", "")),
        ColumnRule("kind", "integer", nullable=False, min_value=1, max_value=9),
        ColumnRule("size", "number", nullable=True),
        ColumnRule("weight", "number", nullable=False, min_value=0, max_value=1),
    ]


def test_a_packaged_lock_that_is_none_is_broken(package: Path) -> None:
    loaded = Package.load(package)
    (package / "params.yaml").write_text("data: [")
    with pytest.raises(MeritError, match=r"params\.yaml: can't be read"):
        contract.from_package(loaded, package)


@pytest.mark.parametrize(
    ("rule", "values", "told"),
    [
        (
            ColumnRule("x", "number", nullable=False),
            pl.Series([1.0, None, float("nan")]),
            ["x is missing", "x is missing"],
        ),
        (ColumnRule("x", "number", nullable=True), pl.Series([1.0, float("inf")]), ["x inf is not finite"]),
        (ColumnRule("x", "number", nullable=True, min_value=0), pl.Series([0, -1, None]), ["x -1 is below 0"]),
        (
            ColumnRule("x", "number", nullable=True, max_value=5),
            pl.Series([5.5, 5.0, float("nan")]),
            ["x 5.5 is above 5"],
        ),
        (ColumnRule("x", "integer", nullable=True), pl.Series([1.5, 2.0, None]), ["x 1.5 is not an integer"]),
        (ColumnRule("x", "boolean", nullable=True), pl.Series([0, 1, 2]), ["x 2 is not a boolean"]),
        (
            ColumnRule("x", "integer", nullable=True),
            pl.Series([2**53 + 1, 1]),
            ["x 9007199254740993 is beyond 2**53, from where on integers are not exact"],
        ),
        (
            ColumnRule("x", "string", nullable=True, allowed=("a", "b")),
            pl.Series(["a", "c", None]),
            ["x c is none of a, b"],
        ),
        (ColumnRule("x{y}", "number", nullable=False), pl.Series([None, 1.0]), ["x{y} is missing"]),
        (ColumnRule("x", "datetime", nullable=True), pl.Series(["2024-01-31", "soon"]), ["x soon is not a datetime"]),
        (
            ColumnRule("x", "array", nullable=False, shape=(2,)),
            pl.Series([[1, 2], [1]]),
            ["x is not an array of the shape [2]"],
        ),
        (
            ColumnRule("x", "array", nullable=False, shape=(2,), max_value=3),
            pl.Series([[1.0, 2.0], [1.0, 4.0]], dtype=pl.Array(pl.Float64, 2)),
            ["x has elements outside -inf to 3"],
        ),
        (
            ColumnRule("x", "array", nullable=False, shape=(2,)),
            pl.Series([[1.0, None], [1.0, 4.0]], dtype=pl.Array(pl.Float64, 2)),
            ["x has elements that are missing or not finite"],
        ),
    ],
)
def test_a_row_that_breaks_a_rule_is_told_with_its_value(rule: ColumnRule, values: pl.Series, told: list[str]) -> None:
    _, faults = Contract([rule]).cast_rows(values.alias(rule.name).to_frame())
    assert contract.merge_reasons(faults)["reason"].to_list() == told


def test_all_that_is_wrong_with_a_row_is_told_at_once() -> None:
    rules = [
        ColumnRule("a", "number", nullable=False),
        ColumnRule("b", "number", nullable=True, min_value=0, max_value=9),
    ]
    rows = pl.DataFrame({"a": [1.0, None, None], "b": [10, 3, -1]})
    _, faults = Contract(rules).cast_rows(rows)
    assert contract.merge_reasons(faults).rows() == [
        (0, "b 10 is above 9"), (1, "a is missing"), (2, "a is missing; b -1 is below 0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "values", "made"),
    [
        ("string", pl.Series(["a", None], dtype=pl.Categorical), ["a", None]),
        ("integer", pl.Series([1.0, float("nan"), None]), [1, None, None]),
        ("integer", pl.Series([" 7", None]), [7, None]),
        ("integer", pl.Series([2**53], dtype=pl.UInt64), [2**53]),
        ("integer", pl.Series(["2.0", "1e3"]), [2, 1000]),
        ("number", pl.Series(["1.5", " 2"]), [1.5, 2.0]),
        ("number", pl.Series([None, None]), [None, None]),
        ("boolean", pl.Series(["True", "false", "1", None]), [True, False, True, None]),
        ("boolean", pl.Series([1, 0]), [True, False]),
        ("datetime", pl.Series([date(2024, 1, 31)]), [datetime(2024, 1, 31)]),
        ("datetime", pl.Series([datetime(2024, 1, 31, 12, tzinfo=UTC)]), [datetime(2024, 1, 31, 12)]),
        ("datetime", pl.Series(["2024-01-31T15:30:00.5", "2024-01-31 15:30", "2024-01-31"]),
         [datetime(2024, 1, 31, 15, 30, 0, 500_000), datetime(2024, 1, 31, 15, 30), datetime(2024, 1, 31)]),
    ],
)  # fmt: skip
def test_values_are_taken_in_the_types_that_files_and_databases_have(
    kind: str, values: pl.Series, made: list[Any]
) -> None:
    assert _typed(kind, values) == made


def test_arrays_may_be_lists_of_the_right_shape() -> None:
    values = pl.Series([[[1, 2], [3, 4]]], dtype=pl.List(pl.List(pl.Int64)))
    assert _typed("array", values, (2, 2)) == [[[1.0, 2.0], [3.0, 4.0]]]


def test_columns_that_are_missing_or_of_another_type_are_all_told_at_once() -> None:
    rules = [ColumnRule("distance", "number", nullable=False), ColumnRule("hour", "integer", nullable=False),
             ColumnRule("image", "array", nullable=False, shape=(8, 8))]  # fmt: skip
    schema = {"distanc": pl.Float64(), "hour": pl.Date(), "image": pl.Float64()}
    with pytest.raises(Refused) as caught:
        Contract(rules).check_columns(schema, "in.parquet")
    assert str(caught.value) == (
        "in.parquet: breaks the model's contract: the column 'distance' is missing, is it 'distanc'?; "
        "the column 'hour' is Date; the model takes integer; the column 'image' is Float64; "
        "the model takes array [8, 8]; nothing was scored"
    )


def test_text_may_be_meant_as_anything_but_an_array() -> None:
    rules = [ColumnRule("hour", "integer", nullable=False), ColumnRule("image", "array", nullable=False, shape=(2,))]
    with pytest.raises(Refused, match="an array, which CSV can't hold; give Parquet"):
        Contract(rules, is_text=True).check_columns({"hour": pl.String(), "image": pl.String()}, "in.csv")


def test_reasons_name_places_in_order() -> None:
    rule = ColumnRule("x", "number", nullable=False, min_value=0)
    assert _reasons(rule, pl.Series([None, 1.0, -1.0, None])) == [
        (0, "x is missing"), (2, "x -1.0 is below 0"), (3, "x is missing"),
    ]  # fmt: skip
