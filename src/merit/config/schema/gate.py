"""conf/gate: what a candidate must satisfy to merge."""

import math
import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from merit.config.schema.base import Component, Interval, Positive, Section, Share


class Margin(Section):
    """How much worse than a rival the candidate may be, by this metric."""

    metric: str
    """The metric that is compared."""
    margin: Annotated[float, Field(ge=0)]
    """How much worse it may be."""


class Drift(Section):
    """How far the training rows may be from the champion's, in sizes of effect that don't grow with the rows.

    Scores are Evidently's: the Jensen-Shannon distance of a category, the Wasserstein distance of a number in the
    standard deviations of the champion's.
    """

    category: Interval = 0.15
    """The greatest Jensen-Shannon distance of a category."""
    number: Annotated[float, Field(gt=0)] = 0.3
    """The greatest Wasserstein distance of a number, in standard deviations."""
    overall: Interval = 0.5
    """The greatest mean over all features of each one's distance as a share of its limit."""


class Leakage(Section):
    """What the training rows may tell of the test rows, or a column of the answer."""

    shared: Share = 0.01
    """The greatest share of test rows whose features and target are in the training rows, beyond what is chance."""
    entity: list[str] | None = None
    """The columns that together name what must not be on both sides, such as a patient; [] if rows stand for
    themselves. null looks for it: split.column, and columns of feature none that by name and values are ids that
    repeat; where rows are split by time, that the test rows are later rows of the same is said and no fault."""
    column: Interval = 0.98
    """How well one column alone may predict the target: ROC AUC, accuracy gained as a share of what there is to gain,
    or R2, as the task asks."""
    overlap: Share = 0.0
    """The greatest share of validation and test rows that are not later than all training rows."""


class DataGate(Section):
    """What the data must satisfy beside its contract: in itself, and against the champion's. Shares are of rows."""

    gone: Share = 0.05
    """The greatest share of the champion's rows that may be gone."""
    changed: Share = 0.05
    """The greatest share of the rows that both have whose values may be others; told by `data.contract.unique`."""
    missing: Share = 0.05
    """How far the share of missing values of any column may move."""
    categories: Share = 0.05
    """The greatest share of rows of any column with a category that the other data doesn't have."""
    duplicates: Share = 0.01
    """The greatest share of rows that repeat another one whole."""
    target: Annotated[float, Field(gt=0)] = 0.05
    """How far the target may move: the share of positives or of any class, or the mean in standard deviations."""
    conflicts: Share = 0.05
    """The greatest share of rows with the features of another row and another answer (a number: a deviation apart)."""
    drift: Drift = Drift()
    leakage: Leakage = Leakage()
    rows: Annotated[int, Field(ge=100)] = 10000
    """Training rows drawn for drift and for the columns that predict alone."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Where that draw begins."""


class SliceRule(Section):
    """How much worse than the champion's the candidate may be on a slice, by this metric.

    Intervals have the confidence that Bonferroni's correction asks for: 1 - (1 - gate.confidence) / slices.
    """

    metric: str
    """The metric that is compared on each slice."""
    margin: Annotated[float, Field(ge=0)]
    """How much worse it may be on one of them."""


class Spoiling(Section):
    """How much is spoiled, and how much worse the metric may then be."""

    amount: Annotated[float, Field(gt=0, le=1)]
    """The share of a column's values that are spoiled; of numbers, how many of its deviations they are moved by."""
    margin: Annotated[float, Field(ge=0)]
    """How much worse the metric may be than on the rows as they are."""


class Robustness(Section):
    """What the model must withstand: test rows are spoiled, and scored again."""

    metric: str
    """The metric that may not fall too far, or rise if less is better."""
    missing: Spoiling | None = None
    """Values taken out of the columns that may lack them."""
    unseen: Spoiling | None = None
    """Categories that no row has."""
    noise: Spoiling | None = None
    """Numbers moved at random."""


Plain = str | bool | int | float | None
"""A value of a column as YAML has it; a time is an ISO string, a missing value null."""


class Change(Section):
    """A change made to one column of every test row: `by` is added to its numbers, or `to` takes their place."""

    column: str
    """The column that is changed."""
    by: float | int | None = None
    """What is added; the sum stays within the column's min and max."""
    to: Plain = None
    """What every row gets instead."""

    @model_validator(mode="after")
    def _is_one(self) -> "Change":
        if len({"by", "to"} & self.model_fields_set) != 1 or (self.by is None and self.to is None):
            raise ValueError("give either by, a number that is added, or to, a value that takes the old one's place")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what isn't set, so that what is read back is what was written."""
        return {name: value for name, value in write(self).items() if value is not None}


