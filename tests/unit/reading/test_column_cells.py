from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl
import pytest

from merit.reading.column_cells import ColumnReading, find_mismatch, read_column
from merit.reading.declaration import MAX_EXACT_INTEGER, ColumnDeclaration, build_declaration


def _read(values: Any, type: str, **settings: Any) -> ColumnReading:
    return read_column(pl.Series("x", values), build_declaration("x", {"type": type, **settings}))


def _unread(values: Any, type: str, **settings: Any) -> list[Any]:
    """Return the cells that can't be read."""
    found = _read(values, type, **settings)
    if found.unread is None:
        return []
    assert found.values.filter(found.unread).null_count() == found.unread.sum()
    return pl.Series(values).filter(found.unread).to_list()


def test_text_stays_as_it_is_written() -> None:
    cells = ["01001", "1e5", "007", " a ", "2024-01-01", "none", "1.0", ""]
    assert _read(cells, "string").values.to_list() == cells
    assert _read(pl.Series(cells, dtype=pl.Categorical), "string").values.to_list() == cells


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1", " 2.5 ", "-3e2", "+4", ".5", "5.", "-0"], [1.0, 2.5, -300.0, 4.0, 0.5, 5.0, 0.0]),
        (["", "  ", None, "nan", "NaN"], [None] * 5),
        (["9007199254740992", "1e300", "9007199254740993.5"], [2.0**53, 1e300, 2.0**53 + 2]),
    ],
)
def test_text_is_read_as_numbers(cells: list[Any], numbers: list[Any]) -> None:
    found = _read(cells, "number")
    assert found.values.to_list() == numbers
    assert found.unread is None


WRITTEN = [
    ({"decimal": ","}, {"1,5": 1.5, "-3": -3.0, ",5": 0.5}, ["1.5", "1.000,5", "1,000,000"]),
    ({"thousands": ","}, {"1,234,567.5": 1234567.5, "1234": 1234.0, "12,34,567": 1234567.0}, ["1,23", "1,2345", ",1"]),
    ({"decimal": ",", "thousands": "."}, {"1.234,5": 1234.5, "999": 999.0}, ["1.23", "1,234.5", "1.5"]),
    ({"thousands": "."}, {"1.234": 1234.0, "1.234,5": 1234.5}, ["1.5"]),
    ({"thousands": " "}, {"1 234": 1234.0, "1\u00a0234": 1234.0, "1\u202f234.5": 1234.5}, ["1 2"]),
    ({"thousands": "'"}, {"1'234": 1234.0, "1\u2019234.50": 1234.5}, ["1'23"]),
    ({"negative": "parentheses"}, {"(2.5)": -2.5, "( 3 )": -3.0, "-4": -4.0}, ["(5", "5)", "(-5)", "()"]),
    ({"affixes": ["$", "USD"]}, {"$5": 5.0, "5 USD": 5.0, "-$5.50": -5.5, "$-1": -1.0}, ["5 EUR", "$", "USD", "5$5"]),
    ({"affixes": ["%"]}, {"12.5%": 12.5, "3 %": 3.0, "4": 4.0}, ["%", "5%5"]),
    ({"affixes": ["$"], "negative": "parentheses", "thousands": ","},
     {"($1,000)": -1000.0, "$(2)": -2.0, "$ 1,000.5": 1000.5, "\u22125": -5.0}, ["($1,00)"]),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "numbers", "others"), WRITTEN)
def test_numbers_are_read_as_they_are_declared_to_be_written_and_no_other(
    settings: dict[str, Any], numbers: dict[str, float], others: list[str]
) -> None:
    assert _read(list(numbers), "number", **settings).values.to_list() == list(numbers.values())
    assert _unread([*others, *numbers, "nan", ""], "number", **settings) == others


@pytest.mark.parametrize(
    ("cells", "unread"),
    [
        (["1", "x", "1,5", "0x10", "1_000", "inf", "-Infinity", "1e400", "١"],  # noqa: RUF001
         ["x", "1,5", "0x10", "1_000", "inf", "-Infinity", "1e400", "١"]),  # noqa: RUF001
        (["9007199254740993", "-9007199254740993", "+99999999999999999999"],) * 2,
        ([1.0, float("inf"), float("nan")], [float("inf")]),
        ([2**53, 2**53 + 1], [2**53 + 1]),
    ],
)  # fmt: skip
def test_what_is_no_number_or_would_become_another_is_not_read(cells: list[Any], unread: list[Any]) -> None:
    assert _unread(cells, "number") == unread


