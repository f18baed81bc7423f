"""Pydantic models for the sections of reports/gate.json.

Each section forbids unknown keys and bounds its texts and lists, because a report may come from an untrusted run.
The `Report` model combines them into the whole report. Field docstrings become the descriptions in
conf/.schema/report.json.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_TEXT_CHARS = 2_000
"""Maximum characters of any text in a report."""
MAX_ITEMS = 5_000
"""Maximum items of any list in a report."""
MAX_METRICS = 200

WAIVER_KEY_PREFIX = "gate.waivers."
"""Prefix of the keys of waivers in params.yaml."""

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]
Name = Text
"""The name of a column, a metric or a check."""
Sha256Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{1,64}$")]
CommitHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=MAX_TEXT_CHARS)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Item = TypeVar("Item")
BoundedList = Annotated[list[Item], Field(max_length=MAX_ITEMS)]
Verdict = Literal["pass", "fail", "inconclusive"]
CheckVerdict = Literal["pass", "fail", "inconclusive", "not applicable"]
BLOCKING_VERDICTS = frozenset({"fail", "inconclusive"})
"""The verdicts of checks that stand in the way of a merge."""


class ReportSection(BaseModel):
    """Base of all sections of the report: forbids unknown keys, NaN and infinity."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, use_attribute_docstrings=True
    )


class Estimate(ReportSection):
    """A value with its confidence interval; null where the value is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def has_interval(self) -> bool:
        """Return whether value, low and high are all defined."""
        return self.value is not None and self.low is not None and self.high is not None


Estimates = Annotated[dict[Name, Estimate], Field(max_length=MAX_METRICS)]


class Candidate(ReportSection):
    """The model of this branch."""

    digest: Sha256Digest | None = None
    """The hash of its package; null before a package exists."""
    commit: CommitHash | None = None
    """The commit at which it was judged; null before the first commit."""
    dirty: bool = False
    """Whether there were uncommitted changes."""
    network: Text | None = None
    """The import path of its network class."""


class Champion(ReportSection):
    """The model of the target branch."""

    commit: CommitHash
    package: Text
    """The hash of its package in that commit's dvc.lock."""


class Waiver(ReportSection):
    """An entry of gate.waivers that excuses a check until a date."""

    check: Text
    reason: Text
    until: Text
    """The last day on which the waiver is valid, as YYYY-MM-DD."""
    expired: bool = False
    used: bool = False
    """Whether the waived check did not pass, so that the waiver had an effect."""


class KeyChange(ReportSection):
    """A key of params.yaml that changed. Values are written as in YAML; null means that the key does not exist."""

    key: Text
    before: Text | None
    after: Text | None


class RuleChange(KeyChange):
    """A changed key that configures the gate."""

    weaker: bool
    """Whether the gate is less strict than before; a change that merit can't classify counts as weaker."""

    @property
    def is_waiver(self) -> bool:
        """Return whether the key is a waiver; reports list waivers separately, with their reasons."""
        return self.key.startswith(WAIVER_KEY_PREFIX)


class CodeChange(ReportSection):
    """A changed file of the project's own code."""

    file: Text
    decides: bool = False
    """Whether it is code of an own check or metric, so that its change is a changed rule."""
    before: Text | None = None
    """The beginning of its SHA-256; null if the file is new."""
    after: Text | None = None
    """The beginning of its SHA-256; null if the file is gone."""
    lines: BoundedList[Text] = []
    """Its unified difference, without the names of the files."""
    more: Count = 0
    """The lines of the difference that were cut."""


class ConfigChange(ReportSection):
    """The changes of params.yaml since the champion."""

    config: BoundedList[KeyChange] = []
    rules: BoundedList[RuleChange] = []
    locations: BoundedList[KeyChange] = []
    """Changed paths and addresses: data sources, and where runs, logs and predictions are sent."""
    dropped: Text | None = None
    """The name of the target branch's model, if this change gives the model another: it has no champion then, and no
    rule is compared."""
    code: BoundedList[CodeChange] = []


class SplitRows(ReportSection):
    """The rows of one split: training, validation or test."""

    rows: Count
    from_: Text | None = Field(default=None, alias="from")
    to: Text | None = None
    target: Annotated[dict[Name, float | None], Field(max_length=MAX_ITEMS)] | None = None
    """The distribution of the target: the share of positives or of each class, or mean and standard deviation."""