class Invariance(Change):
    """A change that no answer may follow."""

    tolerance: Annotated[float, Field(ge=0)]
    """How far any row's prediction may move."""


class Direction(Change):
    """A change that the answers must follow, on average, in one direction or not at all."""

    expect: Literal["not_lower", "not_higher"]
    """Where the mean prediction may go."""
    tolerance: Annotated[float, Field(ge=0)] | None = None
    """How far the other way it may go: what another seed alone does is no direction; null is 0."""
    label: str | int | None = None
    """The class whose probability is meant; for a multiclass task alone."""


class Golden(Section):
    """A row and the answer that is expected of it: from `min` to `max`, or `value` give or take `tolerance`."""

    row: dict[str, Any]
    """The columns that the model takes; those that may be missing may be left out."""
    min: float | int | None = None
    """The least that it may answer."""
    max: float | int | None = None
    """The most that it may answer."""
    value: float | int | None = None
    """What it should answer."""
    tolerance: Annotated[float, Field(ge=0)] | None = None
    """How far from the value the answer may be."""
    label: str | int | None = None
    """The class whose probability is meant; for a multiclass task alone."""

    @model_validator(mode="after")
    def _is_one(self) -> "Golden":
        is_range, is_value = (self.min, self.max) != (None, None), self.value is not None
        if is_range == is_value or is_value != (self.tolerance is not None):
            raise ValueError("give either min, max or both, or value and tolerance")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what isn't set; a column of the row that is null stays."""
        return {name: value for name, value in write(self).items() if value is not None}

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that it may answer."""
        if self.value is not None and self.tolerance is not None:
            return self.value - self.tolerance, self.value + self.tolerance
        return (-math.inf if self.min is None else self.min), (math.inf if self.max is None else self.max)


class Behaviour(Section):
    """What the model must do whatever its metrics say, each by a name of its own."""

    invariance: dict[str, Invariance] = {}
    """Changes that no answer may follow."""
    direction: dict[str, Direction] = {}
    """Changes that the answers must follow in one direction, on average."""
    golden: dict[str, Golden] = {}
    """Rows whose answers are known."""

    @model_validator(mode="after")
    def _has_plain_names(self) -> "Behaviour":
        for name in (*self.invariance, *self.direction, *self.golden):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ValueError(f"'{name}' is no name: give letters, digits, _ and -")
        return self


class Time(Section):
    """How long the package may take on this machine, by one thread: the median of some runs, the best of several."""

    row_ms: Annotated[float, Field(gt=0)]
    """Milliseconds for one row."""
    batch_ms: Annotated[float, Field(gt=0)]
    """Milliseconds for a batch."""
    batch: Positive
    """Test rows in a batch."""


class Replay(Section):
    """Parity over HTTP: the Bento is built, served on loopback and asked; its answers must be the package's."""

    rows: Positive
    """Test rows that are sent."""


class Waiver(Section):
    """Leave for a check not to pass, until a day."""

    reason: Annotated[str, Field(min_length=10)]
    """Why it may, for those who review it."""
    until: Annotated[date, Field(strict=False)]
    """The last day on which it may."""


NOT_WAIVABLE = ("contract", "outputs", "parity", "replay", "waivers")
"""The checks without which the others mean nothing: they were made on other data, or of another model."""


class Gate(Section):
    """conf/gate: what a candidate must satisfy to merge."""

    data: DataGate = DataGate()

    floors: dict[str, float]
    """The worst acceptable value of each metric: a least one for scores, a greatest one for losses."""
    baseline: Margin
    champion: list[Margin]
    calibration: Annotated[float, Field(gt=0)] | None
    """The greatest calibration error; null for a regression, which has none."""
    parity: Annotated[float, Field(gt=0)]
    """The greatest difference between the graph and the PyTorch path."""
    size_mb: Annotated[float, Field(gt=0)]
    """The greatest size of the package, in megabytes."""
    slices: SliceRule | None = None
    """How much worse than the champion the candidate may be on each slice of evaluate.slices; null for no look."""
    robustness: Robustness | None = None
    """What the model must withstand; null for no look."""
    behaviour: Behaviour = Behaviour()
    """What the model must do whatever its metrics say."""
    time: Time | None = None
    """How long the package may take; null for no look."""
    replay: Replay | None = None
    """Whether the package is asked through the Bento built of it; null for no."""
    waivers: dict[str, Waiver] = {}
    """Checks that needn't pass, by their names in the report (docs/gate.md)."""
    checks: dict[str, Component] = {}
    """Checks of the project's own, by name (docs/own-python.md)."""
    resamples: Annotated[int, Field(ge=100)]
    """Bootstrap resamples behind each comparison."""
    confidence: Interval
    """The share of resamples that an interval covers."""
