"""Detects the date format of a text column, and reports columns that several formats read as different days."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time
from functools import cache

import polars as pl

from merit.data.infer.odd import sample_cells
from merit.reading.column_cells import read_column
from merit.reading.declaration import build_declaration
from merit.reading.times import compile_format

DAY_FORMATS = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d",
    "%Y%m%d", "%Y/%d/%m", "%d%m%Y", "%m%d%Y", "%d.%m.%y", "%y.%m.%d", "%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "%d-%m-%y",
    "%m-%d-%y", "%y-%m-%d", "%y%m%d", "%d%m%y", "%m%d%y", "%d %m %Y", "%Y %m %d", "%d %b %Y", "%d-%b-%Y", "%d/%b/%Y",
    "%d. %b %Y", "%d.%b.%Y", "%d%b%Y", "%d %b %y", "%d-%b-%y", "%d%b%y", "%d %b, %Y", "%b %d, %Y", "%b %d %Y",
    "%b-%d-%Y", "%b. %d, %Y", "%Y-%b-%d", "%Y %b %d", "%a, %d %b %Y", "%a %d %b %Y", "%a %b %d %Y", "%a, %b %d, %Y",
    "%Y-%m", "%Y/%m", "%Y%m", "%m/%Y", "%m-%Y", "%m.%Y", "%b %Y", "%b-%Y", "%b-%y", "%b %y", "%Y %b",
)  # fmt: skip
CLOCK_FORMATS = (
    "", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", " %I:%M:%S%p", "T%H:%M",
    "T%H:%M:%S", "T%H:%M:%S.%f", "T%H:%M:%S%z", ", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p", " %H.%M",
    ":%H:%M:%S", " %H:%M:%S%z", " %H:%M:%S %z", " %H:%M %z", ":%H:%M:%S %z", " %H%M", "%H%M%S", "T%H%M%S", "T%H%M%S%z",
    " %H:%M:%S GMT", " %H:%M:%S UTC", " um %H:%M",
)  # fmt: skip
OTHER_FORMATS = ("%a %b %d %H:%M:%S %Y", "%H:%M %d.%m.%Y", "%H:%M:%S %d/%m/%Y", "%H:%M %d/%m/%Y", "%H:%M %m/%d/%Y")
MIN_SHARE = 0.8
"""Minimum share of dates among a column's cells; the other cells are then treated as odd ones."""
SAMPLED_CELLS = 40
"""Number of cells that rule out most formats."""
MIN_DISTINCT_NUMBERS = 10
"""Minimum number of distinct whole numbers, all valid days, before they are taken for dates."""
PLAUSIBLE_YEARS = (1900, 2100)
AMBIGUOUS_CENTURY_YEAR = 2050
"""Two-digit years read as this year or later may belong to the previous century."""
DIGITS_PATTERN = "^([0-9]{6}|[0-9]{8}|[0-9]{12}|[0-9]{14})$"
"""Whole numbers that may be dates: 202412, 20241231, 20241231235959."""


@dataclass(frozen=True)
class DateFormat:
    """A column of dates.

    Attributes:
        format: the format for conf/data; None for ISO 8601.
        problem: why the column can't be read, with advice; None if it can.
        notes: how dates that could be misread were interpreted.
    """

    format: str | None
    problem: str | None = None
    notes: tuple[str, ...] = ()


def detect_dates(raw: pl.Series, order: str | None) -> DateFormat | None:
    """Detect the dates of a text column; None if it contains none.

    Args:
        raw: the column.
        order: dmy, mdy or ymd, for ambiguous dates.
    """
    cells = sample_cells(raw)
    if cells.is_empty() or float(cells.str.contains("[0-9]").mean() or 0) < MIN_SHARE:  # type: ignore[arg-type]  # a share
        return None
    formats = _find_formats(cells)
    if not formats:
        return _find_mixed_formats(cells)
    if None in formats:
        return DateFormat(None)
    explicit_formats = [format for format in formats if format is not None]
    candidates = [format for format in explicit_formats if _find_order(format) == order] or _prefer_few_years(
        cells, explicit_formats
    )
    if _read_differently(cells, candidates):
        cells = (
            raw.drop_nulls().str.strip_chars().unique(maintain_order=True)
        )  # a single cell outside the sample may decide
        shares = {format: _compute_share(cells, format) for format in candidates}
        candidates = [format for format in candidates if shares[format] == max(shares.values())]
        if _read_differently(cells, candidates):
            return _describe_ambiguity(cells, candidates)
    return DateFormat(
        candidates[0], _find_other_formats(cells, candidates[0]), _note_interpretation(raw.name, cells, candidates[0])
    )


