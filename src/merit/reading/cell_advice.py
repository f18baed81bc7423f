"""Messages about cells that can't be read: which cells, and what to declare."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import polars as pl

from merit.reading.column_cells import read_column
from merit.reading.declaration import MAX_EXACT_INTEGER, ColumnDeclaration

MAX_CELLS_SHOWN = 3
MAX_CELL_LENGTH = 24
"""The maximum number of characters shown of a cell."""
MAX_CELLS_EXAMINED = 1000
DATE_FORMATS = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%y",
    "%d/%m/%y", "%m/%d/%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%a, %d %b %Y", "%Y-%m", "%m/%Y", "%b %Y",
)  # fmt: skip
TIME_SUFFIXES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")


def describe_unread(raw: pl.Series, unread: pl.Series, column: ColumnDeclaration) -> str:
    """Return which cells of a column can't be read, by value and row counted from 0, and what to change."""
    rows = unread.arg_true()
    examples = [f"{_format_cell(raw[row])} (row {row})" for row in rows.head(MAX_CELLS_SHOWN)]
    remainder_text = f" and {len(rows) - MAX_CELLS_SHOWN:,} more" if len(rows) > MAX_CELLS_SHOWN else ""
    cells = "1 cell" if len(rows) == 1 else f"{len(rows):,} cells"
    cells_read = f"{cells} can't be read as {_describe_type(column)}: {', '.join(examples)}{remainder_text}"
    return f"{cells_read}; {suggest_change(raw.filter(unread), column)}"


def _describe_type(column: ColumnDeclaration) -> str:
    if column.type == "array":
        return f"an array of the shape {list(column.shape)}"
    return f"{'an' if column.type[0] in 'aeiou' else 'a'} {column.type}"


def _format_cell(value: Any) -> str:
    """Return a cell's value, on one line and truncated."""
    text = "".join(each if each.isprintable() else "?" for each in str(value))
    shortened = text if len(text) <= MAX_CELL_LENGTH else f"{text[: MAX_CELL_LENGTH - 1]}…"
    return repr(shortened) if isinstance(value, str) else shortened


def find_causes(raw: pl.Series, unread: pl.Series, column: ColumnDeclaration) -> Iterator[tuple[pl.Series, str]]:
    """Yield each reason why cells can't be read, as a predicate of a cell, with the mask of those cells."""
    stripped = raw.cast(pl.String, strict=False).str.strip_chars() if column.type in {"integer", "number"} else None
    if stripped is not None:
        value = stripped.cast(pl.Float64, strict=False)
        infinite = unread & value.is_infinite().fill_null(False)
        large = (
            unread
            & ~infinite
            & (value.abs() >= MAX_EXACT_INTEGER).fill_null(False)
            & stripped.str.contains(r"^[+-]?[0-9]+(\.0*)?$")
        )
        for cells, reason in (
            (infinite, "is not finite"),
            (large, "is beyond 2**53, from where on integers are not exact"),
        ):
            if cells.any():
                yield cells, reason
        unread = unread & ~infinite & ~large
    if unread.any():
        yield unread, f"is not {_describe_type(column)}"


def suggest_change(cells: pl.Series, column: ColumnDeclaration) -> str:
    """Return what to change, given the cells that can't be read."""
    distinct = cells.unique(maintain_order=True).head(MAX_CELLS_EXAMINED)
    if column.type in {"integer", "number"}:
        if _are_large_integers(distinct):
            return (
                "whole numbers beyond 2**53 become others in the model's arithmetic: declare {type: string, feature: "
                "category} for codes and have the source give text, or write amounts as 1.5e16"
            )
        if distinct.dtype.is_numeric():
            return "declare {type: number}, and make infinite ones missing"
    if distinct.dtype != pl.String:
        return "correct the data, or drop such rows by data.filter"
    options = list_readable_settings(distinct, column)
    if options:
        return f"declare {' or '.join(options[:2])}{', whichever is meant' if options[1:] else ''}"
    allowed = {"boolean": "true, false, 1 and 0 can be read", "datetime": "2024-01-31 and 2024-01-31T15:30 can be read"}
    listed = ", ".join(_format_cell(each) for each in distinct.head(MAX_CELLS_SHOWN))
    accepted_text = f"{allowed[column.type]}; " if column.type in allowed else ""
    return f"{accepted_text}declare null_values: [{listed}] if they mean that there is no value, or correct the data"


def _are_large_integers(cells: pl.Series) -> bool:
    cell_text = cells.cast(pl.String)
    return bool(cell_text.str.contains(r"^\s*[+-]?[0-9]+\s*$").all()) and bool(
        (cell_text.str.strip_chars().cast(pl.Float64, strict=False).abs() >= MAX_EXACT_INTEGER).all()
    )


def list_readable_settings(cells: pl.Series, column: ColumnDeclaration) -> list[str]:
    """Return the settings, in YAML, each of which would by itself make all of these cells readable."""
    return [
        _to_yaml(settings)
        for settings in _iterate_candidates(cells, column)
        if _can_read(cells, replace(column, **settings))
    ]


def _can_read(cells: pl.Series, column: ColumnDeclaration) -> bool:
    return read_column(cells, column).unread is None


def _iterate_candidates(cells: pl.Series, column: ColumnDeclaration) -> Iterator[dict[str, Any]]:
    if column.type == "datetime":
        yield from ({"format": day + clock} for day, clock in product(DATE_FORMATS, TIME_SUFFIXES))
    if column.type not in {"integer", "number"}:
        return
    separator_settings: list[dict[str, Any]] = [
        {"decimal": ","},
        {"thousands": ","},
        {"decimal": ",", "thousands": "."},
        {"thousands": " "},
        {"thousands": "'"},
        {"decimal": ",", "thousands": " "},
    ]
    marks = _find_affixes(cells)
    sign_settings: list[dict[str, Any]] = [{"negative": "parentheses"}] if cells.str.contains(r"\(").any() else [{}]
    affix_settings: list[dict[str, Any]] = [{"affixes": marks}] if marks else [{}]
    separator_free = [
        settings for sign, mark in product(sign_settings, affix_settings) if (settings := {**sign, **mark})
    ]
    yield from separator_free
    if not any(_can_read(cells, replace(column, **settings)) for settings in separator_free):
        yield from (
            {**group, **sign, **mark}
            for group, sign, mark in product(separator_settings, sign_settings, affix_settings)
        )


def _find_affixes(cells: pl.Series) -> tuple[str, ...]:
    """Return the marks before or after the digits of numbers, if there are only a few different ones."""
    ends = [
        cells.str.extract(r"^[\s(+-]*([^\s\d.,()+-]{1,5})[\s(+-]*[\d.,]"),
        cells.str.extract(r"\d[\s)]*([^\s\d.,()]{1,5})[\s)]*$"),
    ]
    marks = pl.concat(ends).drop_nulls().unique(maintain_order=True)
    return tuple(marks.to_list()) if 0 < len(marks) <= MAX_CELLS_SHOWN else ()


def _to_yaml(settings: dict[str, Any]) -> str:
    """Return settings in YAML."""
    import json

    values = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    return ", ".join(
        f"{key}: {value if value == 'parentheses' else json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
    )
