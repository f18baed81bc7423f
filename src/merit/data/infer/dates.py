"""Detects the date format of a text column, and reports columns that several formats read as different days."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time
from functools import cache

import polars as pl

from merit.data.infer.odd import sample
from merit.reading.cells import read_column
from merit.reading.declaration import build_declaration
from merit.reading.times import compile_format

DAYS = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d",
    "%Y%m%d", "%Y/%d/%m", "%d%m%Y", "%m%d%Y", "%d.%m.%y", "%y.%m.%d", "%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "%d-%m-%y",
    "%m-%d-%y", "%y-%m-%d", "%y%m%d", "%d%m%y", "%m%d%y", "%d %m %Y", "%Y %m %d", "%d %b %Y", "%d-%b-%Y", "%d/%b/%Y",
    "%d. %b %Y", "%d.%b.%Y", "%d%b%Y", "%d %b %y", "%d-%b-%y", "%d%b%y", "%d %b, %Y", "%b %d, %Y", "%b %d %Y",
    "%b-%d-%Y", "%b. %d, %Y", "%Y-%b-%d", "%Y %b %d", "%a, %d %b %Y", "%a %d %b %Y", "%a %b %d %Y", "%a, %b %d, %Y",
    "%Y-%m", "%Y/%m", "%Y%m", "%m/%Y", "%m-%Y", "%m.%Y", "%b %Y", "%b-%Y", "%b-%y", "%b %y", "%Y %b",
)  # fmt: skip
CLOCKS = (
    "", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", " %I:%M:%S%p", "T%H:%M",
    "T%H:%M:%S", "T%H:%M:%S.%f", "T%H:%M:%S%z", ", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p", " %H.%M",
    ":%H:%M:%S", " %H:%M:%S%z", " %H:%M:%S %z", " %H:%M %z", ":%H:%M:%S %z", " %H%M", "%H%M%S", "T%H%M%S", "T%H%M%S%z",
    " %H:%M:%S GMT", " %H:%M:%S UTC", " um %H:%M",
)  # fmt: skip
OTHERS = ("%a %b %d %H:%M:%S %Y", "%H:%M %d.%m.%Y", "%H:%M:%S %d/%m/%Y", "%H:%M %d/%m/%Y", "%H:%M %m/%d/%Y")
SHARE = 0.8
"""Minimum share of dates among a column's cells; the other cells are then treated as odd ones."""
FIRST = 40
"""Number of cells that rule out most formats."""
FEWEST_NUMBERS = 10
"""Minimum number of distinct whole numbers, all valid days, before they are taken for dates."""
YEARS = (1900, 2100)
CENTURY = 2050
"""Two-digit years read as this year or later may belong to the previous century."""
DIGITS = "^([0-9]{6}|[0-9]{8}|[0-9]{12}|[0-9]{14})$"
"""Whole numbers that may be dates: 202412, 20241231, 20241231235959."""


@dataclass(frozen=True)
class Dates:
    """A column of dates.

    Attributes:
        format: the format for conf/data; None for ISO 8601.
        problem: why the column can't be read, with advice; None if it can.
        notes: how dates that could be misread were interpreted.
    """

    format: str | None
    problem: str | None = None
    notes: tuple[str, ...] = ()


def dates_in(raw: pl.Series, order: str | None) -> Dates | None:
    """Detect the dates of a text column; None if it contains none.

    Args:
        raw: the column.
        order: dmy, mdy or ymd, for ambiguous dates.
    """
    cells = sample(raw)
    if cells.is_empty() or float(cells.str.contains("[0-9]").mean() or 0) < SHARE:  # type: ignore[arg-type]  # a share
        return None
    formats = _formats(cells)
    if not formats:
        return _several(cells)
    if None in formats:
        return Dates(None)
    named = [format for format in formats if format is not None]
    asked = [format for format in named if _order(format) == order] or _likely(cells, named)
    if _differ(cells, asked):
        cells = (
            raw.drop_nulls().str.strip_chars().unique(maintain_order=True)
        )  # a single cell outside the sample may decide
        shares = {format: _share(cells, format) for format in asked}
        asked = [format for format in asked if shares[format] == max(shares.values())]
        if _differ(cells, asked):
            return _ambiguous(cells, asked)
    return Dates(asked[0], _mixed(cells, asked[0]), _taken(raw.name, cells, asked[0]))


def _differ(cells: pl.Series, formats: list[str]) -> bool:
    """Return whether the formats read the cells as different days."""
    first = _read(cells, formats[0])
    return any(not _read(cells, format).equals(first, null_equal=True) for format in formats[1:])


def days(values: pl.Series) -> pl.Series:
    """Convert times to dates, if none has a time of day."""
    return values.cast(pl.Date) if (values.dt.time().drop_nulls() == time.min).all() else values


def _formats(cells: pl.Series) -> list[str | None]:
    """Return the formats that read the largest share of the cells; empty if that share is too small."""
    shares = {format: _share(cells, format) for format in (None, *_possible(cells))}
    most = max(shares.values())
    best = [format for format, share in shares.items() if share == most]
    return best if most >= SHARE and _are_plausible(cells, best, most) else []


def _possible(cells: pl.Series) -> list[str]:
    """Return the formats that match at least a quarter of the distinct cell shapes, the most common formats first."""
    forms = {re.sub("[0-9]", "0", cell): cell for cell in cells.head(50 * FIRST).unique(maintain_order=True)}
    some = list(forms.values())[:FIRST]
    counts = Counter(format for cell in some for format in _fitting(cell))
    return [format for format, count in sorted(counts.items(), key=_rank) if count >= len(some) / 4]