def _read_differently(cells: pl.Series, formats: list[str]) -> bool:
    """Return whether the formats read the cells as different days."""
    first = _read_dates(cells, formats[0])
    return any(not _read_dates(cells, format).equals(first, null_equal=True) for format in formats[1:])


def convert_to_days(values: pl.Series) -> pl.Series:
    """Convert times to dates, if none has a time of day."""
    return values.cast(pl.Date) if (values.dt.time().drop_nulls() == time.min).all() else values


def _find_formats(cells: pl.Series) -> list[str | None]:
    """Return the formats that read the largest share of the cells; empty if that share is too small."""
    shares = {format: _compute_share(cells, format) for format in (None, *_list_matching_formats(cells))}
    max_share = max(shares.values())
    best_formats = [format for format, share in shares.items() if share == max_share]
    return best_formats if max_share >= MIN_SHARE and _are_plausible(cells, best_formats, max_share) else []


def _list_matching_formats(cells: pl.Series) -> list[str]:
    """Return the formats that match at least a quarter of the distinct cell shapes, the most common formats first."""
    shapes = {re.sub("[0-9]", "0", cell): cell for cell in cells.head(50 * SAMPLED_CELLS).unique(maintain_order=True)}
    examples = list(shapes.values())[:SAMPLED_CELLS]
    counts = Counter(format for cell in examples for format in _match_formats(cell))
    return [format for format, count in sorted(counts.items(), key=_rank_format) if count >= len(examples) / 4]


def _rank_format(format_count: tuple[str, int]) -> tuple[int, int]:
    day = next(
        day for day in (*OTHER_FORMATS, *sorted(DAY_FORMATS, key=len, reverse=True)) if format_count[0].startswith(day)
    )
    return (DAY_FORMATS.index(day) if day in DAY_FORMATS else len(DAY_FORMATS), len(format_count[0]))


def _match_formats(cell: str) -> Iterator[str]:
    """Yield the formats that match a cell: the end must match a clock pattern, the rest a day pattern."""
    days, clocks, others = _compile_patterns()
    yield from (format for format, pattern in others.items() if pattern.search(cell))
    for clock, pattern in clocks.items():
        if (clock_match := pattern.search(cell)) is not None:
            yield from (
                day + clock for day, day_pattern in days.items() if day_pattern.search(cell[: clock_match.start()])
            )


@cache
def _compile_patterns() -> tuple[dict[str, re.Pattern[str]], dict[str, re.Pattern[str]], dict[str, re.Pattern[str]]]:
    """Return the compiled patterns of days, of clocks at the end of a text, and of the other formats."""
    year = compile_format("%Y").pattern.removesuffix("$")
    clocks = {clock: re.compile(compile_format(f"%Y{clock}").pattern.removeprefix(year)) for clock in CLOCK_FORMATS}
    days, others = (
        {source_format: re.compile(compile_format(source_format).pattern) for source_format in formats}
        for formats in (DAY_FORMATS, OTHER_FORMATS)
    )
    return days, clocks, others


def _read_dates(cells: pl.Series, format: str | None) -> pl.Series:
    return read_column(cells, build_declaration("", {"type": "datetime", "format": format})).values


def _compute_share(cells: pl.Series, format: str | None) -> float:
    return 1 - _read_dates(cells, format).null_count() / len(cells)


def _are_plausible(cells: pl.Series, formats: list[str | None], share: float) -> bool:
    """Return whether whole numbers may be dates: many distinct ones, all valid, in years 1900 to 2100."""
    if not cells.str.contains("^[0-9]+$").all():
        return True
    in_range = [_read_dates(cells, format).dt.year().is_between(*PLAUSIBLE_YEARS).all() for format in formats]
    return share == 1 and cells.n_unique() >= MIN_DISTINCT_NUMBERS and any(in_range)


