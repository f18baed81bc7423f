"""Finds the few cells of a column that are not of its type, and declares them as missing values."""

from dataclasses import dataclass
from typing import Any

import polars as pl

MISSING_WORDS = frozenset({
    "na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nan", "nil", "?", "-", "--", "---", "\u2013", ".", "..", "*",
    "x", "missing", "unknown", "undefined", "not available", "tbd", "k.a.", "k. a.", "n.v.", "#value!", "#ref!",
    "#div/0!", "nat", "0000-00-00", "00.00.0000", "00/00/0000", "0000-00-00 00:00:00",
})  # fmt: skip
"""Lower-case texts that mean "no value" in a column of numbers or dates."""
CERTAIN_MISSING_WORDS = MISSING_WORDS - {
    "none",
    "nil",
    "x",
    "*",
    "missing",
    "unknown",
    "undefined",
    "not available",
    "tbd",
}
"""Those of MISSING_WORDS that are hardly ever the name of a class."""
MAX_NULL_VALUES = 20
"""Maximum distinct cells in null_values."""
MAX_SHOWN_CELLS = 3
MAX_CELL_CHARACTERS = 24
SAMPLE_CELLS = 4000
MIN_CODE_ROWS = 10
"""Minimum rows of a text that is not a typing error."""
FIRST_PLAUSIBLE_YEAR, LAST_PLAUSIBLE_YEAR = 1901, 2199
"""Range of plausible years of a date."""
MIN_OUTLIER_SHARE = 0.01
"""Minimum share of rows with the same outlying value that may mean "no value"."""


