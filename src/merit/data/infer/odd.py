"""Finds the few cells of a column that are not of its type, and declares them as missing values."""

from dataclasses import dataclass
from typing import Any

import polars as pl

MISSING = frozenset({
    "na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nan", "nil", "?", "-", "--", "---", "\u2013", ".", "..", "*",
    "x", "missing", "unknown", "undefined", "not available", "tbd", "k.a.", "k. a.", "n.v.", "#value!", "#ref!",
    "#div/0!", "nat", "0000-00-00", "00.00.0000", "00/00/0000", "0000-00-00 00:00:00",
})  # fmt: skip
"""Lower-case texts that mean "no value" in a column of numbers or dates."""
SURELY_MISSING = MISSING - {"none", "nil", "x", "*", "missing", "unknown", "undefined", "not available", "tbd"}
"""Those of MISSING that are hardly ever the name of a class."""
MOST = 20
"""Maximum distinct cells in null_values."""
SHOWN = 3
LONGEST = 24
SAMPLE = 4000
OFTEN = 10
"""Minimum rows of a text that is not a typing error."""
FIRST, LAST = 1901, 2199
"""Range of plausible years of a date."""
STANDS_OUT = 0.01
"""Minimum share of rows with the same outlying value that may mean "no value"."""


def sample(raw: pl.Series) -> pl.Series:
    """Return an even sample of a text column's cells, stripped and without texts that mean "no value"."""
    held = raw.drop_nulls()
    some = held.gather_every(max(1, len(held) // SAMPLE)).str.strip_chars()
    return some.filter((some != "") & ~some.str.to_lowercase().is_in(list(MISSING)))


@dataclass(frozen=True)
class OddCells:
    """The cells that can't be read in the type of their column.

    Attributes:
        name: the column's name.
        cells: the distinct cells (`cell`) with their `count` and first `row` (from 0), the most frequent first.
        known: number of cells of the column that are not missing.
    """

    name: str
    cells: pl.DataFrame
    known: int

    @classmethod
    def of(cls, raw: pl.Series, unread: pl.Series | None) -> "OddCells":
        """Collect the cells that were not read; `unread` is a mask, or None if all were read."""
        unread = pl.repeat(False, len(raw), dtype=pl.Boolean, eager=True) if unread is None else unread
        rows = pl.DataFrame({"cell": raw.str.strip_chars(), "unread": unread}).with_row_index("row").filter("unread")
        cells = rows.group_by("cell").agg(count=pl.len(), row=pl.col("row").min())
        return cls(raw.name, cells.sort("count", "row", descending=[True, False]), len(raw) - raw.null_count())

    @property
    def are_few(self) -> bool:
        """Whether null_values can list them."""
        return self.cells.height <= MOST

    def with_others(self, others: pl.Series) -> pl.Series:
        """Return other cells together with these, without texts that mean "no value"."""
        odd = self.cells["cell"].head(SAMPLE)
        return pl.concat([others, odd.filter(~odd.str.to_lowercase().is_in(list(MISSING))).alias(others.name)])

    @property
    def has_codes(self) -> bool:
        """Whether a text is so frequent that the column may hold codes."""
        words = self.cells.filter(pl.col("count") >= OFTEN)["cell"]
        return not words.str.to_lowercase().is_in(list(MISSING)).all()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings for conf/data that declare them as missing."""
        return {"null_values": self.cells["cell"].to_list()} if self.cells.height else {}

    @property
    def seen(self) -> str:
        """The description for the comment in conf/data."""
        return f"{self._listed} taken for missing" if self.cells.height else ""

    @property
    def _listed(self) -> str:
        shown = [f"{_shown(cell)} ({count}, first in row {row})" for cell, count, row in self.cells.head(SHOWN).rows()]
        more = f" and {self.cells.height - SHOWN} more" if self.cells.height > SHOWN else ""
        return f"{', '.join(shown)}{more}"

    def notes(self, kind: str) -> list[str]:
        """Return a note on these cells, a shorter one if all are usual texts for "no value"."""
        count = int(self.cells["count"].sum())
        if not count:
            return []
        if all(cell.lower() in MISSING for cell in self.cells["cell"]):
            words = ", ".join(map(_shown, self.cells["cell"].head(SHOWN)))
            return [f"'{self.name}': {words} in {count:,} of {self.known:,} cells: read as missing (null_values)"]
        cells = self.cells["cell"]
        if cells.str.contains("^[<>≤≥]|[0-9][+]$").all():
            return [
                f"'{self.name}': {self._listed} among {kind}: read as missing (null_values), though it says more than "
                "that; write the limit, or half of it, if that is nearer the truth"
            ]
        return [
            f"'{self.name}': {count:,} of {self.known:,} cells are no {kind}: {self._listed}; they are read as missing "
            "(null_values); mend what is a slip, or see docs/reading.md for how else cells are written"
        ]

    def problem(self, kind: str) -> str:
        """Return the reason to leave out the column, with examples of these cells."""
        count = int(self.cells["count"].sum())
        return (
            f"{count:,} of {self.known:,} cells are no {kind}, while all others are: {self._listed}; mend them, or "
            "name those that mean 'no value' in null_values"
        )


def _shown(cell: str) -> str:
    """Return a cell as a quoted text, on one line and short."""
    text = "".join(each if each.isprintable() else "?" for each in cell)
    return repr(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def far_values(raw: pl.Series, values: pl.Series) -> list[str]:
    """Return a note on frequent outlying values that may mean "no value", such as -999 and 9999-12-31."""
    if not (values.dtype.is_temporal() or values.dtype.is_numeric()) or values.dtype in (pl.Time, pl.Duration):
        return []
    known = values.drop_nulls()
    notes = []
    for far in dict.fromkeys((known.min(), known.max())):
        rows = (known == far).sum()
        if rows > max(2, STANDS_OUT * len(known)) and rows < len(known) and _is_far(known, far):
            cell = raw.filter((values == far).fill_null(False))[0]
            means = f"null_values: ['{cell}'] says so" if raw.dtype == pl.String else "make it missing in the source"
            notes.append(f"'{raw.name}': {cell} in {rows:,} rows is far from all others; if it means no value, {means}")
    return notes


def _is_far(known: pl.Series, far: Any) -> bool:
    """Return whether a value looks like a placeholder and is farther from the others than their whole range."""
    others = known.filter(known != far)
    if known.dtype.is_temporal():
        return not FIRST <= far.year <= LAST and bool(others.dt.year().is_between(FIRST, LAST).all())
    low, high = float(others.min()), float(others.max())  # type: ignore[arg-type]  # numbers
    return set(f"{abs(far):g}") == {"9"} and min(abs(far - low), abs(far - high)) > high - low
