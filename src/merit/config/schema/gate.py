"""The schema of conf/gate: what a candidate must satisfy to merge."""

import math
import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from merit.config.extensions import list_names_with
from merit.config.schema.base import Component, OpenShare, PositiveInt, Section, Share
from merit.config.schema.strictness import Weaker


class MetricMargin(Section):
    """How much worse the candidate may be than the model that it is compared with, in one metric."""

    metric: Annotated[str, Weaker("any")]
    """The metric to compare."""
    margin: Annotated[float, Field(ge=0), Weaker("larger")]
    """How much worse the candidate may be."""


class DriftLimits(Section):
    """How far the training rows may drift from the champion's, as effect sizes that don't grow with the rows.

    The scores are as Evidently defines them: the Jensen-Shannon distance of a category, and the Wasserstein distance of
    a number in standard deviations of the champion's.
    """

    category: Annotated[OpenShare, Weaker("larger")] = 0.15
    """The maximum Jensen-Shannon distance of a category."""
    number: Annotated[float, Field(gt=0), Weaker("larger")] = 0.3
    """The maximum Wasserstein distance of a number, in standard deviations."""
    overall: Annotated[OpenShare, Weaker("larger")] = 0.5
    """The maximum mean, over all features, of each one's distance divided by its limit."""


class LeakageLimits(Section):
    """How much the training rows may reveal of the test rows, or a single column of the target."""

    shared: Annotated[Share, Weaker("larger")] = 0.01
    """The maximum share of test rows whose features and target also occur in the training rows, beyond the share
    expected by chance; the same for training and validation, and validation and test rows, and for near-copies."""
    entity: Annotated[list[str] | None, Weaker("fewer", null="detected")] = None
    """The columns that together identify an entity, such as a patient, that must not be in both training and test rows;
    [] if each row stands for itself. null detects them: split.column, and columns of feature none whose names and
    values look like ids that repeat. Where rows are split by time, an entity on both sides is reported and does not
    fail the check: the test rows are later rows of the same entity."""
    column: Annotated[OpenShare, Weaker("larger")] = 0.98
    """How well a single column may predict the target: ROC AUC, the accuracy gained as a share of the possible gain, or
    R2, depending on the task."""
    together: Annotated[OpenShare, Weaker("larger")] = 0.995
    """How well all features together, or any two, may predict the target, measured in the same way."""
    gain: Annotated[OpenShare, Weaker("larger")] = 0.2
    """How much better new or changed features may predict the target than the champion's, as a share of what was left
    to gain: a larger gain is too good to be true until somebody says by data.columns.NAME.known why it is not."""
    overlap: Annotated[Share, Weaker("larger")] = 0.0
    """The maximum share of validation and test rows that are not later than all training rows."""


class DataGate(Section):
    """Checks of the data beyond its contract: of itself, and against the champion's data. Shares are of rows."""

    gone: Annotated[Share, Weaker("larger")] = 0.05
    """The maximum share of the champion's rows that the candidate's data no longer has."""
    changed: Annotated[Share, Weaker("larger")] = 0.05
    """The maximum share of rows in both that have changed values; `data.contract.unique` matches the rows."""
    added: Annotated[Share, Weaker("larger")] = 0.05
    """The maximum share of new rows within the time that the champion's data covers; new rows outside it, and rows
    without data.time, are growth."""
    labels: Annotated[Share, Weaker("larger")] = 0.005
    """The maximum share of rows in both whose target changed. This limit and those for gone, changed and added rows
    also hold, beyond chance, for each part; slices of evaluate.slices, months and slices by month may have five times
    as much."""
    missing: Annotated[Share, Weaker("larger")] = 0.05
    """How far the share of missing values of any column may move."""
    categories: Annotated[Share, Weaker("larger")] = 0.05
    """The maximum share of rows, for any column, with a category that the other data doesn't have."""
    duplicates: Annotated[Share, Weaker("larger")] = 0.01
    """The maximum share of rows that repeat another row in every column."""
    target: Annotated[float, Field(gt=0), Weaker("larger")] = 0.05
    """How far the target may move: the share of positives or of any class, or the mean in standard deviations."""
    conflicts: Annotated[Share, Weaker("larger")] = 0.05
    """The maximum share of rows with the features of another row but another target (a number: a standard deviation
    apart)."""
    drift: DriftLimits = DriftLimits()
    leakage: LeakageLimits = LeakageLimits()
    rows: Annotated[int, Field(ge=100), Weaker("smaller")] = 10000
    """Training rows sampled for drift and for columns that predict the target alone."""
    seed: Annotated[int, Field(ge=0, lt=2**32), Weaker("any")] = 0
    """The seed of that sample."""


