from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.data.infer.written import ParsedColumn, parse_column

ROWS = 400
TIMES = [datetime(2020, 1, 3, 5, 7, 9) + timedelta(hours=31 * i) for i in range(ROWS)]
AMOUNTS = np.random.default_rng(0).normal(0, 3000, ROWS).round(2)


def _read(cells: list[Any], **how: Any) -> ParsedColumn:
    return parse_column(pl.Series("x", cells), **{"is_text": True} | how)


def _us(value: float) -> str:
    return f"{value:,.2f}"


def _eu(value: float) -> str:
    return _us(value).translate(str.maketrans(",.", ".,"))


@pytest.mark.parametrize(
    ("form", "settings"),
    [
        (str, {}),
        (lambda v: f"{v:.3e}", {}),
        (_us, {"thousands": ","}),
        (_eu, {"decimal": ",", "thousands": "."}),
        (lambda v: f"{v:.2f}".replace(".", ","), {"decimal": ","}),
        (lambda v: f"({-v:.2f})" if v < 0 else f"{v:.2f}", {"negative": "parentheses"}),
        (lambda v: f"-${_us(-v)}" if v < 0 else f"${_us(v)}", {"thousands": ",", "affixes": ["$"]}),
        (lambda v: f"{_eu(v)} €", {"decimal": ",", "thousands": ".", "affixes": ["€"]}),
        (lambda v: f"{v:.1f}%", {"affixes": ["%"]}),
        (lambda v: f"{v:.1f} kg", {"affixes": ["kg"]}),
        (lambda v: _us(v).replace(",", "'"), {"thousands": "'"}),
        (lambda v: _us(v).replace(",", "_"), {"thousands": "_"}),
        (lambda v: _us(v).replace(",", "\u202f"), {"thousands": " "}),
        (lambda v: f"USD {v}" if v > 0 else str(v), {"affixes": ["USD"]}),
    ],
)
def test_numbers_are_read_as_they_are_written(form: Any, settings: dict[str, Any]) -> None:
    found = _read([form(value) for value in AMOUNTS])
    assert (found.settings, found.problem) == (settings, None)
    assert found.values.to_list() == pytest.approx(AMOUNTS.tolist(), abs=5 if settings == {} else 0.06)


@pytest.mark.parametrize(
    ("odd", "words", "note"),
    [
        ({3: "12o", 7: "l3"}, ["12o", "l3"], "2 of 400 cells are no numbers: '12o' (1, first in row 3)"),
        (dict.fromkeys(range(0, 40), "none"), ["none"], "'none' in 40 of 400 cells: read as missing"),
        (dict.fromkeys(range(0, 90, 2), "<0.5"), ["<0.5"], "it says more than that; write the limit, or half of it"),
        ({5: "inf"}, ["inf"], "'inf' (1, first in row 5)"),
        ({5: "12;", 6: "1.5*"}, ["12;", "1.5*"], "2 of 400 cells are no numbers: '12;' (1, first in row 5)"),
        (dict.fromkeys(range(0, 90, 2), "≤3"), ["≤3"], "it says more than that; write the limit, or half of it"),
    ],
    ids=["slips", "a word for missing", "a limit", "infinite", "marks that are no units", "a limit by another sign"],
)
def test_a_few_cells_that_are_no_numbers_are_named_and_read_as_missing(
    odd: dict[int, str], words: list[str], note: str
) -> None:
    found = _read([odd.get(row, str(20 + row % 50)) for row in range(ROWS)])
    assert found.settings == {"null_values": words}
    assert found.values.null_count() == len(odd)
    assert note in found.notes[0]


def test_many_rows_may_be_one_word_if_the_numbers_are_many() -> None:
    cells = ["<0.1" if row % 5 < 2 else f"{row / 100:.2f}" for row in range(ROWS)]
    assert _read(cells).settings == {"null_values": ["<0.1"]}


