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
from merit.github import GitHubApi, read_event
from merit.github.pull_requests import WorkflowRun, find_pull_request, read_untrusted_text, upsert_comment

COMMENT_MARKER = "<!-- merit plan -->"
"""The first line of the comment, by which later runs find it."""
MAX_FILE_BYTES = 200_000
MAX_COMMENT_CHARS = 50_000
PLANS_FILE = artifacts.GATE_REPORT.with_name("plan.json")
MARKDOWN_FILE = PLANS_FILE.with_suffix(".md")


class EnvironmentPlan(BaseModel):
    """The plan of one environment, or the error that prevented it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    environment: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    differs: bool
    lines: Annotated[list[str], Field(max_length=500)]
    error: str | None = None


PLANS_ADAPTER = TypeAdapter(Annotated[list[EnvironmentPlan], Field(max_length=50)])


def write_plans(names: list[str], lock: Lock) -> list[EnvironmentPlan]:
    """Plan each environment; return the plans and write them as JSON and Markdown."""
    environment_plans = [_plan_environment(name, lock) for name in names]
    artifacts.write_text(PLANS_FILE, json.dumps([each.model_dump() for each in environment_plans], indent=2) + "\n")
    artifacts.write_text(MARKDOWN_FILE, render_markdown(environment_plans))
    return environment_plans


def _plan_environment(name: str, lock: Lock) -> EnvironmentPlan:
    from merit.deploy import plan as planning

    try:
        plan = planning.plan(name, lock)
    except MeritError as error:
        return EnvironmentPlan(environment=name, differs=True, lines=[], error=str(error))
    return EnvironmentPlan(environment=name, differs=plan.differs, lines=planning.render_lines(plan))


def render_markdown(environment_plans: list[EnvironmentPlan]) -> str:
    """Render plans as the Markdown of a comment; their text is escaped, so that links, HTML and mentions stay inert."""
    if not environment_plans:
        return "## merit plan\n\nNo environment changes.\n"
    sections = ["## merit plan", *(_render_plan(each) for each in environment_plans)]
    text = "\n\n".join(sections) + "\n"
    return (
        text
        if len(text) <= MAX_COMMENT_CHARS
        else f"{text[:MAX_COMMENT_CHARS].rpartition('<pre>')[0]}\n\nThe rest is in the log.\n"
    )


def _render_plan(environment_plan: EnvironmentPlan) -> str:
    if environment_plan.error is not None:
        return f"### ⛔ {environment_plan.environment}: refused\n\n{_render_block(environment_plan.error)}"
    icon = "🔶" if environment_plan.differs else "✅"
    return f"### {icon} {environment_plan.environment}\n\n{_render_block(chr(10).join(environment_plan.lines))}"


def _render_block(text: str) -> str:
    # An empty line would end the HTML block, and Markdown would be parsed after it.
    lines = [line for line in text.splitlines() if line.strip()]
    escaped = html.escape("\n".join(lines)).translate({ord("@"): "&#64;"})
    return f"<pre>\n{escaped}\n</pre>"


def report_plans(file: Path) -> str:
    """Comment the plans of a completed run on its pull request; return a line about it.

    Args:
        file: the run's JSON of plans; untrusted, because the pull request's code wrote it.

    Raises:
        MeritError: GitHub refused the request, or the workflow's event is not workflow_run.
    """
    api, run = GitHubApi.from_workflow(), WorkflowRun.from_event(read_event())
    pull_request = find_pull_request(api, run)
    if isinstance(pull_request, str):
        return pull_request
    text = _render_missing(run, pull_request.doubt) if pull_request.doubt else _build_comment(run, file)
    return f"#{pull_request.number}: comment {upsert_comment(api, pull_request.number, COMMENT_MARKER, text)}"


def _build_comment(run: WorkflowRun, file: Path) -> str:
    try:
        return render_markdown(_read_plans(file))
    except MeritError as error:
        return _render_missing(run, str(error))


def _render_missing(run: WorkflowRun, reason: str) -> str:
    escaped_reason = html.escape(reason)[:200]
    return (
        f"## ⛔ merit plan: none\n\nThe run ended with {run.conclusion} ({escaped_reason}); see [its log]({run.url}).\n"
    )


def _read_plans(file: Path) -> list[EnvironmentPlan]:
    try:
        values: Any = json.loads(read_untrusted_text(file, MAX_FILE_BYTES))
        return PLANS_ADAPTER.validate_python(values)
    except (ValueError, RecursionError, ValidationError) as error:
        raise MeritError(f"its plan is not of the form that merit writes: {type(error).__name__}") from error