def test_whole_numbers_are_read_where_nothing_is_lost() -> None:
    assert _read(["1", " 2", "3.0", "1e3", "007", "nan", ""], "integer").values.to_list() == [
        1,
        2,
        3,
        1000,
        7,
        None,
        None,
    ]
    assert _unread(["1.5", "x", str(MAX_EXACT_INTEGER + 1), "1e16", "1e300"], "integer") == [
        "1.5",
        "x",
        str(MAX_EXACT_INTEGER + 1),
        "1e16",
        "1e300",
    ]
    assert _unread([1.0, 2.5, 1e300, None], "integer") == [2.5, 1e300]
    assert _read(["1.234", "(5)"], "integer", thousands=".", decimal=",", negative="parentheses").values.to_list() == [
        1234,
        -5,
    ]
    assert _unread(pl.Series([1, 2**63], dtype=pl.UInt64), "integer") == [2**63]
    assert _read(pl.Series(["1.00", "2.50"]).cast(pl.Decimal(10, 2)), "integer").unread.to_list() == [False, True]


def test_truths_are_read() -> None:
    found = _read(["TRUE", "false", " 1", "0", "yes", None], "boolean")
    assert found.values.to_list() == [True, False, True, False, None, None]
    assert found.unread.to_list() == [False, False, False, False, True, False]
    assert _unread([0.0, 1.0, 0.5], "boolean") == [0.5]


def test_words_for_no_value_hold_in_their_column_alone() -> None:
    assert _read(["none", "1", " none "], "number", null_values=["none"]).values.to_list() == [None, 1.0, None]
    assert _read(["-999", "1"], "integer", null_values=["-999"]).values.to_list() == [None, 1]
    assert _read(["none", "NA"], "string", null_values=["NA"]).values.to_list() == ["none", None]
    assert _read(["0000-00-00", "2024-01-31"], "datetime", null_values=["0000-00-00"]).values[0] is None


def test_a_number_or_a_time_that_means_no_value_does_so_however_it_is_stored() -> None:
    for values in (["-999", "1"], ["-999.0", "1"], [-999, 1], [-999.0, 1.0]):
        for type in ("number", "integer"):
            found = _read(values, type, null_values=["-999"])
            assert (found.values.to_list(), found.unread) == ([None, 1], None)
    assert _read(["-999,0", "1,5"], "number", null_values=["-999"], decimal=",").values.to_list() == [None, 1.5]
    found = _read(
        [datetime(1900, 1, 1), datetime(2024, 1, 31)], "datetime", null_values=["01.01.1900"], format="%d.%m.%Y"
    )
    assert (found.values.to_list(), found.unread) == ([None, datetime(2024, 1, 31)], None)
    assert _read([True, False], "boolean", null_values=["0"]).values.to_list() == [True, False]


def test_times_of_a_zone_become_utc_whatever_they_are_stored_as() -> None:
    stored = pl.Series([datetime(2024, 1, 31, 12, tzinfo=UTC)]).dt.convert_time_zone("Asia/Tokyo")
    for values in (stored, ["2024-01-31T13:00:00+01:00"], ["2024-01-31 12:00:00Z"], [datetime(2024, 1, 31, 12)]):
        assert _read(values, "datetime").values.to_list() == [datetime(2024, 1, 31, 12)]
    assert _read([date(2024, 1, 31)], "datetime").values.to_list() == [datetime(2024, 1, 31)]


@pytest.mark.parametrize(
    ("values", "type", "advice"),
    [
        ([1], "string", "declare {type: integer, feature: category} if they are codes, or have the source give text"),
        ([1.5], "string", "declare {type: number}"),
        ([True], "string", "declare {type: boolean}"),
        ([date(2024, 1, 31)], "string", "declare {type: datetime}"),
        ([date(2024, 1, 31)], "integer", "declare {type: datetime}"),
        ([20240131], "datetime", "declare {type: integer, feature: category}"),
        ([[1.0]], "number", "declare {type: array, shape: [...]}"),
        ([time(12)], "number", "have the source give text, numbers, truths or times"),
    ],
)
def test_a_column_whose_type_would_lose_something_is_refused_with_what_to_declare(
    values: list[Any], type: str, advice: str
) -> None:
    assert advice in find_mismatch(pl.Series(values).dtype, ColumnDeclaration("x", type))


def test_a_column_without_any_value_has_the_declared_type() -> None:
    for type, dtype in {"number": pl.Float64, "string": pl.String, "datetime": pl.Datetime("us")}.items():
        assert find_mismatch(pl.Null(), ColumnDeclaration("x", type)) == ""
        assert _read([None], type).values.dtype == dtype