class SliceRule(Section):
    """How much worse the candidate may be than the champion on a slice, in one metric.

    Intervals use the confidence of Bonferroni's correction: 1 - (1 - gate.confidence) / slices.
    """

    metric: Annotated[str, Weaker("any")]
    """The metric to compare on each slice."""
    margin: Annotated[float, Field(ge=0), Weaker("larger")]
    """How much worse the candidate may be on any slice."""


class SliceSearch(Section):
    """The search for slices that `evaluate.slices` doesn't name: rows that one or two conditions on columns select."""

    share: Annotated[OpenShare, Weaker("larger")] = 0.02
    """The minimum share of the test rows for a slice to be searched; at least evaluate.slice_min_rows rows."""
    margin: Annotated[float, Field(ge=0), Weaker("larger")] = 0.02
    """How much worse the candidate may be than the champion on any such slice: the log loss, or for a regression the
    mean squared error as a share of the target's variance."""


class Perturbation(Section):
    """The size of a perturbation, and how much worse it may make the metric."""

    amount: Annotated[float, Field(gt=0, le=1), Weaker("smaller")]
    """The share of a column's values that are perturbed; for noise, its size in standard deviations of the column."""
    margin: Annotated[float, Field(ge=0), Weaker("larger")]
    """How much worse the metric may be than on the unperturbed rows."""


class Robustness(Section):
    """Robustness against perturbed inputs: test rows are perturbed, and scored again."""

    metric: Annotated[str, Weaker("any")]
    """The metric to compare between the perturbed and the unperturbed rows."""
    missing: Perturbation | None = None
    """Values removed from columns that may have missing values."""
    unseen: Perturbation | None = None
    """Categories replaced by a value that no row has."""
    noise: Perturbation | None = None
    """Random noise added to numbers."""


ColumnValue = str | bool | int | float | None
"""A column's value in YAML; a time is an ISO string, a missing value null."""


class ColumnChange(Section):
    """A change to one column of every test row: `by` is added to its numbers, or `to` replaces its values."""

    column: Annotated[str, Weaker("any")]
    """The column to change."""
    by: Annotated[float | int | None, Weaker("any")] = None
    """The number to add; the sum stays within the column's min and max."""
    to: Annotated[ColumnValue, Weaker("any")] = None
    """The value that every row gets instead of its own."""

    @model_validator(mode="after")
    def _check_one_change(self) -> "ColumnChange":
        if len({"by", "to"} & self.model_fields_set) != 1 or (self.by is None and self.to is None):
            raise ValueError("give either by, a number that is added, or to, a value that takes the old one's place")
        return self

    @model_serializer(mode="wrap")
    def _omit_unset_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit keys that are not set, so that the written form can be read back."""
        return {name: value for name, value in serialize(self).items() if value is not None}


class InvarianceTest(ColumnChange):
    """A change that may move no prediction by more than a tolerance."""

    tolerance: Annotated[float, Field(ge=0), Weaker("larger")]
    """The maximum change of any row's prediction."""


class DirectionTest(ColumnChange):
    """A change that may move the mean prediction in one direction only."""

    expect: Annotated[Literal["not_lower", "not_higher"], Weaker("any")]
    """The direction that is allowed for the mean prediction."""
    tolerance: Annotated[Annotated[float, Field(ge=0)] | None, Weaker("larger", null="zero")] = None
    """How far the mean may move in the other direction, since another seed alone moves it too; null is 0."""
    label: Annotated[str | int | None, Weaker("any")] = None
    """The class whose probability is checked; for a multiclass task only."""


class GoldenRow(Section):
    """A row with its expected prediction: from `min` to `max`, or `value` plus or minus `tolerance`."""

    row: Annotated[dict[str, Any], Weaker("any")]
    """The model's input columns; those that may be missing can be left out."""
    min: Annotated[float | int | None, Weaker("smaller")] = None
    """The minimum prediction."""
    max: Annotated[float | int | None, Weaker("larger")] = None
    """The maximum prediction."""
    value: Annotated[float | int | None, Weaker("any")] = None
    """The expected prediction."""
    tolerance: Annotated[Annotated[float, Field(ge=0)] | None, Weaker("larger")] = None
    """The maximum distance of the prediction from the value."""
    label: Annotated[str | int | None, Weaker("any")] = None
    """The class whose probability is checked; for a multiclass task only."""

    @model_validator(mode="after")
    def _check_one_expectation(self) -> "GoldenRow":
        is_range, is_value = (self.min, self.max) != (None, None), self.value is not None
        if is_range == is_value or is_value != (self.tolerance is not None):
            raise ValueError("give either min, max or both, or value and tolerance")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    @model_serializer(mode="wrap")
    def _omit_unset_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit keys that are not set; a column of the row that is null stays."""
        return {name: value for name, value in serialize(self).items() if value is not None}

    @property
    def bounds(self) -> tuple[float, float]:
        """The minimum and the maximum prediction."""
        if self.value is not None and self.tolerance is not None:
            return self.value - self.tolerance, self.value + self.tolerance
        return (-math.inf if self.min is None else self.min), (math.inf if self.max is None else self.max)


class BehaviouralTests(Section):
    """Behavioural tests that the model must pass whatever its metrics, each under a name of its own."""

    invariance: dict[str, InvarianceTest] = {}
    """Changes that may move no prediction."""
    direction: dict[str, DirectionTest] = {}
    """Changes that may move the mean prediction in one direction only."""
    golden: dict[str, GoldenRow] = {}
    """Rows with expected predictions."""

    @model_validator(mode="after")
    def _check_names(self) -> "BehaviouralTests":
        for name in (*self.invariance, *self.direction, *self.golden):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ValueError(f"'{name}' is no name: give letters, digits, _ and -")
        return self


class LatencyLimits(Section):
    """Latency limits of the package on this machine, on one thread: the best of several repeats' medians."""

    row_ms: Annotated[float, Field(gt=0), Weaker("larger")]
    """Milliseconds for one row."""
    batch_ms: Annotated[float, Field(gt=0), Weaker("larger")]
    """Milliseconds for a batch."""
    batch: Annotated[PositiveInt, Weaker("any")]
    """Test rows per batch."""


