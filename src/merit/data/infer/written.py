"""Detects the type and notation of a column, such as the format of its numbers and dates, from all its cells."""

from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from merit.data.infer import dates, numbers
from merit.data.infer.odd import UnreadableCells, note_outliers, sample_cells
from merit.reading.column_cells import read_column
from merit.reading.declaration import build_declaration
from merit.reading.inference import infer_column

ZONE_PATTERN = r":.*(?:[Zz]|[+-]\d\d:?\d*)$"


@dataclass(frozen=True)
class ParsedColumn:
    """A column converted to its detected type.

    Attributes:
        values: the values in that type.
        settings: the notation of the cells, as conf/data must declare it.
        problem: why the column can't be used, with advice; None if it can.
        description: a description for the comment in conf/data.
        notes: remarks for the user.
    """

    values: pl.Series
    settings: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    description: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The column's name."""
        return self.values.name


def parse_column(
    raw: pl.Series, *, is_text: bool, with_semicolons: bool = False, order: str | None = None
) -> ParsedColumn:
    """Detect the type and notation of a column's cells.

    Args:
        raw: the column as its source returns it.
        is_text: whether the source has no types; text that contains only whole numbers is then converted to numbers.
        with_semicolons: whether the file's separator is a semicolon, which suggests decimal commas.
        order: dmy, mdy or ymd, for ambiguous dates.
    """
    if raw.dtype in (pl.Categorical, pl.Enum):
        raw = raw.cast(pl.String)
    parsed = (
        _parse_text(raw, order, is_text=is_text, semicolons=with_semicolons)
        if raw.dtype == pl.String
        else _convert_typed(raw)
    )
    return (
        parsed
        if parsed.problem is not None
        else replace(parsed, notes=[*parsed.notes, *note_outliers(raw, parsed.values)])
    )


def _parse_text(raw: pl.Series, order: str | None, *, is_text: bool, semicolons: bool) -> ParsedColumn:
    plain = infer_column(raw, is_text=is_text)
    if raw.null_count() == len(raw) or plain.dtype == pl.Boolean:
        return ParsedColumn(plain)
    if plain.dtype.is_temporal():
        return ParsedColumn(plain, notes=_note_zone(raw))
    may_be_dates = plain.dtype == pl.String or bool(sample_cells(raw).str.contains(dates.DIGITS_PATTERN).all())
    if may_be_dates and (date_format := dates.detect_dates(raw, order)) is not None:
        return _parse_dates(raw, date_format)
    if plain.dtype != pl.String:
        return ParsedColumn(plain, notes=numbers.note_ambiguity(raw.name, sample_cells(raw), {}) if semicolons else [])
    return _parse_numbers(raw, is_text=is_text, with_semicolons=semicolons)


def _convert_typed(raw: pl.Series) -> ParsedColumn:
    """Return a column to which the source gives a type."""
    if isinstance(raw.dtype, pl.Datetime) and raw.dtype.time_zone is not None:
        values = read_column(raw, build_declaration(raw.name, {"type": "datetime"})).values
        return ParsedColumn(values, notes=[_describe_utc(raw.name, raw.dtype.time_zone)])
    if raw.dtype.is_integer() and (large_text := numbers.describe_inexact(raw)):
        return ParsedColumn(raw, problem=f"{large_text}; have the source give text, and they are categories")
    return ParsedColumn(raw)


def _note_zone(raw: pl.Series) -> list[str]:
    return [_describe_utc(raw.name)] if raw.drop_nulls().head(1000).str.contains(ZONE_PATTERN).any() else []


def _describe_utc(name: str, zone: str = "") -> str:
    zone_text = f" ({zone})" if zone and zone != "UTC" else ""
    return f"'{name}' has times with a zone{zone_text}: they become UTC, here as when the model is asked"


def _parse_dates(raw: pl.Series, date_format: dates.DateFormat) -> ParsedColumn:
    if date_format.problem is not None:
        settings = {"type": "datetime", "format": date_format.format} if date_format.format else {}
        return ParsedColumn(raw, settings, date_format.problem)
    settings = {"format": date_format.format} if date_format.format else {}
    reading = read_column(raw, build_declaration(raw.name, {"type": "datetime", **settings}))
    unreadable = UnreadableCells.from_column(raw, reading.unread)
    if not unreadable.are_few:
        return ParsedColumn(raw, settings, unreadable.problem("dates"))
    description = "; ".join(
        filter(None, [f"written as {date_format.format}" if date_format.format else "", unreadable.description])
    )
    notes = [
        *unreadable.notes("dates"),
        *date_format.notes,
        *dates.note_distant_years(reading.values, date_format.format),
        *_note_zone(raw),
    ]
    return ParsedColumn(dates.convert_to_days(reading.values), settings | unreadable.settings, None, description, notes)


def _parse_numbers(raw: pl.Series, *, is_text: bool, with_semicolons: bool) -> ParsedColumn:
    cells = sample_cells(raw)
    number_format = numbers.detect_numbers(raw, cells, with_semicolons=with_semicolons)
    if number_format is None or (not is_text and number_format.are_plain):
        return ParsedColumn(raw)
    if number_format.settings is None:
        return ParsedColumn(raw, {}, number_format.problem, number_format.description, number_format.notes)
    unreadable = UnreadableCells.from_column(raw, numbers.mask_unread(raw, number_format.settings))
    if unreadable.cells.height and (
        other_format := numbers.detect_numbers(raw, unreadable.combine_with(cells), with_semicolons=with_semicolons)
    ):
        # Cells outside the sample may be numbers in another notation.
        number_format = other_format if other_format.settings is not None else number_format
        unreadable = UnreadableCells.from_column(raw, numbers.mask_unread(raw, number_format.settings or {}))
    if not unreadable.are_few:
        return ParsedColumn(raw, {}, unreadable.problem("numbers"))
    values = numbers.convert_to_whole(
        read_column(raw, build_declaration(raw.name, {"type": "number", **(number_format.settings or {})})).values
    )
    if unreadable.has_codes and values.drop_nulls().n_unique() <= numbers.MAX_CODES:
        return ParsedColumn(raw, description="codes, some of them no numbers")
    description = "; ".join(filter(None, [number_format.description, unreadable.description]))
    settings = (number_format.settings or {}) | unreadable.settings
    return ParsedColumn(values, settings, None, description, [*unreadable.notes("numbers"), *number_format.notes])
