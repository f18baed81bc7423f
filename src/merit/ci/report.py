"""Posts the verdict of a pull request's run as a comment and a commit status, from an untrusted report.

It runs in a `workflow_run` workflow with write permissions, after a run without them whose artifacts the pull request
controls. Therefore the commit, the pull request and the run's conclusion come from GitHub's event and API. The artifact
supplies only text and numbers, and can never turn a failed run into a success.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit.errors import MeritError
from merit.gate.report import render as reports
from merit.gate.report import schema
from merit.gate.report.labels import summary
from merit.github import Api, ApiError, event
from merit.github.pull_requests import Run, comment, judged, stranger_text

MARK = "<!-- merit report -->"
"""The first line of the comment, by which the next run finds and updates it."""
CONTEXT, ADVISORY = "merit/gate", "merit/advisory"
"""Names of the commit status. Branch protection requires the first; runs of forks only ever set the second."""
MOST_COMMENT = 65_536
MOST_DESCRIPTION = 140


@dataclass(frozen=True)
class Told:
    """The content to post for a run.

    Attributes:
        state: the commit status: success, failure or error.
        description: the one-line description of the status.
        text: the Markdown of the comment.
    """

    state: str
    description: str
    text: str


def post(file: Path) -> str:
    """Comment on the pull request, set the commit status, and return a one-line summary.

    Args:
        file: the path of the run's report, which may be missing.

    Raises:
        MeritError: GitHub refused the request; then no success is set.
    """
    api, run = Api.of_workflow(), Run.of(event())
    pull = judged(api, run)
    if isinstance(pull, str):
        return pull
    told = _broken(api, run, pull.doubt) if pull.doubt else _told(api, run, file)
    context = ADVISORY if run.is_fork else CONTEXT
    api.call(
        "POST",
        f"statuses/{run.sha}",
        {
            "state": told.state,
            "context": context,
            "description": _short(told.description, MOST_DESCRIPTION),
            "target_url": run.url,
        },
    )
    done = comment(api, pull.number, MARK, f"{_advisory(run)}{told.text}")
    return f"#{pull.number}: status {context} {told.state} ({told.description}), comment {done}"


def _told(api: Api, run: Run, file: Path) -> Told:
    """Build the content to post: a success only if the run succeeded and its report says pass."""
    try:
        report = schema.read(stranger_text(file, schema.MOST_BYTES))
        text = _fitting(reports.markdown(report))
    except MeritError as error:
        return _broken(api, run, str(error) if run.conclusion == "success" else "")
    except Exception as error:  # noqa: BLE001  # a forged report that crashes the parser must not get a success
        return _broken(api, run, f"unreadable report: {type(error).__name__}")
    verdict = report["verdict"]
    if verdict == "pass" and (run.conclusion != "success" or report["scope"] != "all"):
        why = "" if report["scope"] == "all" else f"only the {report['scope']} was judged"
        return _after(_broken(api, run, why), text)
    return Told("success" if verdict == "pass" else "failure", f"{verdict}: {_reason(report)}", text)


def _fitting(text: str) -> str:
    most = MOST_COMMENT - 2_000  # room for the mark, the advisory note and the text around a failed run's report
    if len(text) > most:
        raise MeritError(f"its text has {len(text):,} characters, more than a comment holds")
    return text


def _reason(report: dict[str, Any]) -> str:
    names = [str(check["name"]) for check in report["checks"] if check["verdict"] != "pass" and not check["waived"]]
    return ", ".join(names) or summary(schema.of(report))


def _broken(api: Api, run: Run, why: str) -> Told:
    """Build the content for a run without a verdict: where it stopped, and why its report was rejected."""
    step = _failed_step(api, run)
    stopped = f"the run ended with {run.conclusion}" + (f" at the step {_code(step)}" if step else "")
    reason = f"; its report was not taken: {_code(why)}" if why else ""
    text = (
        f"## ⛔ merit: broken, no verdict\n\n{stopped[0].upper()}{stopped[1:]}{reason}. "
        f"What was found, and what to do, stands at the end of [its log]({run.url}). "
        "Without a verdict this may not merge.\n"
    )
    return Told("error", f"no verdict: {why or (f'stopped at: {step}' if step else run.conclusion)}", text)


def _after(broken: Told, text: str) -> Told:
    """Build the content for a run that failed after a passing gate: the report is shown but does not count."""
    summary = "The gate's own report, which does not count while the run fails"
    return Told(
        broken.state,
        broken.description,
        f"{broken.text}\n<details><summary>{summary}</summary>\n\n{text}\n</details>\n",
    )


def _advisory(run: Run) -> str:
    if not run.is_fork:
        return ""
    return (
        "> **Advisory.** This comes from a fork: it was run without secrets, on the public sample "
        f"(`experiment=sample`), and its status is `{ADVISORY}`. `{CONTEXT}` is set once someone with write access "
        "pushes the same commits to a branch of this repository.\n\n"
    )


def _failed_step(api: Api, run: Run) -> str:
    """Return the name of the failed step according to GitHub; empty if unknown."""
    try:
        for job in api.pages(f"actions/runs/{run.id}/jobs"):
            for step in job.get("steps") or []:
                if step.get("conclusion") in {"failure", "timed_out"}:
                    return str(step["name"])
    except ApiError:  # only the name is lost; the run's conclusion is known
        pass
    return ""


def _code(text: str) -> str:
    """Return untrusted text as a code span, in which Markdown, HTML and mentions have no effect."""
    return f"`{_short(text.replace('`', ' '), 200)}`"


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
