"""Parse numbers from text; a cell is read only if every character of it is accounted for."""

from functools import cache
from typing import Any

import polars as pl

from merit.reading.declaration import EXACT, Declaration
from merit.reading.patterns import escaped

NO_NUMBER = ("nan", "NaN", "NAN")
"""Texts that mean NaN in any column of numbers."""
BLANK = "[ \\t\u00a0\u202f]*"
DECIMALS, THOUSANDS = (".", ","), (",", ".", " ", "'", "_")
"""The decimal separators and the thousands separators."""
_GROUPS = {" ": "[ \u00a0\u202f]", "'": "['\u2019]"}
WHOLE = r"^[+-]?[0-9]+$"


def numbers(text: pl.Series, column: Declaration) -> pl.Series:
    """Return text as numbers, float64 [rows]; NaN for a text of `NO_NUMBER`, null where no number can be read.

    An integer beyond 2**53 can't be read, because float64 would change it.
    """
    plain = _plain(text, column)
    values = plain.cast(pl.Float64, strict=False)
    if column.is_plain:
        values = _retried(plain, values, pl.Float64())
    return values if extent(values) < EXACT else _without_large(plain, values)


def extent(values: pl.Series) -> float:
    """Return the greatest absolute value, ignoring NaN."""
    ends: Any = (values.min(), values.max())
    return 0 if ends[0] is None else max(map(abs, ends))  # in Python, so that integers stay exact


def _without_large(text: pl.Series, values: pl.Series) -> pl.Series:
    """Return numbers without infinite ones and without integers that float64 can't represent exactly."""
    values = values.set(values.is_infinite().fill_null(False), None)
    large = (values.abs() >= EXACT).fill_null(False)
    some = text.filter(large).str.strip_chars()
    is_exact = ~some.str.contains(WHOLE) | (some.cast(pl.Int64, strict=False).abs() <= EXACT).fill_null(False)
    return values.set(large.scatter(large.arg_true(), ~is_exact), None)


def integers(text: pl.Series, column: Declaration) -> pl.Series:
    """Return text as integers, int64 [rows]; null where none can be read: 2.0 can, 2.5 can't."""
    plain = _plain(text, column)
    values = plain.cast(pl.Int64, strict=False)
    if column.is_plain:
        values = _retried(plain, values, pl.Int64())
    if values.null_count() > plain.null_count():
        left = values.is_null() & plain.is_not_null()
        values = values.scatter(left.arg_true(), whole(numbers(plain.filter(left), _PLAIN)))
    return values if extent(values) <= EXACT else values.set((values.abs() > EXACT).fill_null(False), None)


def whole(values: pl.Series) -> pl.Series:
    """Return float64 as int64, null where it is no integer or maybe was another one: 2**53 + 1 is stored as 2**53."""
    exact = values.set(~(values.abs() < EXACT).fill_null(False), None)
    result = exact.cast(pl.Int64, strict=False)
    return result.set((result.cast(pl.Float64) != exact).fill_null(False), None)


_PLAIN = Declaration("", "number")


def _retried(text: pl.Series, values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Retry the cells that were not read with the blanks around them stripped; few cells have any."""
    if values.null_count() == text.null_count():
        return values
    left = values.is_null() & text.is_not_null()
    again = text.filter(left).str.strip_chars().cast(dtype, strict=False)
    return values.scatter(left.arg_true(), again)


def _plain(text: pl.Series, column: Declaration) -> pl.Series:
    """Return numbers in programming notation; null where a cell isn't written as declared."""
    if column.is_plain:
        return text
    parts = text.str.extract_groups(pattern(column)).struct.unnest()
    digits = parts["number"]
    if column.thousands:
        digits = digits.str.replace_all(_group(column.thousands), "")
    digits = digits.str.replace(column.decimal or ".", ".", literal=True)
    is_open = parts["open"] if column.negative else pl.repeat(None, len(text), dtype=pl.String, eager=True)
    is_closed = parts["close"] if column.negative else is_open
    minus = (parts["sign"].is_in(["-", "\u2212"]) | is_open.is_not_null()).fill_null(False)
    result = pl.select(pl.when(minus).then("-" + digits).otherwise(digits)).to_series()
    wrong = (is_open.is_null() != is_closed.is_null()) | (is_open.is_not_null() & parts["sign"].is_not_null())
    result = result.set(wrong, None)
    return result.set(text.is_in(list(NO_NUMBER)).fill_null(False), "nan")


@cache
def pattern(column: Declaration) -> str:
    """Return the pattern of a number with the sign, affixes and thousands separators that the column declares."""
    longest = sorted(column.affixes, key=len, reverse=True)
    marks = f"(?:{'|'.join(map(escaped, longest))})?" if longest else ""
    between = f"{BLANK}{marks}{BLANK}"
    point = escaped(column.decimal or ".")
    digits = "[0-9]+"
    if column.thousands:
        group = _group(column.thousands)
        digits = f"(?:[0-9]{{1,3}}(?:{group}[0-9]{{2,3}})*{group}[0-9]{{3}}|[0-9]+)"
    number = f"(?P<number>(?:{digits}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    is_open, is_closed = (r"(?P<open>\()?", r"(?P<close>\))?") if column.negative else ("", "")
    sign = "(?P<sign>[+\u2212-])?"
    return f"^{between}{is_open}{between}{sign}{between}{number}{between}{is_closed}{between}$"


def _group(mark: str) -> str:
    return _GROUPS.get(mark, escaped(mark))
