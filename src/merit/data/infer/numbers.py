"""Detects the notation of numbers in a text column: decimal and thousands separators, currencies and units."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import polars as pl

from merit.reading.column_cells import read_column
from merit.reading.declaration import MAX_EXACT_INTEGER, build_declaration

MIN_SHARE = 0.8
"""Minimum share of numbers among a column's cells; the other cells are then treated as odd ones."""
MIN_SHARE_WITH_WORDS, MAX_WORDS, MAX_CODES = 0.5, 3, 20
"""A lower minimum share, valid for at most MAX_WORDS distinct other texts and more than MAX_CODES distinct numbers."""
DIGIT_NOTATIONS: tuple[dict[str, Any], ...] = (
    {}, {"thousands": ","}, {"decimal": ","}, {"decimal": ",", "thousands": "."}, {"thousands": " "},
    {"decimal": ",", "thousands": " "}, {"thousands": "'"}, {"decimal": ",", "thousands": "'"}, {"thousands": "_"},
)  # fmt: skip
"""Notations of digits, the simplest first."""
CURRENCIES = frozenset({
    "$", "€", "£", "¥", "₹", "₽", "₩", "₺", "₫", "₴", "฿", "₪", "R$", "US$", "A$", "C$", "USD", "EUR", "GBP", "CHF",
    "JPY", "Fr.", "kr", "kr.", "zł", "Kč", "Ft", "Rs", "Rs.", "Euro", "euro",
})  # fmt: skip
"""Marks that only some cells may have: they don't change the value of a number."""
EXCLUDED_CHARACTERS = "\\s\\d()+<>~=#'/:,.;*≤≥≈±\u2013\u2014\\[\\]{}\"-"
PREFIX_PATTERN = rf"^[\s(+-]*([^{EXCLUDED_CHARACTERS}][^\d()+<>~=#'/:-]{{0,5}}?)[\s(+-]*[\d.,]"
SUFFIX_PATTERN = rf"\d[\s)]*([^{EXCLUDED_CHARACTERS}][^\s\d,()/:'-]{{0,5}})[\s)]*$"
UNIT_PATTERN = r"^(\W{1,3}|\W?\p{L}{2,5}\.?|[hsgmlkKMB°])$"
LEADING_ZERO_PATTERN = r"^[+-]?0[0-9]+$"
PLAIN_PATTERN = r"^[+-]?[0-9]+$"


@dataclass(frozen=True)
class NumberFormat:
    """A column of numbers.

    Attributes:
        settings: their notation, as conf/data declares it; None if they stay text.
        problem: why the column can't be used; None if it can.
        description: a description for the comment in conf/data.
        notes: remarks for the user.
        are_plain: whether all sampled cells are whole numbers of digits only.
    """

    settings: dict[str, Any] | None
    problem: str | None = None
    description: str = ""
    notes: list[str] = field(default_factory=list)
    are_plain: bool = False


def detect_numbers(raw: pl.Series, cells: pl.Series, *, with_semicolons: bool) -> NumberFormat | None:
    """Detect the numbers of a text column; None if it contains none.

    Args:
        raw: the column.
        cells: a sample of its cells, which decides.
        with_semicolons: whether the file's separator is a semicolon, which suggests decimal commas.
    """
    has_digits = cells.str.contains("[0-9]")
    is_telephone = cells.str.contains(r"^\+")
    if cells.is_empty() or has_digits.sum() < MIN_SHARE_WITH_WORDS * len(cells) or is_telephone.all():
        return None
    if large_text := describe_inexact(raw):
        return NumberFormat(
            None, description=large_text, notes=[f"'{raw.name}': {large_text}: taken for codes, as they are written"]
        )
    marks = _find_marks(cells)
    settings, share = _choose_best(cells, marks)
    if share < MIN_SHARE and not _has_few_words(cells, settings, share):
        return _find_mixed_units(cells, marks)
    if raw.str.strip_chars().str.contains(LEADING_ZERO_PATTERN).any():
        return NumberFormat(None, description="some begin with 0: codes")
    return _check_notation(raw.name, cells, settings, with_semicolons=with_semicolons)


def _has_few_words(cells: pl.Series, settings: dict[str, Any], share: float) -> bool:
    """Return whether half or more of the cells are numbers, and the others few distinct texts such as <0.5 or none."""
    is_word = mask_unread(cells, settings)
    return (
        share >= MIN_SHARE_WITH_WORDS
        and cells.filter(is_word).n_unique() <= MAX_WORDS
        and cells.filter(~is_word).n_unique() > MAX_CODES
    )


def _check_notation(name: str, cells: pl.Series, settings: dict[str, Any], *, with_semicolons: bool) -> NumberFormat:
    if problem := _find_missing_units(cells, settings):
        return NumberFormat(None, problem)
    are_groups = _precedes_three_digits(cells, ",")
    if settings.get("thousands") == "," and with_semicolons and are_groups:
        settings = {"decimal": ",", **{key: value for key, value in settings.items() if key != "thousands"}}
    are_plain = bool(cells.str.contains(PLAIN_PATTERN).all())
    return NumberFormat(settings, None, _describe_notation(settings), note_ambiguity(name, cells, settings), are_plain)


def describe_inexact(raw: pl.Series) -> str:
    """Return a text with the count and an example of whole numbers beyond float64's exact range; empty if none."""
    if raw.dtype == pl.String:
        digits = raw.str.strip_chars().str.extract(r"^[+-]?([0-9]{16,40})$").drop_nulls()
        large = digits.filter(digits.cast(pl.Float64) >= MAX_EXACT_INTEGER)
    else:
        large = raw.filter(raw.cast(pl.Float64).abs() >= MAX_EXACT_INTEGER)
    return f"{len(large):,} whole numbers are beyond 2**53, such as {large[0]}" if len(large) else ""


