"""Defines the schema of reports/gate.json, and reads and validates reports.

`merit schema` publishes the schema as conf/.schema/report.json. The module imports nothing heavy, because the workflow
that only posts a report uses it too.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from merit.config.schema.gate import NOT_WAIVABLE
from merit.errors import MeritError
from merit.gate.report.data_sections import DataChange
from merit.gate.report.escape import sanitize_line
from merit.gate.report.sections import (
    MAX_METRICS,
    Blocks,
    BoundedList,
    Candidate,
    Champion,
    Check,
    ConfigChange,
    Count,
    Curves,
    Metrics,
    ModelName,
    Name,
    ReportSection,
    Slice,
    Splits,
    TestRows,
    Text,
    UnnamedSlices,
    Verdict,
    Waiver,
)

SCHEMA_FILE = "report.json"
"""File name of the JSON Schema in conf/.schema."""
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"

REPORT_FORM: Literal[2] = 2
"""The format version of reports that this merit writes."""
MAX_REPORT_BYTES = 8_000_000
"""Maximum size of a report file."""


class Report(ReportSection):
    """The gate's report. A section that is null was not judged."""

    form: Literal[1, 2]
    """The format version: since 2 a check may be `not applicable`."""
    verdict: Verdict
    scope: Literal["all", "data", "model"] = "all"
    """The judged scope; a model may merge only if all of it was judged."""
    inputs: Text | None = None
    """The hash of everything that the verdict depends on."""
    model: ModelName
    task: Literal["binary", "multiclass", "regression"]
    candidate: Candidate | None = None
    champion: Champion | None = None
    waivers: BoundedList[Waiver] = Field(default_factory=list)
    change: ConfigChange | None = None
    """Null if there is no commit to compare with."""
    data: DataChange | None = None
    parts: Splits | None = None
    test_rows: TestRows | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] | None = None
    blocks: Blocks | None = None
    checks: BoundedList[Check]
    metrics: Metrics | None = None
    better: Annotated[dict[Name, Literal["higher", "lower"]], Field(max_length=MAX_METRICS, default_factory=dict)]
    slices: BoundedList[Slice] = Field(default_factory=list)
    unnamed_slices: UnnamedSlices | None = None
    """Null if gate.unnamed_slices is null."""
    curves: Curves | None = None
    left_out: Annotated[dict[Name, Count], Field(max_length=100, default_factory=dict)]
    """The number of items cut from lists that were too long, by the path of the list."""

    @model_validator(mode="after")
    def _check_verdict(self) -> "Report":
        if not_waivable := [check.name for check in self.checks if check.waived and check.name in NOT_WAIVABLE]:
            raise ValueError(f"{not_waivable[0]} is waived, but can't be waived")
        if self.verdict == "pass" and any(check.is_blocking for check in self.checks):
            raise ValueError("the verdict is pass, but not every check passed")
        if self.verdict == "pass" and not any(check.verdict == "pass" for check in self.checks):
            raise ValueError("the verdict is pass, but no check passed")
        return self


def validate_report(report: dict[str, Any]) -> Report:
    """Return a report validated against the schema, with defaults for missing keys.

    Raises:
        MeritError: the report does not match the schema.
    """
    try:
        return Report.model_validate(report)
    except ValidationError as error:
        raise _describe_error(error) from error


def parse_report(text: str) -> dict[str, Any]:
    """Parse and validate the JSON of a report from an untrusted source.

    Raises:
        MeritError: the text is too long, is not JSON, or does not match the schema; the message names the first error.
    """
    if len(text) > MAX_REPORT_BYTES or len(text.encode("utf-8", "replace")) > MAX_REPORT_BYTES:
        raise MeritError(f"the gate's report holds {len(text):,} characters; allowed: {MAX_REPORT_BYTES:,} bytes")
    try:
        return Report.model_validate_json(text).model_dump(mode="json", by_alias=True)
    except ValidationError as error:
        raise _describe_error(error) from error


def render_schema() -> str:
    """Return the JSON Schema of the report as deterministic text."""
    document = {"$schema": SCHEMA_DIALECT, **Report.model_json_schema(by_alias=True)}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _describe_error(error: ValidationError) -> MeritError:
    """Return a one-line error for the first problem; untrusted values are shortened and made printable."""
    first, *more = error.errors(include_url=False, include_context=False)
    location = sanitize_line(".".join(map(str, first["loc"])), 100) or "as a whole"
    value = "" if isinstance(first["input"], dict | list) else f", found {sanitize_line(repr(first['input']), 80)}"
    if first["type"] == "json_invalid":
        value = ""
    more_text = f"; {len(more)} more faults" if more else ""
    return MeritError(
        f"the gate's report: {location}: {sanitize_line(first['msg'], 200)}{value}{more_text}; 'merit gate' writes it"
    )