def test_a_word_that_is_often_among_few_numbers_is_a_code_as_they_are() -> None:
    found = _read([["1", "2", "3", "4", "5", "A"][row % 6] for row in range(ROWS)])
    assert (found.values.dtype, found.settings, found.problem) == (pl.String, {}, None)


@pytest.mark.parametrize(
    ("far", "others", "cell"),
    [("-999", lambda i: str(20 + i % 50), "-999"), ("9999-12-31", lambda i: f"{TIMES[i]:%Y-%m-%d}", "9999-12-31")],
)
def test_a_value_far_from_all_others_may_mean_that_there_is_none(far: str, others: Any, cell: str) -> None:
    notes = [f"'x': {cell} in 40 rows is far from all others; if it means no value, null_values: ['{cell}'] says so"]
    assert _read([far if i % 10 == 0 else others(i) for i in range(ROWS)]).notes == notes
    assert _read([others(i) for i in range(ROWS)]).notes == []


def test_slips_are_few_by_their_rows_and_not_by_their_kinds() -> None:
    cells = [{3: "five", 9: "thre", 11: "two"}.get(row, str(1 + row % 5)) for row in range(ROWS)]
    assert _read(cells).settings == {"null_values": ["five", "thre", "two"]}


def test_a_rare_form_of_numbers_that_no_sample_holds_is_found() -> None:
    found = _read([*(str(v) for v in range(60_000)), "1,234", "60001", "60002"])
    assert found.settings == {"thousands": ","}
    told = "'x': 1,234 is taken for thousands"
    swap = "put 'decimal: \",\"' in the place of 'thousands: \",\"'"
    assert found.notes == [f"{told}; if it is a fraction, {swap}"]
    mixed = _read([*(f"{i / 100:.2f}" for i in range(ROWS)), "1,234"])
    assert mixed.notes == [f"{told}, as others have fractions by '.'; correct it if it is a slip"]


def test_points_that_group_digits_are_declared_with_the_comma_of_fractions() -> None:
    found = _read([f"{i:,}".replace(",", ".") for i in range(1_000_000, 9_000_000, 20_000)])
    assert found.settings == {"decimal": ",", "thousands": "."}
    assert found.values[0] == 1_000_000


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([f"{i}x{i}" if i % 12 == 0 else str(i) for i in range(ROWS)], "34 of 400 cells are no numbers, while all"),
        ([f"{i} kg" if i % 2 else f"{i} g" for i in range(ROWS)], "numbers of several units (g, kg)"),
        ([f"${i}" if i % 2 else f"€{i}" for i in range(ROWS)], "numbers of several units (€, $)"),
        ([f"{i}%" if i % 2 else f"0.{i}" for i in range(ROWS)], "numbers with % and without, such as 0.0"),
        ([f"{i}.5k" if i % 2 else str(i) for i in range(ROWS)], "numbers with k and without, such as 0"),
    ],
)
def test_numbers_that_can_not_be_compared_are_left_out_with_the_reason(cells: list[str], says: str) -> None:
    found = _read(cells)
    assert found.problem is not None
    assert says in found.problem


@pytest.mark.parametrize("mark", [",", "."])
def test_what_may_be_thousands_or_a_fraction_is_told(mark: str) -> None:
    cells = [f"{1 + i % 9}{mark}{i:03d}" for i in range(ROWS)]
    found = _read(cells, with_semicolons=True)
    assert found.settings == ({"decimal": ","} if mark == "," else {})
    way = {",": "put 'thousands: \",\"' in the place of 'decimal: \",\"'", ".": "'thousands: \".\"' says so"}[mark]
    assert found.notes == [f"'x': 1{mark}000 is taken for a fraction; if it is thousands, {way}"]
    assert _read([f"1,{i:03d}" for i in range(ROWS)]).settings == {"thousands": ","}
    assert _read([f"{i / 100:.2f}" for i in range(ROWS)], with_semicolons=True).notes == []


