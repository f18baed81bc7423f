"""The parts of the gate's report, each closed and bounded; `merit.gate.report.schema` puts them together."""

import math
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_TEXT = 2_000
"""Characters of any text in it."""
MOST_ITEMS = 5_000
"""Members of any list in it."""
MOST_METRICS = 200

WAIVERS = "gate.waivers."
"""How the keys of waivers begin."""

Text = Annotated[str, StringConstraints(max_length=MOST_TEXT)]
Name = Text
"""Of a column, a metric or a check."""
Hash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{1,64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")]
Model = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=MOST_TEXT)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Item = TypeVar("Item")
Many = Annotated[list[Item], Field(max_length=MOST_ITEMS)]
Verdict = Literal["pass", "fail", "inconclusive"]


class Part(BaseModel):
    """A part of the report: closed to keys that it doesn't name, and to numbers that are none."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, use_attribute_docstrings=True
    )


class Estimate(Part):
    """A number and the interval it lies in; null where it has no meaning."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_known(self) -> bool:
        """Say whether it has all three numbers."""
        return self.value is not None and self.low is not None and self.high is not None


Estimates = Annotated[dict[Name, Estimate], Field(max_length=MOST_METRICS)]


class Candidate(Part):
    """The model of this branch."""

    digest: Hash | None = None
    """Of its package; null before there is one."""
    commit: Commit | None = None
    """Where it was judged; null before the first commit."""
    dirty: bool = False
    """Whether something was not committed then."""
    network: Text | None = None
    """The class of its network."""


class Champion(Part):
    """The model of the branch that it would merge into."""

    commit: Commit
    package: Text
    """The hash of its package in that commit's dvc.lock."""


class Waiver(Part):
    """A line of YAML that lets a check's finding pass until a day."""

    check: Text
    reason: Text
    until: Text
    """The last day on which it holds, as YYYY-MM-DD."""
    expired: bool = False
    used: bool = False
    """Whether there was something to waive."""


class Difference(Part):
    """A key of params.yaml that differs. Values are as YAML writes them; null means that the key is not there."""

    key: Text
    before: Text | None
    after: Text | None


class Rule(Difference):
    """A key that differs and that the gate judges by."""

    weaker: bool
    """Whether it lets more through than before; what merit can't tell counts as weaker."""

    @property
    def is_waiver(self) -> bool:
        """Say whether it is a waiver, which is told by its reason."""
        return self.key.startswith(WAIVERS)


class Change(Part):
    """How params.yaml differs from the champion's."""

    config: Many[Difference] = []
    rules: Many[Rule] = []
    locations: Many[Difference] = []
    """Where data comes from, or where runs, logs and answers go."""


class Rows(Part):
    """The rows of a part of the data."""

    rows: Count
    from_: Text | None = Field(default=None, alias="from")
    to: Text | None = None
    target: Annotated[dict[Name, float | None], Field(max_length=MOST_ITEMS)] | None = None
    """What their target is like: the share of positives or of each class, or the mean and the deviation."""


class DataRows(Part):
    """How many rows there are, and how many of them differ from the champion's."""

    now: Count
    before: Count | None = None
    added: Count | None = None
    gone: Count | None = None
    changed: Count | None = None
    """Null where rows have no key to know them by."""


class DataChampion(Part):
    """Whose data it is compared with."""

    commit: Commit
    rows: Count | None = None


class Retyped(Part):
    """A column that holds something else than before."""

    column: Text
    before: Text
    after: Text


class Columns(Part):
    """Which columns differ."""

    added: Many[Text] = []
    gone: Many[Text] = []
    retyped: Many[Retyped] = []


class Missing(Part):
    """The share of rows without a value in a column."""

    column: Text
    before: Share
    after: Share


class Categories(Part):
    """The values of a column that are new and that are gone."""

    column: Text
    new: Annotated[list[Text | int | float | bool | None], Field(max_length=100)] = []
    """Some of the new values."""
    new_count: Count
    new_rows: Count
    gone_count: Count


TargetRate = float | Annotated[dict[Text, float], Field(max_length=MOST_ITEMS)] | None


class TargetChange(Part):
    """The share of positives, the share of each class, or the mean."""

    before: TargetRate = None
    after: TargetRate = None


class Drift(Part):
    """How far a column is from the champion's."""

    column: Text
    method: Text
    score: float | None
    """Null where it can't be measured."""
    limit: float
    drifted: bool

    @property
    def share(self) -> float:
        """Return the distance as a share of its limit; what can't be measured is beyond it."""
        return self.score / self.limit if self.score is not None and self.limit > 0 else math.inf


class DataChange(Part):
    """How the data differs from the champion's; null where it can't be compared."""

    champion: DataChampion | None = None
    rows: DataRows | None = None
    columns: Columns | None = None
    missing: Many[Missing] | None = None
    """Where it moved."""
    categories: Many[Categories] | None = None
    """Where they differ."""
    target: TargetChange | None = None
    drift: Many[Drift] | None = None
    duplicates: Count | None = None
    """Rows that repeat another one whole."""
    identical: bool = False
    """Whether it is the champion's, bit for bit."""


class Parts(Part):
    """The parts of the data, and what each was for."""

    train: Rows
    validation: Rows
    test: Rows


class Check(Part):
    """One check: what was found, what is allowed, and what to do if it didn't pass."""

    name: Name
    verdict: Verdict
    found: Text
    allowed: Text
    advice: Text = ""
    group: Literal["data", "model", "rules"] = "model"
    waived: bool = False
    """Whether a waiver lets it pass all the same."""
    rows_needed: Count | None = None
    """About how many test rows would settle what is inconclusive."""

    @property
    def is_open(self) -> bool:
        """Say whether it stands in the way."""
        return self.verdict != "pass" and not self.waived


class Metrics(Part):
    """Metrics of the test rows."""

    candidate: Estimates
    baseline: Estimates | None = None
    champion: Estimates | None = None
    difference: Estimates | None = None
    """The candidate's less the champion's, on the same rows, paired."""


class Slice(Part):
    """The test rows with one value of a column."""

    column: Name
    value: Text | None
    rows: Count
    target_mean: float | None = None
    metrics: Estimates | None = None
    """Null where it has too few rows."""
    difference: Estimates | None = None
    verdict: Text | None = None


class Point(Part):
    """A bin of test rows: what was predicted on average, and what was observed."""

    predicted: float
    observed: float


class Epoch(Part):
    """The losses of an epoch."""

    train: float
    validation: float


class Curves(Part):
    """What a comment has room to draw."""

    calibration: Annotated[list[Point], Field(max_length=100)] = []
    loss: Annotated[list[Epoch], Field(max_length=100)] = []
