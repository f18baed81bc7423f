"""The schema of conf/evaluate: what is measured on the test rows, and how certain it is."""

from typing import Annotated, Literal

from pydantic import Field

from merit.config.schema.base import Component, OpenShare, PositiveInt, Section
from merit.config.schema.strictness import Weaker


class TimeBlocks(Section):
    """Rows of the same hours, days or weeks depend on one another."""

    by: Annotated[Literal["time"], Weaker("any")]
    """What makes a block."""
    every: Annotated[str, Field(pattern=r"^[1-9]\d{0,3}[hdw]$"), Weaker("any")] = "1d"
    """How long a block is: a number of hours, days or weeks, as in 12h, 1d or 2w."""


class ColumnBlocks(Section):
    """Rows with the same value of a column, such as a patient, depend on one another."""

    by: Annotated[Literal["column"], Weaker("any")]
    """What makes a block."""
    column: Annotated[str, Weaker("any")]
    """The column; a row without a value is a block of its own."""


class RowBlocks(Section):
    """Rows are independent."""

    by: Annotated[Literal["row"], Weaker("any")]
    """What makes a block."""


Blocks = Annotated[TimeBlocks | ColumnBlocks | RowBlocks, Field(discriminator="by")]


class Evaluate(Section):
    """conf/evaluate: the metrics, slices and intervals calculated on the test rows."""

    resamples: Annotated[int, Field(ge=100), Weaker("smaller")]
    """Bootstrap resamples per interval."""
    slice_resamples: Annotated[int, Field(ge=100), Weaker("smaller")]
    """Bootstrap resamples per interval of a slice."""
    confidence: Annotated[OpenShare, Weaker("smaller")]
    """The confidence level of the intervals: the share of test parts of which each one would contain the true value."""
    blocks: Annotated[Blocks | None, Weaker("any")] = None
    """Which rows depend on one another, and so are resampled together. null follows the split: the days of a split by
    time, the groups of one by group, else single rows."""
    seeds: Annotated[int, Field(ge=1, le=20), Weaker("smaller")] = 1
    """How many seeds the recipe is trained with, the packaged one among them: they measure how much a seed alone moves
    a metric. 1 measures nothing."""
    slices: Annotated[list[str], Weaker("fewer")]
    """The columns whose values divide the test rows into slices."""
    slice_min_rows: Annotated[PositiveInt, Weaker("larger")]
    """The minimum number of rows for a slice to be judged; a smaller one is only listed."""
    baseline: Annotated[dict[str, float | int], Weaker("any")]
    """Arguments of the baseline: scikit-learn's HistGradientBoostingClassifier, or ...Regressor for a regression."""
    metrics: Annotated[dict[str, Component], Weaker("any")] = {}
    """The project's own metrics by name, in addition to those of the task (docs/how-to/own-python.md)."""
