"""Messages about cells that can't be read: which cells, and what to declare."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import polars as pl

from merit.reading.cells import read
from merit.reading.declaration import EXACT, Declaration

SHOWN = 3
LONGEST = 24
"""The maximum number of characters shown of a cell."""
LOOKED_AT = 1000
FORMATS = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%y",
    "%d/%m/%y", "%m/%d/%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%a, %d %b %Y", "%Y-%m", "%m/%Y", "%b %Y",
)  # fmt: skip
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")


def describe(raw: pl.Series, unread: pl.Series, column: Declaration) -> str:
    """Return which cells of a column can't be read, by value and row counted from 0, and what to change."""
    rows = unread.arg_true()
    few = [f"{_cell(raw[row])} (row {row})" for row in rows.head(SHOWN)]
    more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
    cells = "1 cell" if len(rows) == 1 else f"{len(rows):,} cells"
    cells_read = f"{cells} can't be read as {_kind(column)}: {', '.join(few)}{more}"
    return f"{cells_read}; {advice(raw.filter(unread), column)}"


def _kind(column: Declaration) -> str:
    if column.type == "array":
        return f"an array of the shape {list(column.shape)}"
    return f"{'an' if column.type[0] in 'aeiou' else 'a'} {column.type}"


def _cell(value: Any) -> str:
    """Return a cell's value, on one line and truncated."""
    text = "".join(each if each.isprintable() else "?" for each in str(value))
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return repr(shown) if isinstance(value, str) else shown


def causes(raw: pl.Series, unread: pl.Series, column: Declaration) -> Iterator[tuple[pl.Series, str]]:
    """Yield each reason why cells can't be read, as a predicate of a cell, with the mask of those cells."""
    bare = raw.cast(pl.String, strict=False).str.strip_chars() if column.type in {"integer", "number"} else None
    if bare is not None:
        value = bare.cast(pl.Float64, strict=False)
        infinite = unread & value.is_infinite().fill_null(False)
        large = (
            unread & ~infinite & (value.abs() >= EXACT).fill_null(False) & bare.str.contains(r"^[+-]?[0-9]+(\.0*)?$")
        )
        for cells, reason in (
            (infinite, "is not finite"),
            (large, "is beyond 2**53, from where on integers are not exact"),
        ):
            if cells.any():
                yield cells, reason
        unread = unread & ~infinite & ~large
    if unread.any():
        yield unread, f"is not {_kind(column)}"


def advice(cells: pl.Series, column: Declaration) -> str:
    """Return what to change, given the cells that can't be read."""
    some = cells.unique(maintain_order=True).head(LOOKED_AT)
    if column.type in {"integer", "number"}:
        if _are_large(some):
            return (
                "whole numbers beyond 2**53 become others in the model's arithmetic: declare {type: string, feature: "
                "category} for codes and have the source give text, or write amounts as 1.5e16"
            )
        if some.dtype.is_numeric():
            return "declare {type: number}, and make infinite ones missing"
    if some.dtype != pl.String:
        return "mend the data, or drop such rows by data.filter"
    options = ways(some, column)
    if options:
        return f"declare {' or '.join(options[:2])}{', whichever is meant' if options[1:] else ''}"
    allowed = {"boolean": "true, false, 1 and 0 can be read", "datetime": "2024-01-31 and 2024-01-31T15:30 can be read"}
    listed = ", ".join(_cell(each) for each in some.head(SHOWN))
    first = f"{allowed[column.type]}; " if column.type in allowed else ""
    return f"{first}declare null_values: [{listed}] if they mean that there is no value, or mend the data"


def _are_large(cells: pl.Series) -> bool:
    bare = cells.cast(pl.String)
    return bool(bare.str.contains(r"^\s*[+-]?[0-9]+\s*$").all()) and bool(
        (bare.str.strip_chars().cast(pl.Float64, strict=False).abs() >= EXACT).all()
    )


def ways(cells: pl.Series, column: Declaration) -> list[str]:
    """Return the settings, in YAML, each of which would by itself make all of these cells readable."""
    return [_yaml(settings) for settings in _candidates(cells, column) if _reads(cells, replace(column, **settings))]


def _reads(cells: pl.Series, column: Declaration) -> bool:
    return read(cells, column).unread is None


def _candidates(cells: pl.Series, column: Declaration) -> Iterator[dict[str, Any]]:
    if column.type == "datetime":
        yield from ({"format": day + clock} for day, clock in product(FORMATS, CLOCKS))
    if column.type not in {"integer", "number"}:
        return
    groups: list[dict[str, Any]] = [{"decimal": ","}, {"thousands": ","}, {"decimal": ",", "thousands": "."},
                                    {"thousands": " "}, {"thousands": "'"},
                                    {"decimal": ",", "thousands": " "}]  # fmt: skip
    marks = _marks(cells)
    signs: list[dict[str, Any]] = [{"negative": "parentheses"}] if cells.str.contains(r"\(").any() else [{}]
    around: list[dict[str, Any]] = [{"affixes": marks}] if marks else [{}]
    exact = [settings for sign, mark in product(signs, around) if (settings := {**sign, **mark})]
    yield from exact
    if not any(_reads(cells, replace(column, **settings)) for settings in exact):
        yield from ({**group, **sign, **mark} for group, sign, mark in product(groups, signs, around))


def _marks(cells: pl.Series) -> tuple[str, ...]:
    """Return the marks before or after the digits of numbers, if there are only a few different ones."""
    ends = [
        cells.str.extract(r"^[\s(+-]*([^\s\d.,()+-]{1,5})[\s(+-]*[\d.,]"),
        cells.str.extract(r"\d[\s)]*([^\s\d.,()]{1,5})[\s)]*$"),
    ]
    marks = pl.concat(ends).drop_nulls().unique(maintain_order=True)
    return tuple(marks.to_list()) if 0 < len(marks) <= SHOWN else ()


def _yaml(settings: dict[str, Any]) -> str:
    """Return settings in YAML."""
    import json

    written = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    return ", ".join(
        f"{key}: {value if value == 'parentheses' else json.dumps(value, ensure_ascii=False)}"
        for key, value in written.items()
    )