def convert_to_whole(values: pl.Series) -> pl.Series:
    """Convert numbers to integers if all are whole."""
    known = values.drop_nulls()
    are_whole = bool((known == known.round()).all()) and bool((known.abs() < MAX_EXACT_INTEGER).all())
    return values.cast(pl.Int64) if are_whole else values


def _find_marks(cells: pl.Series) -> list[str]:
    """Return the currencies and units before or after digits, most frequent first; not letters as in A17 or 17B."""
    before, after = (
        cells.str.extract(pattern).drop_nulls().str.strip_chars() for pattern in (PREFIX_PATTERN, SUFFIX_PATTERN)
    )
    units = pl.concat([before.filter(~before.str.contains(r"\w")), after.filter(after.str.contains(UNIT_PATTERN))])
    currencies = pl.concat([texts.filter(texts.is_in(list(CURRENCIES))) for texts in (before, after)])
    return pl.concat([units, currencies]).value_counts(sort=True).head(5).to_series().to_list()


def _choose_best(cells: pl.Series, marks: list[str]) -> tuple[dict[str, Any], float]:
    """Return the settings that read the largest share of cells, the simplest in a tie, and that share."""
    best: tuple[dict[str, Any], float] = ({}, -1.0)
    for settings in _list_candidates(cells, marks):
        if (share := _compute_share(cells, settings)) > best[1]:
            best = (settings, share)
        if best[1] == 1:
            break
    return best


def _list_candidates(cells: pl.Series, marks: list[str]) -> Iterator[dict[str, Any]]:
    signs: list[dict[str, Any]] = [{}, *([{"negative": "parentheses"}] if cells.str.contains(r"\(").any() else [])]
    affixes: list[dict[str, Any]] = [{}, *({"affixes": [mark]} for mark in marks)]
    return ({**notation, **sign, **mark} for mark, sign, notation in product(affixes, signs, DIGIT_NOTATIONS))


def _compute_share(cells: pl.Series, settings: dict[str, Any]) -> float:
    return 1 - int(mask_unread(cells, settings).sum()) / len(cells)


def mask_unread(cells: pl.Series, settings: dict[str, Any]) -> pl.Series:
    """Return a mask of the cells that can't be read as numbers with these settings."""
    mask = read_column(cells, build_declaration(cells.name, {"type": "number", **settings})).unread
    return pl.repeat(False, len(cells), dtype=pl.Boolean, eager=True) if mask is None else mask


def _find_mixed_units(cells: pl.Series, marks: list[str]) -> NumberFormat | None:
    """Return a problem if the cells are numbers of several units, which can't be compared; None otherwise."""
    if (
        len(marks) < 2
        or max(_compute_share(cells, {**notation, "affixes": marks}) for notation in DIGIT_NOTATIONS) < MIN_SHARE
    ):
        return None
    return NumberFormat(
        None, f"numbers of several units ({', '.join(marks)}): bring them to one, or make a column of each"
    )


def _find_missing_units(cells: pl.Series, settings: dict[str, Any]) -> str | None:
    """Return a problem if only some cells have a mark that changes the value, such as % or k; None otherwise."""
    mark = settings.get("affixes", [None])[0]
    if mark is None or mark in CURRENCIES:
        return None
    unmarked = cells.filter(~cells.str.contains(mark, literal=True) & ~mask_unread(cells, settings))
    return f"numbers with {mark} and without, such as {unmarked[0]}: bring them to one unit" if len(unmarked) else None


def _precedes_three_digits(cells: pl.Series, mark: str) -> bool:
    """Return whether a mark always precedes three digits, so that it may be a thousands or a decimal separator."""
    marked = cells.filter(cells.str.contains(mark, literal=True))
    return len(marked) > 0 and bool(marked.str.contains(rf"^\D*[1-9][0-9]{{0,2}}[{mark}][0-9]{{3}}\D*$").all())


def note_ambiguity(name: str, cells: pl.Series, settings: dict[str, Any]) -> list[str]:
    """Return a note on ambiguous numbers such as 1,234, and how they were interpreted."""
    marks = {key: settings[key] for key in ("decimal", "thousands") if key in settings}
    mark = next(iter(marks.values()), ".")
    if len(marks) > 1 or mark not in ",." or not _precedes_three_digits(cells, mark):
        return []
    example = cells.filter(cells.str.contains(mark, literal=True))[0]
    if not marks:
        return [f"'{name}': {example} is taken for a fraction; if it is thousands, 'thousands: \"{mark}\"' says so"]
    chosen, other = ("thousands", "decimal") if "thousands" in marks else ("decimal", "thousands")
    if chosen == "thousands" and cells.str.contains(".", literal=True).any():
        reading = f"'{name}': {example} is taken for thousands, as others have fractions by '.'"
        return [f"{reading}; correct it if it is a slip"]
    kinds = {"thousands": "thousands", "decimal": "a fraction"}
    return [
        f"'{name}': {example} is taken for {kinds[chosen]}; if it is {kinds[other]}, put '{other}: \"{mark}\"' in the "
        f"place of '{chosen}: \"{mark}\"'"
    ]


def _describe_notation(settings: dict[str, Any]) -> str:
    labels = {"decimal": "fractions", "thousands": "thousands"}
    parts = [f"with {name} by {settings[key]!r}" for key, name in labels.items() if key in settings]
    parts += ["with (1) for -1"] if "negative" in settings else []
    parts += [f"in {settings['affixes'][0]}"] if "affixes" in settings else []
    return f"written {', '.join(parts)}" if parts else ""
