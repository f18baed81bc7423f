"""Whether rows that are gone or were added were selected by their label, against the labels of their day.

A lost day loses the labels of that day, as they come. Rows of one label that are gone, few as they may be, teach the
model another rate of it.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.gate.checks.data.dataset import Dataset

MAX_DEVIATIONS = 4.0
"""Standard deviations by which the labels of lost rows may differ from those of their days."""


@dataclass(frozen=True)
class Selectivity:
    """How the labels of some rows differ from those of all rows of the same days.

    Attributes:
        rows: the number of these rows.
        excess: the rows that would need another label for the labels to be as in all rows of their days.
        of: the number of all rows.
    """

    rows: int
    excess: float
    of: int

    def is_beyond(self, limit: float) -> bool:
        """Return whether more than a share of all rows were selected by their label, and more than by chance."""
        return self.excess > limit * self.of and self.excess > MAX_DEVIATIONS * self.rows**0.5


def measure_selectivity(dataset: Dataset, rows: NDArray[np.bool_]) -> Selectivity:
    """Compare the labels of some rows with those of all rows of the same day, or of all without a time.

    The labels of a regression are those above and below the median.
    """
    label = dataset.collect(dataset.data.target.name).to_series()
    if dataset.data.target.task == "regression":
        label = (label > label.median()).alias(label.name)
    day = pl.repeat(None, dataset.height, dtype=pl.Date, eager=True)
    if dataset.data.time is not None:
        day = dataset.read_times().dt.date()
    frame = pl.DataFrame({"label": label, "day": day, "marked": rows})
    counts = frame.group_by("day", "label").agg(pl.len().cast(pl.Int64), pl.col("marked").cast(pl.Int64).sum())
    expected = pl.col("len") * pl.col("marked").sum().over("day") / pl.col("len").sum().over("day")
    excess = counts.with_columns(excess=pl.col("marked") - expected).group_by("label").agg(pl.col("excess").sum())
    return Selectivity(int(rows.sum()), float(excess["excess"].abs().sum()) / 2, dataset.height)
