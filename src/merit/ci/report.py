"""Posts the verdict of a pull request's run as a comment and a commit status, from an untrusted report.

It runs in a `workflow_run` workflow with write permissions, after a run without them whose artifacts the pull request
controls. Therefore the commit, the pull request and the run's conclusion come from GitHub's event and API. The artifact
supplies only text and numbers, and can never turn a failed run into a success.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit.errors import MeritError
from merit.gate.report import render, schema
from merit.gate.report.sections import BLOCKING_VERDICTS
from merit.gate.report.wording import summarize_verdict
from merit.github import GitHubApi, GitHubError, read_event
from merit.github.pull_requests import WorkflowRun, find_pull_request, read_untrusted_text, upsert_comment

COMMENT_MARK = "<!-- merit report -->"
"""The first line of the comment, by which the next run finds and updates it."""
STATUS_CONTEXT, ADVISORY_CONTEXT = "merit/gate", "merit/advisory"
"""Names of the commit status. Branch protection requires the first; runs of forks only ever set the second."""
MAX_COMMENT_CHARS = 65_536
MAX_DESCRIPTION_CHARS = 140


@dataclass(frozen=True)
class StatusPayload:
    """The content to post for a run.

    Attributes:
        state: the commit status: success, failure or error.
        description: the one-line description of the status.
        text: the Markdown of the comment.
    """

    state: str
    description: str
    text: str


def post_report(file: Path) -> str:
    """Comment on the pull request, set the commit status, and return a one-line summary.

    Args:
        file: the path of the run's report, which may be missing.

    Raises:
        MeritError: GitHub refused the request; then no success is set.
    """
    api, run = GitHubApi.from_workflow(), WorkflowRun.from_event(read_event())
    pull_request = find_pull_request(api, run)
    if isinstance(pull_request, str):
        return pull_request
    payload = (
        _build_broken_payload(api, run, pull_request.doubt) if pull_request.doubt else _build_payload(api, run, file)
    )
    context = ADVISORY_CONTEXT if run.is_fork else STATUS_CONTEXT
    api.send_request(
        "POST",
        f"statuses/{run.sha}",
        {
            "state": payload.state,
            "context": context,
            "description": _shorten_text(payload.description, MAX_DESCRIPTION_CHARS),
            "target_url": run.url,
        },
    )
    comment_result = upsert_comment(api, pull_request.number, COMMENT_MARK, f"{_render_advisory(run)}{payload.text}")
    return f"#{pull_request.number}: status {context} {payload.state} ({payload.description}), comment {comment_result}"


def _build_payload(api: GitHubApi, run: WorkflowRun, file: Path) -> StatusPayload:
    """Build the content to post: a success only if the run succeeded and its report says pass."""
    try:
        report = schema.parse_report(read_untrusted_text(file, schema.MAX_REPORT_BYTES))
        text = _check_length(render.render_markdown(report))
    except MeritError as error:
        return _build_broken_payload(api, run, str(error) if run.conclusion == "success" else "")
    except Exception as error:  # noqa: BLE001  # a forged report that crashes the parser must not get a success
        return _build_broken_payload(api, run, f"unreadable report: {type(error).__name__}")
    verdict = report["verdict"]
    if verdict == "pass" and (run.conclusion != "success" or report["scope"] != "all"):
        cause = "" if report["scope"] == "all" else f"only the {report['scope']} was judged"
        return _build_failed_run_payload(_build_broken_payload(api, run, cause), text)
    return StatusPayload("success" if verdict == "pass" else "failure", f"{verdict}: {_explain_verdict(report)}", text)


def _check_length(text: str) -> str:
    max_chars = (
        MAX_COMMENT_CHARS - 2_000
    )  # room for the mark, the advisory note and the text around a failed run's report
    if len(text) > max_chars:
        raise MeritError(f"its text has {len(text):,} characters, more than a comment holds")
    return text


def _explain_verdict(report: dict[str, Any]) -> str:
    blocking = [each for each in report["checks"] if each["verdict"] in BLOCKING_VERDICTS and not each["waived"]]
    names = [str(each["name"]) for each in blocking]
    return ", ".join(names) or summarize_verdict(schema.validate_report(report))


def _build_broken_payload(api: GitHubApi, run: WorkflowRun, cause: str) -> StatusPayload:
    """Build the content for a run without a verdict: where it stopped, and why its report was rejected."""
    step = _find_failed_step(api, run)
    ending = f"the run ended with {run.conclusion}" + (f" at the step {_format_code(step)}" if step else "")
    reason = f"; its report was not taken: {_format_code(cause)}" if cause else ""
    text = (
        f"## ⛔ merit: broken, no verdict\n\n{ending[0].upper()}{ending[1:]}{reason}. "
        f"What was found, and what to do, stands at the end of [its log]({run.url}). "
        "Without a verdict this may not merge.\n"
    )
    return StatusPayload("error", f"no verdict: {cause or (f'stopped at: {step}' if step else run.conclusion)}", text)


def _build_failed_run_payload(payload: StatusPayload, text: str) -> StatusPayload:
    """Build the content for a run that failed after a passing gate: the report is shown but does not count."""
    summary = "The gate's own report, which does not count while the run fails"
    return StatusPayload(
        payload.state,
        payload.description,
        f"{payload.text}\n<details><summary>{summary}</summary>\n\n{text}\n</details>\n",
    )


def _render_advisory(run: WorkflowRun) -> str:
    if not run.is_fork:
        return ""
    return (
        "> **Advisory.** This comes from a fork: it was run without secrets, on the public sample "
        f"(`experiment=sample`), and its status is `{ADVISORY_CONTEXT}`. `{STATUS_CONTEXT}` is set once someone with "
        "write access "
        "pushes the same commits to a branch of this repository.\n\n"
    )


def _find_failed_step(api: GitHubApi, run: WorkflowRun) -> str:
    """Return the name of the failed step according to GitHub; empty if unknown."""
    try:
        for job in api.iter_items(f"actions/runs/{run.id}/jobs"):
            for step in job.get("steps") or []:
                if step.get("conclusion") in {"failure", "timed_out"}:
                    return str(step["name"])
    except GitHubError:  # only the name is lost; the run's conclusion is known
        pass
    return ""


def _format_code(text: str) -> str:
    """Return untrusted text as a code span, in which Markdown, HTML and mentions have no effect."""
    return f"`{_shorten_text(text.replace('`', ' '), 200)}`"


def _shorten_text(text: str, max_chars: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"