@pytest.mark.parametrize(
    "cells",
    [
        [f"{i % 90:03d}" for i in range(ROWS)],
        [*(str(10_000 + i) for i in range(20_001)), "01001"],
        [str(2**60 + i % 7) for i in range(ROWS)],
        [f"+49 301 {i:03d} {i:03d}" for i in range(ROWS)],
        [f"v{i}" for i in range(ROWS)],
        [f"{i % 40}{'ABC'[i % 3]}" for i in range(ROWS)],
        [f"10.0.{i % 200}.{i % 250}" for i in range(ROWS)],
    ],
    ids=["zeros", "one zero", "beyond 2**53", "telephones", "versions", "seats", "addresses"],
)
def test_codes_stay_text_as_they_are_written(cells: list[str]) -> None:
    found = _read(cells)
    assert (found.values.dtype, found.values.to_list(), found.problem) == (pl.String, cells, None)


def test_numbers_as_text_of_a_typed_source_stay_text_unless_they_have_fractions() -> None:
    assert _read([str(i) for i in range(ROWS)], is_text=False).values.dtype == pl.String
    assert _read([f"{i},5" for i in range(ROWS)], is_text=False).settings == {"decimal": ","}


def test_whole_numbers_beyond_exact_of_a_typed_source_are_left_out() -> None:
    found = _read([2**60 + i % 7 for i in range(ROWS)], is_text=False)
    assert found.problem is not None
    assert found.problem.startswith("400 whole numbers are beyond 2**53, such as 1152921504606846976; have the source")


DAYS = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d-%m-%y", "%Y%m%d", "%d%m%Y", "%Y/%m/%d", "%b %d, %Y",
        "%d-%b-%y", "%d. %b %Y", "%a, %d %b %Y")  # fmt: skip


@pytest.mark.parametrize("form", DAYS)
def test_days_are_read_in_the_format_that_reads_the_whole_column(form: str) -> None:
    found = _read([f"{each:{form}}" for each in TIMES])
    assert found.settings == {"format": form}
    assert found.values.to_list() == [each.date() for each in TIMES]


@pytest.mark.parametrize(
    "form",
    ["%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%Y%m%d%H%M%S", "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S",
     "%Y/%m/%d %H:%M:%S"],
)  # fmt: skip
def test_times_are_read_too(form: str) -> None:
    found = _read([f"{each:{form}}" for each in TIMES])
    assert (found.settings, found.values.to_list()) == ({"format": form}, TIMES)


def test_the_first_of_each_month_is_as_far_as_months_go() -> None:
    found = _read([f"{each:%b %Y}" for each in TIMES])
    assert (found.settings, found.values[0]) == ({"format": "%b %Y"}, date(2020, 1, 1))


def test_how_dates_were_taken_is_told_by_one_that_tells() -> None:
    found = _read([f"{each:%m/%d/%Y}" for each in TIMES])
    assert found.notes == ["'x' has dates such as 01/13/2020: read as 13 January 2020 (format %m/%d/%Y)"]


@pytest.mark.parametrize("word", ["NULL", "00.00.0000", "k.A.", "folgt"])
def test_cells_that_are_no_dates_are_missing(word: str) -> None:
    found = _read([word if i % 10 == 0 else f"{each:%d.%m.%Y}" for i, each in enumerate(TIMES)])
    assert found.settings == {"format": "%d.%m.%Y", "null_values": [word]}
    assert found.values.null_count() == ROWS // 10
    assert repr(word) in found.notes[0]


