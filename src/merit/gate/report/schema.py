"""The form of reports/gate.json: what `merit gate` writes and what a report from elsewhere must be to be read.

`merit schema` publishes it as conf/.schema/report.json. It imports nothing heavy: who only posts a report reads it too.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from merit.config.schema.gate import NOT_WAIVABLE
from merit.errors import MeritError
from merit.gate.report.escape import plain
from merit.gate.report.sections import (
    MOST_METRICS,
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