class Replay(Section):
    """Parity over HTTP: the Bento is built, served on loopback and queried; it must predict what the package does."""

    rows: Annotated[PositiveInt, Weaker("smaller")]
    """Test rows to send."""


class Waiver(Section):
    """Permission for a check to fail until a date."""

    reason: Annotated[str, Field(min_length=10), Weaker("any")]
    """The reason for it, for reviewers."""
    until: Annotated[date, Field(strict=False), Weaker("any")]
    """The last day of the permission."""


class TestRows(Section):
    """What the test rows may still be used for."""

    __test__ = False  # no class of tests, for pytest

    unseen: Annotated[PositiveInt, Weaker("smaller")] = 200
    """The minimum number of test rows that the champion has seen neither in training nor in validation, where it has
    seen others: the two are compared on these rows only."""
    candidates: Annotated[PositiveInt | None, Weaker("larger")] = 100
    """The maximum number of different candidates judged on the same test rows; null is no limit."""


CHECK_PACKAGE = "merit.gate.checks"
NOT_WAIVABLE = (*list_names_with(CHECK_PACKAGE, "WAIVABLE", False), "waivers")
"""Checks that can't be waived. Without them the other checks mean nothing, since they would be about other data or
another model."""


class Gate(Section):
    """conf/gate: what a candidate must satisfy to merge."""

    data: DataGate = DataGate()

    floors: Annotated[dict[str, float], Weaker("worse metric")]
    """The worst acceptable value of each metric: a minimum for scores, a maximum for losses."""
    baseline: MetricMargin
    champion: Annotated[list[MetricMargin], Weaker("margins")]
    calibration: Annotated[Annotated[float, Field(gt=0)] | None, Weaker("larger")]
    """The maximum calibration error; null for a regression, which has none."""
    parity: Annotated[float, Field(gt=0), Weaker("larger")]
    """The maximum difference between the predictions of the ONNX graph and of PyTorch."""
    size_mb: Annotated[float, Field(gt=0), Weaker("larger")]
    """The maximum size of the package, in megabytes."""
    slices: SliceRule | None = None
    """How much worse the candidate may be than the champion on each slice of evaluate.slices; null disables the
    check."""
    unnamed_slices: SliceSearch | None = SliceSearch()
    """The search for slices that evaluate.slices doesn't name; null disables it."""
    robustness: Robustness | None = None
    """Robustness against perturbed inputs; null disables the check."""
    behaviour: BehaviouralTests = BehaviouralTests()
    """Behavioural tests that the model must pass whatever its metrics."""
    test_rows: TestRows = TestRows()
    time: LatencyLimits | None = None
    """Latency limits of the package; null disables the check."""
    replay: Replay | None = None
    """Parity over HTTP, through the Bento built from the package; null disables the check."""
    waivers: dict[str, Waiver] = {}
    """Checks that may fail, by their names in the report (docs/reference/checks.md)."""
    waiver_days: Annotated[int, Field(ge=1, le=90), Weaker("larger")] = 30
    """The maximum days from now on that a waiver may last."""
    waivers_at_once: Annotated[int, Field(ge=0, le=10), Weaker("larger")] = 3
    """The maximum number of waivers that may be in force at the same time."""
    checks: Annotated[dict[str, Component], Weaker("any")] = {}
    """The project's own checks, by name (docs/how-to/own-python.md)."""
    resamples: Annotated[int, Field(ge=100), Weaker("smaller")]
    """Bootstrap resamples per comparison."""
    confidence: Annotated[OpenShare, Weaker("smaller")]
    """The confidence level of the intervals: the share of resamples that each one covers."""