MONTHS = [date(2000 + i // 12, 1 + i % 12, 1) for i in range(120)]


@pytest.mark.parametrize(("order", "form"), [("dmy", "%d/%m/%Y"), ("mdy", "%m/%d/%Y")])
def test_day_and_month_that_can_not_be_told_apart_are_asked_for(order: str, form: str) -> None:
    cells = [f"{each:{form}}" for each in MONTHS]
    problem = _read(cells).problem
    assert problem is not None
    assert problem.startswith("day and month can't be told apart: ")
    assert '(--dates dmy, format: "%d/%m/%Y") or ' in problem
    assert '(--dates mdy, format: "%m/%d/%Y"); say which' in problem
    asked = _read(cells, order=order)
    assert (asked.settings, asked.values.to_list()) == ({"format": form}, MONTHS)


def test_an_order_is_only_for_dates_that_do_not_say_theirs() -> None:
    assert _read([f"{each:%m/%d/%Y}" for each in TIMES], order="dmy").settings == {"format": "%m/%d/%Y"}


def test_dates_with_points_have_their_day_first() -> None:
    assert _read([f"{each:%d.%m.%Y}" for each in MONTHS]).settings == {"format": "%d.%m.%Y"}


def test_one_date_that_tells_the_order_is_enough_wherever_it_stands() -> None:
    cells = [f"{each:%m/%d/%Y}" for each in MONTHS] * 500
    cells[33_333] = "05/31/2001"
    assert _read(cells).settings == {"format": "%m/%d/%Y"}


def test_dates_in_several_forms_are_left_out() -> None:
    cells = [f"{each:%d.%m.%Y}" if i % 2 else f"{each:%d.%m.%Y %H:%M}" for i, each in enumerate(TIMES)]
    problem = _read(cells).problem
    assert problem is not None
    assert problem.startswith("dates in several forms, such as ")


def test_dates_in_two_orders_are_left_out() -> None:
    cells = [f"{each:%d/%m/%Y}" if i % 10 else f"{each:%m/%d/%Y}" for i, each in enumerate(TIMES)]
    problem = _read(cells).problem
    assert problem is not None
    assert problem.startswith("dates in several forms, such as ")


@pytest.mark.parametrize(
    "cells",
    [
        [f"{i % 24:02d}:{i % 60:02d}" for i in range(ROWS)],
        [str(1990 + i % 30) for i in range(ROWS)],
        [str(100_000 + 7 * i) for i in range(ROWS)],
        [str(10_000_000 + 1301 * i) for i in range(ROWS)],
        [f"{i % 5}.{i % 7}.{i % 9}" for i in range(ROWS)],
    ],
    ids=["clocks", "years", "six digits", "eight digits", "versions"],
)
def test_what_looks_a_little_like_dates_is_none(cells: list[str]) -> None:
    assert not _read(cells).values.dtype.is_temporal()


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("x", [f"{each:%Y-%m-%dT%H:%M:%S}+02:00" for each in TIMES]),
        pl.Series("x", [each.replace(tzinfo=UTC) + timedelta(hours=-2) for each in TIMES]),
    ],
    ids=["text", "typed"],
)
def test_times_with_a_zone_become_utc_and_one_note_says_so(column: pl.Series) -> None:
    found = parse_column(column, is_text=True)
    assert found.notes == ["'x' has times with a zone: they become UTC, here as when the model is asked"]
    assert found.values[0] == TIMES[0] - timedelta(hours=2)


def test_durations_are_left_as_they_are() -> None:
    hours = pl.Series("x", [timedelta(hours=1 + i % 80) for i in range(ROWS)])
    assert parse_column(hours, is_text=False).notes == []


def test_years_of_two_digits_that_end_far_ahead_are_told() -> None:
    births = [date(1940, 1, 1) + timedelta(days=61 * i) for i in range(ROWS)]
    found = _read([f"{each:%d.%m.%y}" for each in births])
    assert "'x' has years of two digits, read as 1969 to 2068, here up to 2068" in found.notes[-1]
    assert len(_read([f"{each:%d.%m.%Y}" for each in births]).notes) == 1
    assert len(_read([f"{each:%d.%m.%y}" for each in births if each.year >= 1969]).notes) == 1


def test_an_example_of_a_date_tells_the_day_from_the_month() -> None:
    found = _read([f"{1 + (i + 9) % 12:02d}/{1 + (i * 7 + 9) % 12:02d}/2024" for i in range(ROWS)], order="mdy")
    assert found.notes == ["'x' has dates such as 11/05/2024: read as 5 November 2024 (format %m/%d/%Y)"]
