"""The form of reports/gate.json: what `merit gate` writes and what a report from elsewhere must be to be read.

`merit schema` publishes it as conf/.schema/report.json. It imports nothing heavy: who only posts a report reads it too.
"""

import json
import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from merit.config.schema.gate import NOT_WAIVABLE
from merit.errors import MeritError
from merit.gate.escape import ELLIPSIS, plain
from merit.gate.parts import (
    MOST_ITEMS,
    MOST_METRICS,
    MOST_TEXT,
    Candidate,
    Champion,
    Change,
    Check,
    Count,
    Curves,
    DataChange,
    Many,
    Metrics,
    Model,
    Name,
    Part,
    Parts,
    Slice,
    Text,
    Verdict,
    Waiver,
)

SCHEMA = "report.json"
"""The name of its JSON Schema, beside those of conf/."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"

MOST_BYTES = 8_000_000
"""What a report may weigh."""
FEWEST_ITEMS = 100
"""Members that a list keeps however long they are."""


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
    waivers: Many[Waiver] = Field(default_factory=list)
    change: Change | None = None
    """Null where there is nothing to compare with."""
    data: DataChange | None = None
    parts: Parts | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None
    checks: Many[Check]
    metrics: Metrics | None = None
    better: Annotated[dict[Name, Literal["higher", "lower"]], Field(max_length=MOST_METRICS, default_factory=dict)]
    slices: Many[Slice] = Field(default_factory=list)
    curves: Curves | None = None
    left_out: Annotated[dict[Name, Count], Field(max_length=100, default_factory=dict)]
    """Members of lists that were too long, by the list's place."""

    @model_validator(mode="after")
    def _follows_from_its_checks(self) -> "Report":
        if self.verdict == "pass" and (not self.checks or any(check.is_open for check in self.checks)):
            raise ValueError("the verdict is pass, but not every check passed")
        if excused := [check.name for check in self.checks if check.waived and check.name in NOT_WAIVABLE]:
            raise ValueError(f"{excused[0]} is waived, which can't be")
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
    most = MOST_ITEMS
    while True:
        left_out: dict[str, int] = {}
        fitted: dict[str, Any] = _fitted(report, "", most, left_out)
        # As it will be written; one that nobody would read again is of no use.
        written = json.dumps(fitted, indent=2, ensure_ascii=False).encode("utf-8", "replace")
        if most <= FEWEST_ITEMS or len(written) < MOST_BYTES:
            return {**fitted, "left_out": left_out} if left_out else fitted
        most //= 2


def _fitted(value: Any, place: str, most: int, left_out: dict[str, int]) -> Any:
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        below = f"{place}." if place else ""
        return {_cut(name): _fitted(inner, _cut(f"{below}{name}"), most, left_out) for name, inner in value.items()}
    if isinstance(value, list):
        room = MOST_ITEMS if place == "checks" else most  # the verdict has to follow from them
        if len(value) > room:
            left_out[place] = len(value) - room
        return [_fitted(inner, place, most, left_out) for inner in value[:room]]
    return value


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + ELLIPSIS


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