class Splits(ReportSection):
    """The rows that the model was trained, selected and tested on."""

    train: SplitRows
    validation: SplitRows
    test: SplitRows


class UnseenRows(ReportSection):
    """The test rows that the champion has seen neither in training nor in validation."""

    rows: Count
    from_: Text | None = Field(default=None, alias="from")
    """The first day of these rows; null if rows have no time."""
    to: Text | None = None


class TestRows(ReportSection):
    """The rows that the candidate was judged on."""

    __test__ = False  # no class of tests, for pytest

    rows: Count
    digest: Text | None = None
    """The hash of their keys and targets, or of their file where they have no keys."""
    candidates: Count | None = None
    """How many different candidates were judged on them, up to this one and with it."""
    counted_in: Text | None = None
    """Where these were counted."""
    unseen: UnseenRows | None = None
    """The rows on which candidate and champion were compared; null if they were not."""


class Check(ReportSection):
    """The result of one check: what was found, what is allowed, and what to do if it did not pass."""

    name: Name
    verdict: CheckVerdict
    found: Text
    allowed: Text
    advice: Text = ""
    group: Literal["data", "model", "rules"] = "model"
    waived: bool = False
    """Whether a waiver excuses a check that did not pass."""
    rows_needed: Count | None = None
    """The approximate number of test rows that would decide an inconclusive check."""

    @property
    def is_blocking(self) -> bool:
        """Return whether the check blocks the merge."""
        return self.verdict in BLOCKING_VERDICTS and not self.waived


class Metrics(ReportSection):
    """Metrics on the test rows, by name."""

    candidate: Estimates
    baseline: Estimates | None = None
    champion: Estimates | None = None
    difference: Estimates | None = None
    """Candidate minus champion, paired on the same rows."""


class Blocks(ReportSection):
    """The units that intervals resample: rows that depend on one another stay together."""

    of: Text
    """What a unit is, in the plural, such as days."""
    count: Count
    """The number of units that the test rows form."""
    too_few: bool = False
    """Whether there are so few that the width of an interval is itself uncertain."""


class Slice(ReportSection):
    """The test rows that have one value of a column."""

    column: Name
    value: Text | None
    rows: Count
    blocks: Count | None = None
    """The number of units that its intervals resample."""
    target_mean: float | None = None
    metrics: Estimates | None = None
    """Null if the slice has too few rows."""
    difference: Estimates | None = None
    verdict: Text | None = None


class FoundSlice(ReportSection):
    """Test rows that a rule of one or two conditions selects, found by a search."""

    rule: Text
    """The rule in words, such as `temp at most 34 and precip_6h above 0`."""
    rows: Count
    blocks: Count
    """The number of blocks, such as days, that its rows form."""
    difference: Estimate
    """The worse value less the one that it is compared with; the intervals of all searched slices hold together."""


class WorseSlice(FoundSlice):
    """Where the candidate's loss most surely exceeds the champion's."""

    candidate: float
    """The candidate's mean loss: the log loss, or the squared error as a share of the target's variance."""
    champion: float


class MiscalibratedSlice(FoundSlice):
    """Where the candidate's own predictions are furthest off: observed less predicted."""

    observed: float
    """The share of positives, the share of right predictions (multiclass) or the mean (regression)."""
    predicted: float
    """The mean probability, the mean probability of the most probable class or the mean prediction."""


class UnnamedSlices(ReportSection):
    """The worst slices that `evaluate.slices` doesn't name."""

    searched: Count
    """The number of slices that were searched."""
    min_rows: Count
    """The fewest rows of a slice."""
    worse: WorseSlice | None = None
    """Null without a champion, or if the candidate is nowhere worse."""
    miscalibrated: MiscalibratedSlice | None = None


class CalibrationPoint(ReportSection):
    """One bin of a calibration curve: mean prediction and mean observed target."""

    predicted: float
    observed: float


class EpochLoss(ReportSection):
    """The losses of one epoch."""

    train: float
    validation: float


class Curves(ReportSection):
    """The curves that are small enough to be drawn in a pull request comment."""

    calibration: Annotated[list[CalibrationPoint], Field(max_length=100)] = []
    loss: Annotated[list[EpochLoss], Field(max_length=100)] = []
