"""Changes of the data per part, and per slice and month: what a share of all rows hides.

A cell is a part, or the rows of a part in a day or a month, of a slice, or of a slice in a month. Rows before the first
or after the last time of the other version belong to no cell: data that grows or moves on changes no cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import selectors

from merit.data.split import PARTS
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.matching import RowMatches

CELL_FACTOR = 5
"""How many times the limit for a whole part a smaller cell may have: changes come in groups, such as one flight's."""
FALSE_ALARMS = 0.001
"""The chance that any cell is over its limit if each row changes on its own with the probability that is allowed."""
COUNTS = ("matched", "changed", "relabelled", "added", "before", "gone")
TOTALS = {"changed": "matched", "relabelled": "matched", "added": "before", "gone": "before"}
"""Each kind of change, and the rows that it is a share of."""
KEYS = ("part", "column", "value", "month", "day")


@dataclass(frozen=True)
class Cell:
    """A cell, and how many of its rows changed in one way."""

    name: str
    count: int
    rows: int

    def __str__(self) -> str:
        return f"{self.name}: {self.count:,} of {self.rows:,} ({self.count / max(1, self.rows):.2%})"


@dataclass(frozen=True)
class CellCounts:
    """The changes in every cell.

    Attributes:
        frame: a row per cell: its part, column, value, month and day, null where it has all, and its counts.
        min_rows: smaller cells are not judged, except for whole parts.
    """

    frame: pl.DataFrame
    min_rows: int

    def count(self, kind: str) -> tuple[int, int]:
        """Return the rows that changed in one way, and the rows that they are a share of, over all parts."""
        whole = self.frame.filter(_is_whole_part())
        return int(whole[kind].sum()), int(whole[TOTALS[kind]].sum())

    def find_worst(self, kind: str, limit: float) -> Cell | None:
        """Return the cell that is most surely over its limit; None if none is.

        A part has the limit itself, another cell `CELL_FACTOR` times as much. A cell is over it if so many changes have
        less than the chance allowed at that limit, by the binomial distribution, corrected for the number of parts or
        of other cells (Bonferroni).
        """
        from scipy.special import betainc

        is_whole, total = _is_whole_part(), pl.col(TOTALS[kind])
        # A day may be missing or corrected as a whole; the labels of a day may not.
        judged_periods = pl.lit(True) if kind == "relabelled" else pl.col("day").is_null()
        cells = self.frame.filter(judged_periods, is_whole | (total >= self.min_rows), total > 0)
        if cells.is_empty():
            return None
        rows, counts = cells[TOTALS[kind]].to_numpy(), cells[kind].to_numpy()
        whole = cells.select(is_whole).to_series().to_numpy()
        share = np.minimum(1.0, limit * np.where(whole, 1, CELL_FACTOR))
        # The chance of so many or more of a binomial distribution, as an incomplete beta function.
        chance = np.where(counts > 0, betainc(np.maximum(counts, 1.0), rows - np.maximum(counts, 1.0) + 1, share), 1.0)
        over_limit = np.flatnonzero(chance < FALSE_ALARMS / np.where(whole, whole.sum(), (~whole).sum()))
        if not len(over_limit):
            return None
        worst = over_limit[np.argmax((counts / rows / share.clip(1e-9))[over_limit])]
        return Cell(_name_cell(cells.row(worst, named=True)), int(counts[worst]), int(rows[worst]))

    def list_slices(self, kind: str) -> list[Cell]:
        """Return the slices with more changes of one kind than their share of the rows, most first."""
        slices = self.frame.filter(pl.col("column").is_not_null(), pl.col("month").is_null())
        sums = slices.group_by("column", "value").agg(pl.col(*COUNTS).sum())
        count, rows = self.count(kind)
        excess = pl.col(kind) - pl.col(TOTALS[kind]) * (count / max(1, rows))
        worst = sums.with_columns(excess=excess).filter(pl.col("excess") > 0)
        worst = worst.sort("excess", "column", "value", descending=[True, False, False])
        return [
            Cell(f"{each['column']} {_name_value(each['value'])}", each[kind], each[TOTALS[kind]])
            for each in worst.head(100).iter_rows(named=True)
        ]


def _is_whole_part() -> pl.Expr:
    return pl.all_horizontal(pl.col("column", "month", "day").is_null())


def _name_cell(cell: dict[str, object]) -> str:
    """Return a cell's name, such as "test, carrier B6 in 2013-10"."""
    part = PARTS[cell["part"]] if isinstance(cell["part"], int) and cell["part"] >= 0 else "no part"
    column = "" if cell["column"] is None else f", {cell['column']} {_name_value(cell['value'])}"
    period = cell["day"] or cell["month"]
    length = 10 if cell["day"] else 7
    return f"{part}{column}" + (f" in {str(period)[:length]}" if period else "")


