import string
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merit.reading.time_columns import parse_times
from merit.reading.times import compile_format, parse_time

ISO = {
    "2024-01-31": datetime(2024, 1, 31),
    "2024-01-31T15:30": datetime(2024, 1, 31, 15, 30),
    "2024-01-31 15:30:10": datetime(2024, 1, 31, 15, 30, 10),
    "2024-01-31T15:30:10.5": datetime(2024, 1, 31, 15, 30, 10, 500_000),
    "2024-01-31T15:30:10.123456789": datetime(2024, 1, 31, 15, 30, 10, 123_456),
    "2024-01-31T15:30:10Z": datetime(2024, 1, 31, 15, 30, 10),
    "2024-01-31T15:30:10+01:30": datetime(2024, 1, 31, 14, 0, 10),
    "2024-01-01T00:00-0530": datetime(2024, 1, 1, 5, 30),
    "2024-01-01 00:00:00 +01": datetime(2023, 12, 31, 23),
    " 2024-02-29 ": datetime(2024, 2, 29),
    "2023-02-29": None, "2024-13-01": None, "2024-00-01": None, "2024-01-00": None, "0000-01-01": None,
    "2024-01-31T24:00": None, "2024-01-31T12:60": None, "2024-01-31T12:00:60": None, "2024-01-31T12:00+25:00": None,
    "2024-1-5": None, "20240131": None, "soon": None, "2024-01-31T": None, "2024-01-31T12": None, "": None,
}  # fmt: skip
WRITTEN: list[tuple[str, dict[str, datetime | None]]] = [
    ("%d.%m.%Y", {"31.01.2024": datetime(2024, 1, 31), "1.2.2024": datetime(2024, 2, 1),
                  "2024-01-31": datetime(2024, 1, 31), "31.02.2024": None, "31.01.24": None, "31.01.2024 12:00": None}),
    ("%m/%d/%Y", {"1/31/2024": datetime(2024, 1, 31), "31/1/2024": None}),
    ("%d.%m.%y", {"01.01.68": datetime(2068, 1, 1), "01.01.69": datetime(1969, 1, 1)}),
    ("%Y%m%d", {"20240131": datetime(2024, 1, 31), "2024131": None}),
    ("%b %d, %Y", {"Jan 5, 2024": datetime(2024, 1, 5), "september 7, 2023": datetime(2023, 9, 7), "Sept. 1, 2023":
                   datetime(2023, 9, 1), "Janx 5, 2024": None}),
    ("%d/%m/%Y %I:%M %p", {"1/2/2024 12:05 am": datetime(2024, 2, 1, 0, 5),
                           "1/2/2024 12:05 PM": datetime(2024, 2, 1, 12, 5), "1/2/2024 13:05 PM": None,
                           "1/2/2024 0:05 PM": None}),
    ("%d/%b/%Y:%H:%M:%S %z", {"10/Oct/2000:13:55:36 -0700": datetime(2000, 10, 10, 20, 55, 36)}),
    ("%m/%Y", {"03/2024": datetime(2024, 3, 1), "13/2024": None}),
    # What is written as the format says is read by it alone: the fifth of a month is never taken for May.
    ("%Y-%d-%m", {"2024-05-06": datetime(2024, 6, 5), "2024-01-31": None,
                  "2024-01-31T12:00": datetime(2024, 1, 31, 12)}),
]  # fmt: skip


@pytest.mark.parametrize(("format", "cells"), [(None, ISO), *WRITTEN])
def test_times_are_read_alike_as_single_values_and_as_columns(format: str | None, cells: dict[str, Any]) -> None:
    assert {text: parse_time(text, format) for text in cells} == cells
    assert parse_times(pl.Series(list(cells)), format).to_list() == list(cells.values())


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ("%d.%m", "names a year"), ("%d.%Y", "a month"), ("%Y %Y-%m-%d", "each once"),
        ("%Y-%m-%d %Q", "found '%Q'; allowed: %Y"),
        ("%Y-%m-%d %I:%M", "needs %p"), ("%Y-%m-%d %p", "needs %I"), ("%Y-%m-%d %", "found '%'"),
    ],
)  # fmt: skip
def test_a_format_that_can_not_be_meant_is_refused(format: str, words: str) -> None:
    with pytest.raises(ValueError, match="found") as caught:
        compile_format(format)
    assert words in str(caught.value)


FORMATS = st.sampled_from([None, *(format for format, _ in WRITTEN)])
NEAR = st.builds(
    lambda at, form, tail: at.strftime(form) + tail,
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
    st.sampled_from(["%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%Y-%d-%m", "%b %d, %Y"]),
    st.sampled_from(["", "Z", "+05:30", "-2359", "x", " "]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.one_of(NEAR, st.text(string.digits + "-.:/TZ +,", max_size=20)), min_size=5, max_size=30), FORMATS)
def test_whatever_is_written_both_ways_of_reading_agree(cells: list[str], format: str | None) -> None:
    assert parse_times(pl.Series(cells, dtype=pl.String), format).to_list() == [
        parse_time(text, format) for text in cells
    ]
