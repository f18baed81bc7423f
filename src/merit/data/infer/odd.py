"""The few cells of a column that are not what all others are: which they are, and that they are taken for missing."""

from dataclasses import dataclass
from typing import Any

import polars as pl

MISSING = frozenset({
    "na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nan", "nil", "?", "-", "--", "---", "\u2013", ".", "..", "*",
    "x", "missing", "unknown", "undefined", "not available", "tbd", "k.a.", "k. a.", "n.v.", "#value!", "#ref!",
    "#div/0!", "nat", "0000-00-00", "00.00.0000", "00/00/0000", "0000-00-00 00:00:00",
})  # fmt: skip
"""Words, in small letters, that stand for no value where all others are numbers or dates."""
SURELY_MISSING = MISSING - {"none", "nil", "x", "*", "missing", "unknown", "undefined", "not available", "tbd"}
"""Those of them that can't well be a class."""
MOST = 20
"""Different cells that null_values can name."""
SHOWN = 3
LONGEST = 24
SAMPLE = 4000
OFTEN = 10
"""Rows of a word from which it is no slip."""
FIRST, LAST = 1901, 2199
"""Years that a date can well be of."""
STANDS_OUT = 0.01
"""The share of rows with one far value from which it may mean that there is none."""


def sample(raw: pl.Series) -> pl.Series:
    """Return cells from all over a column of text, without blanks around them, and without words for missing."""
    held = raw.drop_nulls()
    some = held.gather_every(max(1, len(held) // SAMPLE)).str.strip_chars()
    return some.filter((some != "") & ~some.str.to_lowercase().is_in(list(MISSING)))


@dataclass(frozen=True)
class OddCells:
    """Cells that can't be read as the others of their column.

    Attributes:
        name: of the column.
        cells: each with how often it is there (`count`) and where first (`row`, counted from 0), the usual ones first.
        known: cells of the column that hold something.
    """

    name: str
    cells: pl.DataFrame
    known: int

    @classmethod
    def of(cls, raw: pl.Series, unread: pl.Series | None) -> "OddCells":
        """Return the cells that were not read; None where all were."""
        unread = pl.repeat(False, len(raw), dtype=pl.Boolean, eager=True) if unread is None else unread
        rows = pl.DataFrame({"cell": raw.str.strip_chars(), "unread": unread}).with_row_index("row").filter("unread")
        cells = rows.group_by("cell").agg(count=pl.len(), row=pl.col("row").min())
        return cls(raw.name, cells.sort("count", "row", descending=[True, False]), len(raw) - raw.null_count())

    @property
    def are_few(self) -> bool:
        """Whether they can be named one by one."""
        return self.cells.height <= MOST

    def with_others(self, others: pl.Series) -> pl.Series:
        """Return these cells, without words for missing, and others."""
        odd = self.cells["cell"].head(SAMPLE)
        return pl.concat([others, odd.filter(~odd.str.to_lowercase().is_in(list(MISSING))).alias(others.name)])

    @property
    def has_codes(self) -> bool:
        """Whether a word is there so often that it may be a code among others."""
        words = self.cells.filter(pl.col("count") >= OFTEN)["cell"]
        return not words.str.to_lowercase().is_in(list(MISSING)).all()

    @property
    def settings(self) -> dict[str, Any]:
        """What conf/data declares of them."""
        return {"null_values": self.cells["cell"].to_list()} if self.cells.height else {}

    @property
    def seen(self) -> str:
        """What a comment says of them."""
        return f"{self._listed} taken for missing" if self.cells.height else ""

    @property
    def _listed(self) -> str:
        shown = [f"{_shown(cell)} ({count}, first in row {row})" for cell, count, row in self.cells.head(SHOWN).rows()]
        more = f" and {self.cells.height - SHOWN} more" if self.cells.height > SHOWN else ""
        return f"{', '.join(shown)}{more}"

    def notes(self, kind: str) -> list[str]:
        """Return a note of those that are no usual words for a missing value, or a shorter one."""
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
        """Return why the column is left out, with what stands in it."""
        count = int(self.cells["count"].sum())
        return (
            f"{count:,} of {self.known:,} cells are no {kind}, while all others are: {self._listed}; mend them, or "
            "name those that mean 'no value' in null_values"
        )


def _shown(cell: str) -> str:
    """Return a cell as it stands, on one line and short."""
    text = "".join(each if each.isprintable() else "?" for each in cell)
    return repr(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def far_values(raw: pl.Series, values: pl.Series) -> list[str]:
    """Return a note of a value that is there often and far from all others, as -999 and 9999-12-31 for missing are."""
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
    """Say whether a value looks like one for missing, and lies further off than all others lie apart."""
    others = known.filter(known != far)
    if known.dtype.is_temporal():
        return not FIRST <= far.year <= LAST and bool(others.dt.year().is_between(FIRST, LAST).all())
    low, high = float(others.min()), float(others.max())  # type: ignore[arg-type]  # numbers
    return set(f"{abs(far):g}") == {"9"} and min(abs(far - low), abs(far - high)) > high - low
