"""Detects the notation of numbers in a text column: decimal and thousands separators, currencies and units."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import polars as pl

from merit.reading.cells import read_column
from merit.reading.declaration import MAX_EXACT_INTEGER, build_declaration

SHARE = 0.8
"""Minimum share of numbers among a column's cells; the other cells are then treated as odd ones."""
HALF, WORDS, CODES = 0.5, 3, 20
"""A lower minimum share, valid for at most WORDS distinct other texts and more than CODES distinct numbers."""
GROUPS: tuple[dict[str, Any], ...] = (
    {}, {"thousands": ","}, {"decimal": ","}, {"decimal": ",", "thousands": "."}, {"thousands": " "},
    {"decimal": ",", "thousands": " "}, {"thousands": "'"}, {"decimal": ",", "thousands": "'"}, {"thousands": "_"},
)  # fmt: skip
"""Notations of digits, the simplest first."""
CURRENCIES = frozenset({
    "$", "€", "£", "¥", "₹", "₽", "₩", "₺", "₫", "₴", "฿", "₪", "R$", "US$", "A$", "C$", "USD", "EUR", "GBP", "CHF",
    "JPY", "Fr.", "kr", "kr.", "zł", "Kč", "Ft", "Rs", "Rs.", "Euro", "euro",
})  # fmt: skip
"""Marks that only some cells may have: they don't change the value of a number."""
NOT_MARKS = "\\s\\d()+<>~=#'/:,.;*≤≥≈±\u2013\u2014\\[\\]{}\"-"
BEFORE = rf"^[\s(+-]*([^{NOT_MARKS}][^\d()+<>~=#'/:-]{{0,5}}?)[\s(+-]*[\d.,]"
AFTER = rf"\d[\s)]*([^{NOT_MARKS}][^\s\d,()/:'-]{{0,5}})[\s)]*$"
UNIT = r"^(\W{1,3}|\W?\p{L}{2,5}\.?|[hsgmlkKMB°])$"
ZERO = r"^[+-]?0[0-9]+$"
PLAIN = r"^[+-]?[0-9]+$"


@dataclass(frozen=True)
class Numbers:
    """A column of numbers.

    Attributes:
        settings: their notation, as conf/data declares it; None if they stay text.
        problem: why the column can't be used; None if it can.
        seen: a description for the comment in conf/data.
        notes: remarks for the user.
        are_plain: whether all sampled cells are whole numbers of digits only.
    """

    settings: dict[str, Any] | None
    problem: str | None = None
    seen: str = ""
    notes: list[str] = field(default_factory=list)
    are_plain: bool = False


def numbers_in(raw: pl.Series, cells: pl.Series, *, with_semicolons: bool) -> Numbers | None:
    """Detect the numbers of a text column; None if it contains none.

    Args:
        raw: the column.
        cells: a sample of its cells, which decides.
        with_semicolons: whether the file's separator is a semicolon, which suggests decimal commas.
    """
    has_digits = cells.str.contains("[0-9]")
    is_telephone = cells.str.contains(r"^\+")
    if cells.is_empty() or has_digits.sum() < HALF * len(cells) or is_telephone.all():
        return None
    if large := beyond(raw):
        return Numbers(None, seen=large, notes=[f"'{raw.name}': {large}: taken for codes, as they are written"])
    marks = _marks(cells)
    settings, share = _best(cells, marks)
    if share < SHARE and not _are_but_few_words(cells, settings, share):
        return _of_units(cells, marks)
    if raw.str.strip_chars().str.contains(ZERO).any():
        return Numbers(None, seen="some begin with 0: codes")
    return _checked(raw.name, cells, settings, with_semicolons=with_semicolons)


def _are_but_few_words(cells: pl.Series, settings: dict[str, Any], share: float) -> bool:
    """Return whether half or more of the cells are numbers, and the others few distinct texts such as <0.5 or none."""
    is_word = unread(cells, settings)
    return share >= HALF and cells.filter(is_word).n_unique() <= WORDS and cells.filter(~is_word).n_unique() > CODES


def _checked(name: str, cells: pl.Series, settings: dict[str, Any], *, with_semicolons: bool) -> Numbers:
    if problem := _lacking_units(cells, settings):
        return Numbers(None, problem)
    are_groups = _are_groups(cells, ",")
    if settings.get("thousands") == "," and with_semicolons and are_groups:
        settings = {"decimal": ",", **{key: value for key, value in settings.items() if key != "thousands"}}
    are_plain = bool(cells.str.contains(PLAIN).all())
    return Numbers(settings, None, _told(settings), doubts(name, cells, settings), are_plain)


def beyond(raw: pl.Series) -> str:
    """Return a text with the count and an example of whole numbers beyond float64's exact range; empty if none."""
    if raw.dtype == pl.String:
        digits = raw.str.strip_chars().str.extract(r"^[+-]?([0-9]{16,40})$").drop_nulls()
        large = digits.filter(digits.cast(pl.Float64) >= MAX_EXACT_INTEGER)
    else:
        large = raw.filter(raw.cast(pl.Float64).abs() >= MAX_EXACT_INTEGER)
    return f"{len(large):,} whole numbers are beyond 2**53, such as {large[0]}" if len(large) else ""