def _name_value(value: object) -> str:
    return "(missing)" if value is None else str(value)


def count_cells(
    candidate: Dataset, champion: Dataset, matches: RowMatches, slices: Sequence[str], min_rows: int
) -> CellCounts:
    """Count the changes in every cell.

    Args:
        candidate: the candidate's data; matched and added rows belong to its parts.
        champion: the champion's data; gone rows belong to its parts.
        matches: the pairs of rows.
        slices: the columns of evaluate.slices.
        min_rows: cells with fewer rows are not judged.
    """
    times = _read_times(candidate), _read_times(champion)
    sides = [
        (candidate, _flag_candidate(candidate, matches, *times), times[0]),
        (champion, _flag_champion(champion, matches, *times), times[1]),
    ]
    columns = [None, *(name for name in slices if name in candidate.schema and name in champion.schema)]
    frames = [_count_side(*side, column) for column in columns for side in sides]
    frame = pl.concat(frames, how="diagonal").group_by(KEYS).agg(pl.col(*COUNTS).sum())
    return CellCounts(frame.sort(KEYS), min_rows)


def _read_times(dataset: Dataset) -> pl.Series | None:
    return None if dataset.data.time is None else dataset.collect(dataset.data.time).to_series()


def _flag_candidate(
    candidate: Dataset, matches: RowMatches, times: pl.Series | None, others: pl.Series | None
) -> pl.DataFrame:
    """Return which rows of the candidate have a pair, changed, have another label, and are new."""
    rows = matches.candidate_rows
    matched = mark_rows(candidate.height, rows)
    flags = {
        "matched": matched,
        "changed": mark_rows(candidate.height, rows[matches.changed]),
        "relabelled": mark_rows(candidate.height, rows[matches.relabelled]),
        # Without a time nothing tells growth from rows that were made up.
        "added": ~matched & find_covered(times, others) if times is not None else np.zeros(candidate.height, bool),
    }
    return pl.DataFrame(flags).with_columns(part=candidate.part_index)


def _flag_champion(
    champion: Dataset, matches: RowMatches, others: pl.Series | None, times: pl.Series | None
) -> pl.DataFrame:
    """Return which rows of the champion are in the candidate's time, and which of them are gone."""
    covered = find_covered(times, others) if times is not None else np.ones(champion.height, bool)
    gone = ~mark_rows(champion.height, matches.champion_rows) & covered
    return pl.DataFrame({"before": covered, "gone": gone}).with_columns(part=champion.part_index)


def mark_rows(height: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return a mask of the rows with some numbers."""
    marks = np.zeros(height, dtype=bool)
    marks[rows] = True
    return marks


def find_covered(times: pl.Series, others: pl.Series | None) -> NDArray[np.bool_]:
    """Return which times lie between the first and the last of the other version."""
    if others is None or others.null_count() == len(others):
        return np.ones(len(times), bool)
    return times.is_between(others.min(), others.max()).fill_null(True).to_numpy()


def _count_side(dataset: Dataset, flags: pl.DataFrame, times: pl.Series | None, column: str | None) -> pl.DataFrame:
    """Count the flags of one side per cell: of a slice's column, or of days and months where the column is None."""
    names = [name for name in flags.columns if name != "part"]
    values = pl.repeat(None, dataset.height, dtype=pl.String, eager=True)
    if column is not None:
        values = dataset.collect(selectors.by_name(column).as_expr().cast(pl.String)).to_series()
    period = pl.repeat(None, dataset.height, dtype=pl.Date, eager=True)
    if times is not None:
        period = times.dt.date()
    cells = flags.with_columns(value=values.alias("value"), period=period.alias("period"))
    finest = cells.group_by("part", "value", "period").agg(pl.col(names).cast(pl.UInt32).sum())
    timed = finest.drop_nulls("period")  # without a time a row is in no month, but in its part
    months = timed.with_columns(month=pl.col("period").dt.month_start()).drop("period")
    frames = [finest.drop("period"), months]
    if column is None:
        frames.append(timed.rename({"period": "day"}))
    return pl.concat(_sum_cells(frame, names, column) for frame in frames)


def _sum_cells(frame: pl.DataFrame, names: list[str], column: str | None) -> pl.DataFrame:
    """Return the sums per cell, with all the keys of a cell."""
    missing = {name: pl.lit(None, pl.Date) for name in ("month", "day") if name not in frame.columns}
    keyed = frame.with_columns(column=pl.lit(column, pl.String), **missing)
    return keyed.group_by(KEYS).agg(pl.col(names).sum())
