"""Detects the type and notation of a column, such as the format of its numbers and dates, from all its cells."""

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from merit.data.infer import dates, numbers
from merit.data.infer.odd import OddCells, far_values, sample
from merit.reading.cells import read_column
from merit.reading.declaration import build_declaration
from merit.reading.inference import infer_column

ZONE = r":.*(?:[Zz]|[+-]\d\d:?\d*)$"


@dataclass(frozen=True)
class Written:
    """A column converted to its detected type.

    Attributes:
        values: the values in that type.
        settings: the notation of the cells, as conf/data must declare it.
        problem: why the column can't be used, with advice; None if it can.
        seen: a description for the comment in conf/data.
        notes: remarks for the user.
    """

    values: pl.Series
    settings: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    seen: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The column's name."""
        return self.values.name


def written(raw: pl.Series, *, is_text: bool, with_semicolons: bool = False, order: str | None = None) -> Written:
    """Detect the type and notation of a column's cells.

    Args:
        raw: the column as its source returns it.
        is_text: whether the source has no types; text that contains only whole numbers is then converted to numbers.
        with_semicolons: whether the file's separator is a semicolon, which suggests decimal commas.
        order: dmy, mdy or ymd, for ambiguous dates.
    """
    if raw.dtype in (pl.Categorical, pl.Enum):
        raw = raw.cast(pl.String)
    made = _of_text(raw, order, is_text=is_text, semicolons=with_semicolons) if raw.dtype == pl.String else _typed(raw)
    return made if made.problem is not None else replace(made, notes=[*made.notes, *far_values(raw, made.values)])


def _of_text(raw: pl.Series, order: str | None, *, is_text: bool, semicolons: bool) -> Written:
    plain = infer_column(raw, is_text=is_text)
    if raw.null_count() == len(raw) or plain.dtype == pl.Boolean:
        return Written(plain)
    if plain.dtype.is_temporal():
        return Written(plain, notes=_zoned(raw))
    may_be_dates = plain.dtype == pl.String or bool(sample(raw).str.contains(dates.DIGITS).all())
    if may_be_dates and (found := dates.dates_in(raw, order)) is not None:
        return _dated(raw, found)
    if plain.dtype != pl.String:
        return Written(plain, notes=numbers.doubts(raw.name, sample(raw), {}) if semicolons else [])
    return _numbered(raw, is_text=is_text, with_semicolons=semicolons)


def _typed(raw: pl.Series) -> Written:
    """Return a column to which the source gives a type."""
    if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is not None:
        values = read_column(raw, build_declaration(raw.name, {"type": "datetime"})).values
        return Written(values, notes=[_in_utc(raw.name, raw.dtype.time_zone)])
    if raw.dtype.is_integer() and (large := numbers.beyond(raw)):
        return Written(raw, problem=f"{large}; have the source give text, and they are categories")
    return Written(raw)


def _zoned(raw: pl.Series) -> list[str]:
    return [_in_utc(raw.name)] if raw.drop_nulls().head(1000).str.contains(ZONE).any() else []


def _in_utc(name: str, zone: str = "") -> str:
    told = f" ({zone})" if zone and zone != "UTC" else ""
    return f"'{name}' has times with a zone{told}: they become UTC, here as when the model is asked"


def _dated(raw: pl.Series, found: dates.Dates) -> Written:
    if found.problem is not None:
        settings = {"type": "datetime", "format": found.format} if found.format else {}
        return Written(raw, settings, found.problem)
    settings = {"format": found.format} if found.format else {}
    reading = read_column(raw, build_declaration(raw.name, {"type": "datetime", **settings}))
    odd = OddCells.of(raw, reading.unread)
    if not odd.are_few:
        return Written(raw, settings, odd.problem("dates"))
    seen = "; ".join(filter(None, [f"written as {found.format}" if found.format else "", odd.seen]))
    notes = [*odd.notes("dates"), *found.notes, *dates.far_years(reading.values, found.format), *_zoned(raw)]
    return Written(dates.days(reading.values), settings | odd.settings, None, seen, notes)


def _numbered(raw: pl.Series, *, is_text: bool, with_semicolons: bool) -> Written:
    cells = sample(raw)
    found = numbers.numbers_in(raw, cells, with_semicolons=with_semicolons)
    if found is None or (not is_text and found.are_plain):
        return Written(raw)
    if found.settings is None:
        return Written(raw, {}, found.problem, found.seen, found.notes)
    odd = OddCells.of(raw, numbers.unread(raw, found.settings))
    if odd.cells.height and (other := numbers.numbers_in(raw, odd.with_others(cells), with_semicolons=with_semicolons)):
        # Cells outside the sample may be numbers in another notation.
        found = other if other.settings is not None else found
        odd = OddCells.of(raw, numbers.unread(raw, found.settings or {}))
    if not odd.are_few:
        return Written(raw, {}, odd.problem("numbers"))
    values = numbers.whole(
        read_column(raw, build_declaration(raw.name, {"type": "number", **(found.settings or {})})).values
    )
    if odd.has_codes and values.drop_nulls().n_unique() <= numbers.CODES:
        return Written(raw, seen="codes, some of them no numbers")
    seen = "; ".join(filter(None, [found.seen, odd.seen]))
    settings = (found.settings or {}) | odd.settings
    return Written(values, settings, None, seen, [*odd.notes("numbers"), *found.notes])