def whole(values: pl.Series) -> pl.Series:
    """Convert numbers to integers if all are whole."""
    known = values.drop_nulls()
    are_whole = bool((known == known.round()).all()) and bool((known.abs() < MAX_EXACT_INTEGER).all())
    return values.cast(pl.Int64) if are_whole else values


def _marks(cells: pl.Series) -> list[str]:
    """Return the currencies and units before or after digits, most frequent first; not letters as in A17 or 17B."""
    before, after = (cells.str.extract(pattern).drop_nulls().str.strip_chars() for pattern in (BEFORE, AFTER))
    found = pl.concat([before.filter(~before.str.contains(r"\w")), after.filter(after.str.contains(UNIT))])
    known = pl.concat([each.filter(each.is_in(list(CURRENCIES))) for each in (before, after)])
    return pl.concat([found, known]).value_counts(sort=True).head(5).to_series().to_list()


def _best(cells: pl.Series, marks: list[str]) -> tuple[dict[str, Any], float]:
    """Return the settings that read the largest share of cells, the simplest in a tie, and that share."""
    best: tuple[dict[str, Any], float] = ({}, -1.0)
    for settings in _candidates(cells, marks):
        if (share := _share(cells, settings)) > best[1]:
            best = (settings, share)
        if best[1] == 1:
            break
    return best


def _candidates(cells: pl.Series, marks: list[str]) -> Iterator[dict[str, Any]]:
    signs: list[dict[str, Any]] = [{}, *([{"negative": "parentheses"}] if cells.str.contains(r"\(").any() else [])]
    around: list[dict[str, Any]] = [{}, *({"affixes": [mark]} for mark in marks)]
    return ({**group, **sign, **mark} for mark, sign, group in product(around, signs, GROUPS))


def _share(cells: pl.Series, settings: dict[str, Any]) -> float:
    return 1 - int(unread(cells, settings).sum()) / len(cells)


def unread(cells: pl.Series, settings: dict[str, Any]) -> pl.Series:
    """Return a mask of the cells that can't be read as numbers with these settings."""
    found = read_column(cells, build_declaration(cells.name, {"type": "number", **settings})).unread
    return pl.repeat(False, len(cells), dtype=pl.Boolean, eager=True) if found is None else found


def _of_units(cells: pl.Series, marks: list[str]) -> Numbers | None:
    """Return a problem if the cells are numbers of several units, which can't be compared; None otherwise."""
    if len(marks) < 2 or max(_share(cells, {**group, "affixes": marks}) for group in GROUPS) < SHARE:
        return None
    return Numbers(None, f"numbers of several units ({', '.join(marks)}): bring them to one, or make a column of each")


def _lacking_units(cells: pl.Series, settings: dict[str, Any]) -> str | None:
    """Return a problem if only some cells have a mark that changes the value, such as % or k; None otherwise."""
    mark = settings.get("affixes", [None])[0]
    if mark is None or mark in CURRENCIES:
        return None
    without = cells.filter(~cells.str.contains(mark, literal=True) & ~unread(cells, settings))
    return f"numbers with {mark} and without, such as {without[0]}: bring them to one unit" if len(without) else None


def _are_groups(cells: pl.Series, mark: str) -> bool:
    """Return whether a mark always precedes three digits, so that it may be a thousands or a decimal separator."""
    some = cells.filter(cells.str.contains(mark, literal=True))
    return len(some) > 0 and bool(some.str.contains(rf"^\D*[1-9][0-9]{{0,2}}[{mark}][0-9]{{3}}\D*$").all())


def doubts(name: str, cells: pl.Series, settings: dict[str, Any]) -> list[str]:
    """Return a note on ambiguous numbers such as 1,234, and how they were interpreted."""
    marks = {key: settings[key] for key in ("decimal", "thousands") if key in settings}
    mark = next(iter(marks.values()), ".")
    if len(marks) > 1 or mark not in ",." or not _are_groups(cells, mark):
        return []
    example = cells.filter(cells.str.contains(mark, literal=True))[0]
    if not marks:
        return [f"'{name}': {example} is taken for a fraction; if it is thousands, 'thousands: \"{mark}\"' says so"]
    taken, other = ("thousands", "decimal") if "thousands" in marks else ("decimal", "thousands")
    if taken == "thousands" and cells.str.contains(".", literal=True).any():
        return [f"'{name}': {example} is taken for thousands, as others have fractions by '.'; mend it if it is a slip"]
    kinds = {"thousands": "thousands", "decimal": "a fraction"}
    return [
        f"'{name}': {example} is taken for {kinds[taken]}; if it is {kinds[other]}, put '{other}: \"{mark}\"' in the "
        f"place of '{taken}: \"{mark}\"'"
    ]


def _told(settings: dict[str, Any]) -> str:
    words = {"decimal": "fractions", "thousands": "thousands"}
    parts = [f"with {name} by {settings[key]!r}" for key, name in words.items() if key in settings]
    parts += ["with (1) for -1"] if "negative" in settings else []
    parts += [f"in {settings['affixes'][0]}"] if "affixes" in settings else []
    return f"written {', '.join(parts)}" if parts else ""
