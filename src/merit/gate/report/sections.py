"""Pydantic models for the sections of reports/gate.json.

Each section forbids unknown keys and bounds its texts and lists, because a report may come from an untrusted run.
The `Report` model combines them into the whole report. Field docstrings become the descriptions in
conf/.schema/report.json.
"""

import math
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_TEXT = 2_000
"""Maximum characters of any text in a report."""
MOST_ITEMS = 5_000
"""Maximum items of any list in a report."""
MOST_METRICS = 200

WAIVERS = "gate.waivers."
"""Prefix of the keys of waivers in params.yaml."""

Text = Annotated[str, StringConstraints(max_length=MOST_TEXT)]
Name = Text
"""The name of a column, a metric or a check."""
Hash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{1,64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")]
Model = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=MOST_TEXT)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Item = TypeVar("Item")
Many = Annotated[list[Item], Field(max_length=MOST_ITEMS)]
Verdict = Literal["pass", "fail", "inconclusive"]


class Part(BaseModel):
    """Base of all sections of the report: forbids unknown keys, NaN and infinity."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, use_attribute_docstrings=True
    )


class Estimate(Part):
    """A value with its confidence interval; null where the value is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_known(self) -> bool:
        """Return whether value, low and high are all defined."""
        return self.value is not None and self.low is not None and self.high is not None


Estimates = Annotated[dict[Name, Estimate], Field(max_length=MOST_METRICS)]


class Candidate(Part):
    """The model of this branch."""

    digest: Hash | None = None
    """The hash of its package; null before a package exists."""
    commit: Commit | None = None
    """The commit at which it was judged; null before the first commit."""
    dirty: bool = False
    """Whether there were uncommitted changes."""
    network: Text | None = None
    """The import path of its network class."""


class Champion(Part):
    """The model of the target branch."""

    commit: Commit
    package: Text
    """The hash of its package in that commit's dvc.lock."""


class Waiver(Part):
    """An entry of gate.waivers that excuses a check until a date."""

    check: Text
    reason: Text
    until: Text
    """The last day on which the waiver is valid, as YYYY-MM-DD."""
    expired: bool = False
    used: bool = False
    """Whether the waived check did not pass, so that the waiver had an effect."""


class Difference(Part):
    """A key of params.yaml that changed. Values are written as in YAML; null means that the key does not exist."""

    key: Text
    before: Text | None
    after: Text | None


class Rule(Difference):
    """A changed key that configures the gate."""

    weaker: bool
    """Whether the gate is less strict than before; a change that merit can't classify counts as weaker."""

    @property
    def is_waiver(self) -> bool:
        """Return whether the key is a waiver; reports list waivers separately, with their reasons."""
        return self.key.startswith(WAIVERS)


class Change(Part):
    """The changes of params.yaml since the champion."""

    config: Many[Difference] = []
    rules: Many[Rule] = []
    locations: Many[Difference] = []
    """Changed paths and addresses: data sources, and where runs, logs and predictions are sent."""


class Rows(Part):
    """The rows of one split: training, validation or test."""

    rows: Count
    from_: Text | None = Field(default=None, alias="from")
    to: Text | None = None
    target: Annotated[dict[Name, float | None], Field(max_length=MOST_ITEMS)] | None = None
    """The distribution of the target: the share of positives or of each class, or mean and standard deviation."""


class DataRows(Part):
    """The number of rows, and how many differ from the champion's data."""

    now: Count
    before: Count | None = None
    added: Count | None = None
    gone: Count | None = None
    changed: Count | None = None
    """Rows with the same key and other values; null if the data declares no key."""


class DataChampion(Part):
    """The champion whose data was compared."""

    commit: Commit
    rows: Count | None = None


class Retyped(Part):
    """A column whose type changed."""

    column: Text
    before: Text
    after: Text


class Columns(Part):
    """The columns that were added, removed or changed their type."""

    added: Many[Text] = []
    gone: Many[Text] = []
    retyped: Many[Retyped] = []


class Missing(Part):
    """The share of missing values of a column, before and after the change."""

    column: Text
    before: Share
    after: Share


class Categories(Part):
    """The categories of a column that were added and removed."""

    column: Text
    new: Annotated[list[Text | int | float | bool | None], Field(max_length=100)] = []
    """Examples of the new values."""
    new_count: Count
    new_rows: Count
    gone_count: Count


TargetRate = float | Annotated[dict[Text, float], Field(max_length=MOST_ITEMS)] | None


class TargetChange(Part):
    """The distribution of the target before and after: the share of positives or of each class, or the mean."""

    before: TargetRate = None
    after: TargetRate = None


class Drift(Part):
    """The drift of a column from the champion's data."""

    column: Text
    method: Text
    score: float | None
    """The distance; null if it can't be measured."""
    limit: float
    drifted: bool

    @property
    def share(self) -> float:
        """The distance as a share of its limit; infinite if it can't be measured."""
        return self.score / self.limit if self.score is not None and self.limit > 0 else math.inf


class DataChange(Part):
    """The changes of the data since the champion; null where a comparison is not possible."""

    champion: DataChampion | None = None
    rows: DataRows | None = None
    columns: Columns | None = None
    missing: Many[Missing] | None = None
    """Columns whose share of missing values changed."""
    categories: Many[Categories] | None = None
    """Columns whose categories changed."""
    target: TargetChange | None = None
    drift: Many[Drift] | None = None
    duplicates: Count | None = None
    """The number of rows that duplicate another row."""
    identical: bool = False
    """Whether the data is byte-identical to the champion's."""


class Parts(Part):
    """The rows that the model was trained, selected and tested on."""

    train: Rows
    validation: Rows
    test: Rows


class Check(Part):
    """The result of one check: what was found, what is allowed, and what to do if it did not pass."""

    name: Name
    verdict: Verdict
    found: Text
    allowed: Text
    advice: Text = ""
    group: Literal["data", "model", "rules"] = "model"
    waived: bool = False
    """Whether a waiver excuses a check that did not pass."""
    rows_needed: Count | None = None
    """The approximate number of test rows that would decide an inconclusive check."""

    @property
    def is_open(self) -> bool:
        """Return whether the check blocks the merge."""
        return self.verdict != "pass" and not self.waived


class Metrics(Part):
    """Metrics on the test rows, by name."""

    candidate: Estimates
    baseline: Estimates | None = None
    champion: Estimates | None = None
    difference: Estimates | None = None
    """Candidate minus champion, paired on the same rows."""


class Slice(Part):
    """The test rows that have one value of a column."""

    column: Name
    value: Text | None
    rows: Count
    target_mean: float | None = None
    metrics: Estimates | None = None
    """Null if the slice has too few rows."""
    difference: Estimates | None = None
    verdict: Text | None = None


class Point(Part):
    """One bin of a calibration curve: mean prediction and mean observed target."""

    predicted: float
    observed: float


class Epoch(Part):
    """The losses of one epoch."""

    train: float
    validation: float


class Curves(Part):
    """The curves that are small enough to be drawn in a pull request comment."""

    calibration: Annotated[list[Point], Field(max_length=100)] = []
    loss: Annotated[list[Epoch], Field(max_length=100)] = []