def sample_cells(raw: pl.Series) -> pl.Series:
    """Return an even sample of a text column's cells, stripped and without texts that mean "no value"."""
    present = raw.drop_nulls()
    sampled = present.gather_every(max(1, len(present) // SAMPLE_CELLS)).str.strip_chars()
    return sampled.filter((sampled != "") & ~sampled.str.to_lowercase().is_in(list(MISSING_WORDS)))


@dataclass(frozen=True)
class UnreadableCells:
    """The cells that can't be read in the type of their column.

    Attributes:
        name: the column's name.
        cells: the distinct cells (`cell`) with their `count` and first `row` (from 0), the most frequent first.
        present_count: number of cells of the column that are not missing.
    """

    name: str
    cells: pl.DataFrame
    present_count: int

    @classmethod
    def from_column(cls, raw: pl.Series, unread: pl.Series | None) -> "UnreadableCells":
        """Collect the cells that were not read; `unread` is a mask, or None if all were read."""
        unread = pl.repeat(False, len(raw), dtype=pl.Boolean, eager=True) if unread is None else unread
        rows = pl.DataFrame({"cell": raw.str.strip_chars(), "unread": unread}).with_row_index("row").filter("unread")
        cells = rows.group_by("cell").agg(count=pl.len(), row=pl.col("row").min())
        return cls(raw.name, cells.sort("count", "row", descending=[True, False]), len(raw) - raw.null_count())

    @property
    def are_few(self) -> bool:
        """Whether null_values can list them."""
        return self.cells.height <= MAX_NULL_VALUES

    def combine_with(self, others: pl.Series) -> pl.Series:
        """Return other cells together with these, without texts that mean "no value"."""
        unreadable = self.cells["cell"].head(SAMPLE_CELLS)
        return pl.concat(
            [others, unreadable.filter(~unreadable.str.to_lowercase().is_in(list(MISSING_WORDS))).alias(others.name)]
        )

    @property
    def has_codes(self) -> bool:
        """Whether a text is so frequent that the column may hold codes."""
        words = self.cells.filter(pl.col("count") >= MIN_CODE_ROWS)["cell"]
        return not words.str.to_lowercase().is_in(list(MISSING_WORDS)).all()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings for conf/data that declare them as missing."""
        return {"null_values": self.cells["cell"].to_list()} if self.cells.height else {}

    @property
    def description(self) -> str:
        """The description for the comment in conf/data."""
        return f"{self._examples} taken for missing" if self.cells.height else ""

    @property
    def _examples(self) -> str:
        shown = [
            f"{_quote_cell(cell)} ({count}, first in row {row})"
            for cell, count, row in self.cells.head(MAX_SHOWN_CELLS).rows()
        ]
        more = f" and {self.cells.height - MAX_SHOWN_CELLS} more" if self.cells.height > MAX_SHOWN_CELLS else ""
        return f"{', '.join(shown)}{more}"

    def notes(self, kind: str) -> list[str]:
        """Return a note on these cells, a shorter one if all are usual texts for "no value"."""
        count = int(self.cells["count"].sum())
        if not count:
            return []
        if all(cell.lower() in MISSING_WORDS for cell in self.cells["cell"]):
            words = ", ".join(map(_quote_cell, self.cells["cell"].head(MAX_SHOWN_CELLS)))
            return [
                f"'{self.name}': {words} in {count:,} of {self.present_count:,} cells: read as missing (null_values)"
            ]
        cells = self.cells["cell"]
        if cells.str.contains("^[<>≤≥]|[0-9][+]$").all():
            return [
                f"'{self.name}': {self._examples} among {kind}: read as missing (null_values), though it says more "
                "than "
                "that; write the limit, or half of it, if that is nearer the truth"
            ]
        return [
            f"'{self.name}': {count:,} of {self.present_count:,} cells are no {kind}: {self._examples}; they are read "
            "as missing "
            "(null_values); correct what is a slip, or see docs/reference/reading.md for how else cells are written"
        ]

    def problem(self, kind: str) -> str:
        """Return the reason to leave out the column, with examples of these cells."""
        count = int(self.cells["count"].sum())
        return (
            f"{count:,} of {self.present_count:,} cells are no {kind}, while all others are: {self._examples}; correct "
            "them, or "
            "name those that mean 'no value' in null_values"
        )


def _quote_cell(cell: str) -> str:
    """Return a cell as a quoted text, on one line and short."""
    text = "".join(character if character.isprintable() else "?" for character in cell)
    return repr(text if len(text) <= MAX_CELL_CHARACTERS else f"{text[: MAX_CELL_CHARACTERS - 1]}…")


def note_outliers(raw: pl.Series, values: pl.Series) -> list[str]:
    """Return a note on frequent outlying values that may mean "no value", such as -999 and 9999-12-31."""
    if not (values.dtype.is_temporal() or values.dtype.is_numeric()) or values.dtype in (pl.Time, pl.Duration):
        return []
    present = values.drop_nulls()
    notes = []
    for outlier in dict.fromkeys((present.min(), present.max())):
        rows = (present == outlier).sum()
        if rows > max(2, MIN_OUTLIER_SHARE * len(present)) and rows < len(present) and _is_outlier(present, outlier):
            cell = raw.filter((values == outlier).fill_null(False))[0]
            remedy = f"null_values: ['{cell}'] says so" if raw.dtype == pl.String else "make it missing in the source"
            notes.append(
                f"'{raw.name}': {cell} in {rows:,} rows is far from all others; if it means no value, {remedy}"
            )
    return notes


def _is_outlier(present: pl.Series, value: Any) -> bool:
    """Return whether a value looks like a placeholder and is farther from the others than their whole range."""
    others = present.filter(present != value)
    if present.dtype.is_temporal():
        return not FIRST_PLAUSIBLE_YEAR <= value.year <= LAST_PLAUSIBLE_YEAR and bool(
            others.dt.year().is_between(FIRST_PLAUSIBLE_YEAR, LAST_PLAUSIBLE_YEAR).all()
        )
    low, high = float(others.min()), float(others.max())  # type: ignore[arg-type]  # numbers
    return set(f"{abs(value):g}") == {"9"} and min(abs(value - low), abs(value - high)) > high - low
