"""Parse numbers from text; a cell is read only if every character of it is accounted for."""

from functools import cache
from typing import Any

import polars as pl

from merit.reading.declaration import MAX_EXACT_INTEGER, ColumnDeclaration
from merit.reading.patterns import escape_pattern

NAN_WORDS = ("nan", "NaN", "NAN")
"""Texts that mean NaN in any column of numbers."""
BLANK_PATTERN = "[ \\t\u00a0\u202f]*"
DECIMAL_SEPARATORS, THOUSANDS_SEPARATORS = (".", ","), (",", ".", " ", "'", "_")
"""The decimal separators and the thousands separators."""
_SEPARATOR_PATTERNS = {" ": "[ \u00a0\u202f]", "'": "['\u2019]"}
INTEGER_PATTERN = r"^[+-]?[0-9]+$"


def parse_numbers(text: pl.Series, column: ColumnDeclaration) -> pl.Series:
    """Return text as numbers, float64 [rows]; NaN for a text of `NO_NUMBER`, null where no number can be read.

    An integer beyond 2**53 can't be read, because float64 would change it.
    """
    plain = _normalize_text(text, column)
    values = plain.cast(pl.Float64, strict=False)
    if column.has_plain_numbers:
        values = _retry_stripped(plain, values, pl.Float64())
    return values if get_max_magnitude(values) < MAX_EXACT_INTEGER else _remove_inexact(plain, values)


def get_max_magnitude(values: pl.Series) -> float:
    """Return the greatest absolute value, ignoring NaN."""
    limits: Any = (values.min(), values.max())
    return 0 if limits[0] is None else max(map(abs, limits))  # in Python, so that integers stay exact


def _remove_inexact(text: pl.Series, values: pl.Series) -> pl.Series:
    """Return numbers without infinite ones and without integers that float64 can't represent exactly."""
    values = values.set(values.is_infinite().fill_null(False), None)
    large = (values.abs() >= MAX_EXACT_INTEGER).fill_null(False)
    large_cells = text.filter(large).str.strip_chars()
    is_exact = ~large_cells.str.contains(INTEGER_PATTERN) | (
        large_cells.cast(pl.Int64, strict=False).abs() <= MAX_EXACT_INTEGER
    ).fill_null(False)
    return values.set(large.scatter(large.arg_true(), ~is_exact), None)


def parse_integers(text: pl.Series, column: ColumnDeclaration) -> pl.Series:
    """Return text as integers, int64 [rows]; null where none can be read: 2.0 can, 2.5 can't."""
    plain = _normalize_text(text, column)
    values = plain.cast(pl.Int64, strict=False)
    if column.has_plain_numbers:
        values = _retry_stripped(plain, values, pl.Int64())
    if values.null_count() > plain.null_count():
        unread = values.is_null() & plain.is_not_null()
        values = values.scatter(unread.arg_true(), to_integers(parse_numbers(plain.filter(unread), _PLAIN_NUMBER)))
    return (
        values
        if get_max_magnitude(values) <= MAX_EXACT_INTEGER
        else values.set((values.abs() > MAX_EXACT_INTEGER).fill_null(False), None)
    )


def to_integers(values: pl.Series) -> pl.Series:
    """Return float64 as int64, null where it is no integer or maybe was another one: 2**53 + 1 is stored as 2**53."""
    exact = values.set(~(values.abs() < MAX_EXACT_INTEGER).fill_null(False), None)
    result = exact.cast(pl.Int64, strict=False)
    return result.set((result.cast(pl.Float64) != exact).fill_null(False), None)


_PLAIN_NUMBER = ColumnDeclaration("", "number")


def _retry_stripped(text: pl.Series, values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Retry the cells that were not read with the blanks around them stripped; few cells have any."""
    if values.null_count() == text.null_count():
        return values
    unread = values.is_null() & text.is_not_null()
    retried = text.filter(unread).str.strip_chars().cast(dtype, strict=False)
    return values.scatter(unread.arg_true(), retried)


def _normalize_text(text: pl.Series, column: ColumnDeclaration) -> pl.Series:
    """Return numbers in programming notation; null where a cell isn't written as declared."""
    if column.has_plain_numbers:
        return text
    parts = text.str.extract_groups(build_pattern(column)).struct.unnest()
    digits = parts["number"]
    if column.thousands:
        digits = digits.str.replace_all(_get_separator_pattern(column.thousands), "")
    digits = digits.str.replace(column.decimal or ".", ".", literal=True)
    is_open = parts["open"] if column.negative else pl.repeat(None, len(text), dtype=pl.String, eager=True)
    is_closed = parts["close"] if column.negative else is_open
    minus = (parts["sign"].is_in(["-", "\u2212"]) | is_open.is_not_null()).fill_null(False)
    result = pl.select(pl.when(minus).then("-" + digits).otherwise(digits)).to_series()
    is_unbalanced = (is_open.is_null() != is_closed.is_null()) | (is_open.is_not_null() & parts["sign"].is_not_null())
    result = result.set(is_unbalanced, None)
    return result.set(text.is_in(list(NAN_WORDS)).fill_null(False), "nan")


@cache
def build_pattern(column: ColumnDeclaration) -> str:
    """Return the pattern of a number with the sign, affixes and thousands separators that the column declares."""
    longest = sorted(column.affixes, key=len, reverse=True)
    affix_pattern = f"(?:{'|'.join(map(escape_pattern, longest))})?" if longest else ""
    blank_or_affix = f"{BLANK_PATTERN}{affix_pattern}{BLANK_PATTERN}"
    point = escape_pattern(column.decimal or ".")
    digits = "[0-9]+"
    if column.thousands:
        group = _get_separator_pattern(column.thousands)
        digits = f"(?:[0-9]{{1,3}}(?:{group}[0-9]{{2,3}})*{group}[0-9]{{3}}|[0-9]+)"
    number = f"(?P<number>(?:{digits}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    is_open, is_closed = (r"(?P<open>\()?", r"(?P<close>\))?") if column.negative else ("", "")
    sign = "(?P<sign>[+\u2212-])?"
    parts = ("^", is_open, sign, number, is_closed, "$")
    return blank_or_affix.join(parts)


def _get_separator_pattern(separator: str) -> str:
    return _SEPARATOR_PATTERNS.get(separator, escape_pattern(separator))
