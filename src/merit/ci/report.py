"""report: the verdict of a pull request's run as one comment and one commit status, from JSON that nobody vouches for.

It runs in a `workflow_run` workflow, which may write, after a run that may not and whose every output its pull request
decides. So what is judged, where and whose it is comes from the event, which GitHub writes; from the artifact come
words and numbers alone, and no artifact can turn a run that failed into a success.
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
"""The first line of the comment, by which the next run finds it."""
CONTEXT, ADVISORY = "merit/gate", "merit/advisory"
"""A fork's run is judged under a name of its own: whoever may merge requires the first, and no fork can reach it."""
MOST_COMMENT = 65_536
MOST_DESCRIPTION = 140


@dataclass(frozen=True)
class Told:
    """What is said of a run: the status, its line, and the comment."""

    state: str
    description: str
    text: str


def post(file: Path) -> str:
    """Comment on the pull request and set the commit status; return what was done, in a line.

    Args:
        file: the report that the run left, if it left one.

    Raises:
        MeritError: GitHub refused; then there is no success either.
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
    """Return what is to be said: a success only if the run succeeded and its report says pass."""
    try:
        report = schema.read(stranger_text(file, schema.MOST_BYTES))
        text = _fitting(reports.markdown(report))
    except MeritError as error:
        return _broken(api, run, str(error) if run.conclusion == "success" else "")
    except Exception as error:  # noqa: BLE001  # whatever a forged report does to the reader, it gets no success
        return _broken(api, run, f"unreadable report: {type(error).__name__}")
    verdict = report["verdict"]
    if verdict == "pass" and (run.conclusion != "success" or report["scope"] != "all"):
        why = "" if report["scope"] == "all" else f"only the {report['scope']} was judged"
        return _after(_broken(api, run, why), text)
    return Told("success" if verdict == "pass" else "failure", f"{verdict}: {_reason(report)}", text)


def _fitting(text: str) -> str:
    most = MOST_COMMENT - 2_000  # what stands around it
    if len(text) > most:
        raise MeritError(f"its text has {len(text):,} characters, more than a comment holds")
    return text


def _reason(report: dict[str, Any]) -> str:
    names = [str(check["name"]) for check in report["checks"] if check["verdict"] != "pass" and not check["waived"]]
    return ", ".join(names) or summary(schema.of(report))


def _broken(api: Api, run: Run, why: str) -> Told:
    """Return what is said where there is no verdict: where the run stopped, and why the report was not taken."""
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
    """Return what is said where the run failed after the gate had passed: the report is shown, and doesn't count."""
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
    """Return the name of the step that failed, as GitHub tells it; empty if it doesn't."""
    try:
        for job in api.pages(f"actions/runs/{run.id}/jobs"):
            for step in job.get("steps") or []:
                if step.get("conclusion") in {"failure", "timed_out"}:
                    return str(step["name"])
    except ApiError:  # it is only the name; that the run failed is known
        pass
    return ""


def _code(text: str) -> str:
    """Return a stranger's text as a code span, where no Markdown, HTML or mention is alive."""
    return f"`{_short(text.replace('`', ' '), 200)}`"


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
