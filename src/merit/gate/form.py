"""The form of reports/gate.json: what `merit gate` writes and what a report from elsewhere must be to be read.

`merit schema` publishes it as conf/.schema/report.json. It imports nothing heavy: who only posts a report reads it too.
"""

import json
import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from merit.errors import MeritError
from merit.gate.escape import plain

SCHEMA = "report.json"
"""The name of its JSON Schema, beside those of conf/."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"

MOST_BYTES = 8_000_000
"""What a report from elsewhere may weigh."""
MOST_TEXT = 2_000
"""Characters of any text in it."""
MOST_NAME = 300
"""Characters of the name of a metric or of a check."""
MOST_ITEMS = 5_000
"""Members of any list in it."""
MOST_METRICS = 200

WAIVERS = "gate.waivers."
"""How the keys of waivers begin."""

Text = Annotated[str, StringConstraints(max_length=MOST_TEXT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MOST_NAME)]
Hash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{1,64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")]
Model = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=MOST_NAME)]
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
    """Where it was made; null before the first commit."""
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


class Rows(Part):
    """The rows of a part of the data."""

    rows: Count
    from_: Text | None = Field(default=None, alias="from")
    to: Text | None = None
    target: Annotated[dict[Name, Any], Field(max_length=MOST_METRICS)] | None = None


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


class Report(Part):
    """What the gate found. What is null was not judged."""

    form: Literal[1]
    verdict: Verdict
    scope: Literal["all", "data", "model"] = "all"
    """What was judged; only all of it lets a model merge."""
    inputs: Text | None = None
    """The hash of all that the verdict depends on."""
    model: Model
    task: Literal["binary", "multiclass", "regression"]
    candidate: Candidate | None = None
    champion: Champion | None = None
    waivers: Many[Waiver] = []
    change: Change | None = None
    """Null where there is nothing to compare with."""
    data: DataChange | None = None
    parts: Parts | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None
    checks: Many[Check]
    metrics: Metrics | None = None
    better: Annotated[dict[Name, Literal["higher", "lower"]], Field(max_length=MOST_METRICS)] = {}
    slices: Many[Slice] = []
    curves: Curves | None = None
    left_out: Annotated[dict[Name, Count], Field(max_length=100)] = {}
    """Members of lists that were too long, by the list's place."""

    @model_validator(mode="after")
    def _follows_from_its_checks(self) -> "Report":
        if self.verdict == "pass" and (not self.checks or any(check.is_open for check in self.checks)):
            raise ValueError("the verdict is pass, but not every check passed")
        return self


def of(report: dict[str, Any]) -> Report:
    """Return a report in its form, what it lacks filled in.

    Raises:
        MeritError: it is of another form.
    """
    try:
        return Report.model_validate(report)
    except ValidationError as error:
        raise _told(error) from error


def read(text: str) -> dict[str, Any]:
    """Return the report that a text from elsewhere holds, which nobody vouches for.

    Raises:
        MeritError: it is too long, no JSON, or not of the form; one line says what is wrong first.
    """
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise MeritError(f"the gate's report holds {len(text):,} characters; allowed: {MOST_BYTES:,} bytes")
    try:
        return Report.model_validate_json(text).model_dump(mode="json", by_alias=True)
    except ValidationError as error:
        raise _told(error) from error


def fit(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report that fits its form whatever the data holds: texts and lists cut, numbers that are none null."""
    left_out: dict[str, int] = {}
    fitted: dict[str, Any] = _fitted(report, "", left_out)
    return {**fitted, "left_out": left_out} if left_out else fitted


def _fitted(value: Any, place: str, left_out: dict[str, int]) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MOST_TEXT else value[: MOST_TEXT - 1] + "…"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _fitted(inner, f"{place}.{name}" if place else name, left_out) for name, inner in value.items()}
    if isinstance(value, list):
        if len(value) > MOST_ITEMS:
            left_out[place] = len(value) - MOST_ITEMS
        return [_fitted(inner, place, left_out) for inner in value[:MOST_ITEMS]]
    return value


def schema() -> str:
    """Return the text of the JSON Schema; the same code gives the same bytes."""
    made = {"$schema": DIALECT, **Report.model_json_schema(by_alias=True)}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _told(error: ValidationError) -> MeritError:
    """Return the first fault as a line; what a stranger wrote is shown short and harmless."""
    first, *more = error.errors(include_url=False, include_context=False)
    place = plain(".".join(map(str, first["loc"])), 100) or "as a whole"
    found = "" if isinstance(first["input"], dict | list) else f", found {plain(repr(first['input']), 80)}"
    if first["type"] == "json_invalid":
        found = ""
    rest = f"; {len(more)} more faults" if more else ""
    return MeritError(f"the gate's report: {place}: {plain(first['msg'], 200)}{found}{rest}; 'merit gate' writes it")