def _rank(item: tuple[str, int]) -> tuple[int, int]:
    day = next(day for day in (*OTHERS, *sorted(DAYS, key=len, reverse=True)) if item[0].startswith(day))
    return (DAYS.index(day) if day in DAYS else len(DAYS), len(item[0]))


def _fitting(cell: str) -> Iterator[str]:
    """Yield the formats that match a cell: the end must match a clock pattern, the rest a day pattern."""
    days, clocks, others = _patterns()
    yield from (format for format, pattern in others.items() if pattern.search(cell))
    for clock, pattern in clocks.items():
        if (found := pattern.search(cell)) is not None:
            yield from (day + clock for day, whole in days.items() if whole.search(cell[: found.start()]))


@cache
def _patterns() -> tuple[dict[str, re.Pattern[str]], dict[str, re.Pattern[str]], dict[str, re.Pattern[str]]]:
    """Return the compiled patterns of days, of clocks at the end of a text, and of the other formats."""
    year = compile_format("%Y").pattern.removesuffix("$")
    clocks = {clock: re.compile(compile_format(f"%Y{clock}").pattern.removeprefix(year)) for clock in CLOCKS}
    days, others = ({each: re.compile(compile_format(each).pattern) for each in formats} for formats in (DAYS, OTHERS))
    return days, clocks, others


def _read(cells: pl.Series, format: str | None) -> pl.Series:
    return read_column(cells, build_declaration("", {"type": "datetime", "format": format})).values


def _share(cells: pl.Series, format: str | None) -> float:
    return 1 - _read(cells, format).null_count() / len(cells)


def _are_plausible(cells: pl.Series, formats: list[str | None], share: float) -> bool:
    """Return whether whole numbers may be dates: many distinct ones, all valid, in years 1900 to 2100."""
    if not cells.str.contains("^[0-9]+$").all():
        return True
    near = [_read(cells, format).dt.year().is_between(*YEARS).all() for format in formats]
    return share == 1 and cells.n_unique() >= FEWEST_NUMBERS and any(near)


def _order(format: str) -> str:
    """Return the order of day, month and year in a format: dmy, mdy, ymd, or a part of these."""
    letters = re.findall("%([dmbY]|y)", format)
    return "".join(dict.fromkeys({"b": "m", "Y": "y"}.get(each, each) for each in letters))


def _likely(cells: pl.Series, formats: list[str]) -> list[str]:
    """Return the formats with few distinct years: of two-digit parts, the one that hardly varies is the year."""
    years = {format: _read(cells, format).dt.year().n_unique() for format in formats}
    return [format for format in formats if years[format] <= 3 * min(years.values())]


def _ambiguous(cells: pl.Series, formats: list[str]) -> Dates:
    """Return a problem that shows a cell which two formats read differently."""
    first = formats[0]
    other = next(each for each in formats if not _read(cells, each).equals(_read(cells, first), null_equal=True))
    days = _read(cells, first), _read(cells, other)
    at = (days[0] != days[1]).fill_null(True).arg_true()[0]
    ways = " or ".join(
        f'{day[at]:%-d %B %Y} (--dates {_order(format)}, format: "{format}")'
        for day, format in zip(days, (first, other), strict=True)
    )
    return Dates(first, f"day and month can't be told apart: {cells[at]} is {ways}; say which")


def _several(cells: pl.Series) -> Dates | None:
    """Return a problem if only several formats together read the cells; None otherwise."""
    values = {format: _read(cells, format) for format in _possible(cells)}
    if not values or cells.str.contains("^[0-9]+$").all():
        return None
    best = min(values, key=lambda format: values[format].null_count())
    are_read = pl.DataFrame(values).select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    left = cells.filter(values[best].is_null() & are_read)
    if are_read.sum() < SHARE * len(cells) or left.is_empty():
        return None
    return Dates(None, _in_forms(cells.filter(values[best].is_not_null())[0], left[0]))


def _in_forms(one: str, other: str) -> str:
    return f"dates in several forms, such as {one} and {other}: write them alike, best as 2024-12-31"


def _mixed(cells: pl.Series, chosen: str) -> str | None:
    """Return a problem if the unread cells are dates in another format or order; None otherwise."""
    values = _read(cells, chosen)
    left = cells.filter(values.is_null()).unique(maintain_order=True)
    if left.is_empty() or not (other := [each for each in _formats(left) if each != chosen]):
        return None
    if len(left) == 1 and _read(left, other[0]).is_null().any():
        return None
    return _in_forms(cells.filter(values.is_not_null())[0], left[0])


def far_years(values: pl.Series, format: str | None) -> list[str]:
    """Return a note on two-digit years that may belong to the previous century, such as years of birth."""
    last = values.dt.year().max()
    if format is None or "%y" not in format or not isinstance(last, int) or last < CENTURY:
        return []
    return [
        f"'{values.name}' has years of two digits, read as 1969 to 2068, here up to {last}: have the source write four "
        "if some are of the century before"
    ]


def _taken(name: str, cells: pl.Series, format: str) -> tuple[str, ...]:
    """Return a note on how dates that could be misread were interpreted."""
    if _order(format) in {"ymd", "ym", "my"} or "%b" in format:
        return ()
    cells = cells.filter(cells.str.contains(compile_format(format).pattern))
    values = _read(cells, format)
    day, month = values.dt.day(), values.dt.month()
    at = next(each for each in (day > 12, day != month, values.is_not_null()) if each.any()).arg_true()[0]
    return (f"'{name}' has dates such as {cells[at]}: read as {values[at]:%-d %B %Y} (format {format})",)
