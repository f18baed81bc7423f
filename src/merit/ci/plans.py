"""Plans the environments of a pull request, and comments the plans on it.

Two workflow runs separate the privileges: the pull request's own run computes the plans without write access; a second
run, with write access, validates that output and posts it as a comment.
"""

import html
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.github import Api, event
from merit.github.pull_requests import Run, comment, judged, stranger_text

MARK = "<!-- merit plan -->"
"""The first line of the comment, by which later runs find it."""
MOST_BYTES = 200_000
MOST_TEXT = 50_000
FILE = artifacts.GATE_REPORT.with_name("plan.json")
MARKDOWN = FILE.with_suffix(".md")


class Planned(BaseModel):
    """The plan of one environment, or the error that prevented it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    environment: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    differs: bool
    lines: Annotated[list[str], Field(max_length=500)]
    error: str | None = None


ALL = TypeAdapter(Annotated[list[Planned], Field(max_length=50)])


def plans(names: list[str], lock: Lock) -> list[Planned]:
    """Plan each environment; return the plans and write them as JSON and Markdown."""
    found = [_planned(name, lock) for name in names]
    artifacts.write_text(FILE, json.dumps([each.model_dump() for each in found], indent=2) + "\n")
    artifacts.write_text(MARKDOWN, markdown(found))
    return found


def _planned(name: str, lock: Lock) -> Planned:
    from merit.deploy import plan as planning

    try:
        made = planning.plan(name, lock)
    except MeritError as error:
        return Planned(environment=name, differs=True, lines=[], error=str(error))
    return Planned(environment=name, differs=made.differs, lines=planning.lines(made))


def markdown(found: list[Planned]) -> str:
    """Render plans as the Markdown of a comment; their text is escaped, so that links, HTML and mentions stay inert."""
    if not found:
        return "## merit plan\n\nNo environment changes.\n"
    parts = ["## merit plan", *(_part(each) for each in found)]
    text = "\n\n".join(parts) + "\n"
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT].rpartition('<pre>')[0]}\n\nThe rest is in the log.\n"


def _part(each: Planned) -> str:
    if each.error is not None:
        return f"### ⛔ {each.environment}: refused\n\n{_block(each.error)}"
    mark = "🔶" if each.differs else "✅"
    return f"### {mark} {each.environment}\n\n{_block(chr(10).join(each.lines))}"


def _block(text: str) -> str:
    # An empty line would end the HTML block, and Markdown would be parsed after it.
    lines = [line for line in text.splitlines() if line.strip()]
    plain = html.escape("\n".join(lines)).translate({ord("@"): "&#64;"})
    return f"<pre>\n{plain}\n</pre>"


def tell(file: Path) -> str:
    """Comment the plans of a completed run on its pull request; return a line about it.

    Args:
        file: the run's JSON of plans; untrusted, because the pull request's code wrote it.

    Raises:
        MeritError: GitHub refused the request, or the workflow's event is not workflow_run.
    """
    api, run = Api.of_workflow(), Run.of(event())
    pull = judged(api, run)
    if isinstance(pull, str):
        return pull
    text = _no_plan(run, pull.doubt) if pull.doubt else _text(run, file)
    return f"#{pull.number}: comment {comment(api, pull.number, MARK, text)}"


def _text(run: Run, file: Path) -> str:
    try:
        return markdown(_read(file))
    except MeritError as error:
        return _no_plan(run, str(error))


def _no_plan(run: Run, reason: str) -> str:
    why = html.escape(reason)[:200]
    return f"## ⛔ merit plan: none\n\nThe run ended with {run.conclusion} ({why}); see [its log]({run.url}).\n"


def _read(file: Path) -> list[Planned]:
    try:
        values: Any = json.loads(stranger_text(file, MOST_BYTES))
        return ALL.validate_python(values)
    except (ValueError, RecursionError, ValidationError) as error:
        raise MeritError(f"its plan is not of the form that merit writes: {type(error).__name__}") from error