def _find_order(format: str) -> str:
    """Return the order of day, month and year in a format: dmy, mdy, ymd, or a part of these."""
    letters = re.findall("%([dmbY]|y)", format)
    return "".join(dict.fromkeys({"b": "m", "Y": "y"}.get(letter, letter) for letter in letters))


def _prefer_few_years(cells: pl.Series, formats: list[str]) -> list[str]:
    """Return the formats with few distinct years: of two-digit parts, the one that hardly varies is the year."""
    years = {format: _read_dates(cells, format).dt.year().n_unique() for format in formats}
    return [format for format in formats if years[format] <= 3 * min(years.values())]


def _describe_ambiguity(cells: pl.Series, formats: list[str]) -> DateFormat:
    """Return a problem that shows a cell which two formats read differently."""
    first = formats[0]
    other_format = next(
        candidate
        for candidate in formats
        if not _read_dates(cells, candidate).equals(_read_dates(cells, first), null_equal=True)
    )
    days = _read_dates(cells, first), _read_dates(cells, other_format)
    index = (days[0] != days[1]).fill_null(True).arg_true()[0]
    readings = " or ".join(
        f'{day[index]:%-d %B %Y} (--dates {_find_order(format)}, format: "{format}")'
        for day, format in zip(days, (first, other_format), strict=True)
    )
    return DateFormat(first, f"day and month can't be told apart: {cells[index]} is {readings}; say which")


def _find_mixed_formats(cells: pl.Series) -> DateFormat | None:
    """Return a problem if only several formats together read the cells; None otherwise."""
    values = {format: _read_dates(cells, format) for format in _list_matching_formats(cells)}
    if not values or cells.str.contains("^[0-9]+$").all():
        return None
    best = min(values, key=lambda format: values[format].null_count())
    are_read = pl.DataFrame(values).select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    unread = cells.filter(values[best].is_null() & are_read)
    if are_read.sum() < MIN_SHARE * len(cells) or unread.is_empty():
        return None
    return DateFormat(None, _describe_forms(cells.filter(values[best].is_not_null())[0], unread[0]))


def _describe_forms(one: str, other: str) -> str:
    return f"dates in several forms, such as {one} and {other}: write them alike, best as 2024-12-31"


def _find_other_formats(cells: pl.Series, chosen: str) -> str | None:
    """Return a problem if the unread cells are dates in another format or order; None otherwise."""
    values = _read_dates(cells, chosen)
    unread = cells.filter(values.is_null()).unique(maintain_order=True)
    if unread.is_empty() or not (
        other_formats := [candidate for candidate in _find_formats(unread) if candidate != chosen]
    ):
        return None
    if len(unread) == 1 and _read_dates(unread, other_formats[0]).is_null().any():
        return None
    return _describe_forms(cells.filter(values.is_not_null())[0], unread[0])


def note_distant_years(values: pl.Series, format: str | None) -> list[str]:
    """Return a note on two-digit years that may belong to the previous century, such as years of birth."""
    last = values.dt.year().max()
    if format is None or "%y" not in format or not isinstance(last, int) or last < AMBIGUOUS_CENTURY_YEAR:
        return []
    return [
        f"'{values.name}' has years of two digits, read as 1969 to 2068, here up to {last}: have the source write four "
        "if some are of the century before"
    ]


def _note_interpretation(name: str, cells: pl.Series, format: str) -> tuple[str, ...]:
    """Return a note on how dates that could be misread were interpreted."""
    if _find_order(format) in {"ymd", "ym", "my"} or "%b" in format:
        return ()
    cells = cells.filter(cells.str.contains(compile_format(format).pattern))
    values = _read_dates(cells, format)
    day, month = values.dt.day(), values.dt.month()
    index = next(
        condition for condition in (day > 12, day != month, values.is_not_null()) if condition.any()
    ).arg_true()[0]
    return (f"'{name}' has dates such as {cells[index]}: read as {values[index]:%-d %B %Y} (format {format})",)
