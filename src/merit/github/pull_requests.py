"""Finds the pull request of a completed workflow run, and maintains one comment on it, for workflows with write access.

The commit and the pull request come from the event, which GitHub writes, and never from the run's artifacts, which are
untrusted.
"""

import os
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from merit.errors import MeritError
from merit.github import MAX_ITEMS, GitHubApi, GitHubError, validate_repository

BOT_LOGIN = "github-actions[bot]"
"""The login of a workflow's own token."""
MAX_TRIES = 3
BASE_CHANGE_EVENTS = {"base_ref_changed", "automatic_base_change_succeeded"}
"""GitHub's names of the events for a change of a pull request's base branch."""
SETTLING_TIME = timedelta(minutes=10)
"""The time within which a run for a pull request's previous state may still start after it was closed or retargeted."""
TOO_MANY_ITEMS = "more pull requests or events than can be looked through; open another from a new branch"
NO_VERDICT_CONCLUSIONS = {"cancelled", "skipped", "stale", "neutral", "action_required"}
"""Conclusions of a run without a verdict: a newer run replaced it, or it was never approved to start."""


@dataclass(frozen=True)
class WorkflowRun:
    """A completed workflow run, as described by a workflow_run event."""

    id: int
    url: str
    conclusion: str
    created_at: datetime
    sha: str
    branch: str
    repository: str
    """The repository of the branch: a fork, or the repository itself."""
    is_fork: bool
    default_branch: str

    @classmethod
    def from_event(cls, payload: dict[str, Any]) -> "WorkflowRun":
        """Return the run of a workflow_run event.

        Raises:
            MeritError: the event is of another kind, or the run was not for a pull request.
        """
        try:
            run, base_repository = payload["workflow_run"], payload["repository"]
            if run["event"] != "pull_request":
                raise MeritError(f"report: the run is of {str(run['event'])[:40]!r}; only those of pull_request report")
            head_repository = validate_repository(run["head_repository"]["full_name"])
            return cls(
                id=int(run["id"]),
                url=str(run["html_url"]),
                conclusion=str(run["conclusion"]),
                created_at=datetime.fromisoformat(run["created_at"]),
                sha=str(run["head_sha"]),
                branch=str(run["head_branch"]),
                repository=head_repository,
                is_fork=head_repository != base_repository["full_name"],
                default_branch=str(base_repository["default_branch"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MeritError(
                f"report: the event is no workflow_run with {error}; run it on: workflow_run "
                "(docs/how-to/pull-requests.md)"
            ) from error


@dataclass(frozen=True)
class EvaluatedPullRequest:
    """The pull request that a run evaluated.

    Attributes:
        number: its number; it is open and targets the default branch.
        doubt: why the run may have evaluated the merge into another branch; empty if that is excluded.
    """

    number: int
    doubt: str


def find_pull_request(api: GitHubApi, run: WorkflowRun) -> EvaluatedPullRequest | str:
    """Return the pull request that a run evaluated, or a line that says why there is nothing to report.

    A commit status belongs to a commit, and a run's event names its commit but not the base branch of the merge that it
    evaluated. So a run counts only if no pull request from its branch can have caused it to run for another base.
    """
    if run.conclusion in NO_VERDICT_CONCLUSIONS:
        return f"nothing to tell: the run was {run.conclusion}"
    owner = run.repository.partition("/")[0]
    pulls = list(api.iter_items("pulls", head=f"{owner}:{run.branch}", state="all"))
    matching = [pull for pull in pulls if _is_from_run(pull, run)]
    still_open = [pull for pull in matching if pull["state"] == "open"]
    targeting = [pull for pull in still_open if pull["base"]["ref"] == run.default_branch]
    if targeting:
        return EvaluatedPullRequest(
            int(targeting[0]["number"]), TOO_MANY_ITEMS if _is_truncated(pulls) else _find_doubt(api, run, matching)
        )
    if still_open:
        number, base = still_open[0]["number"], still_open[0]["base"]["ref"]
        return f"nothing to tell: #{number} asks into {base!r}, and only {run.default_branch} has a gate"
    return f"nothing to tell: no open pull request is at {run.sha[:7]} any more; its newer run reports"


def _is_from_run(pull: dict[str, Any], run: WorkflowRun) -> bool:
    return pull["head"]["sha"] == run.sha and (pull["head"]["repo"] or {}).get("full_name") == run.repository


def _is_truncated(items: list[dict[str, Any]]) -> bool:
    return len(items) >= MAX_ITEMS


def _find_doubt(api: GitHubApi, run: WorkflowRun, pulls: list[dict[str, Any]]) -> str:
    """Return why a run may have evaluated a merge into a branch other than the default; empty if that is excluded."""
    for pull in pulls:
        number, base = pull["number"], pull["base"]["ref"]
        if pull["state"] != "open" and not _is_recent(pull["closed_at"], run):
            continue
        if base != run.default_branch:
            return f"#{number} asked for this commit in {base!r}; close it and push a new commit"
        events = list(api.iter_items(f"issues/{number}/events"))
        changes = [event for event in events if event["event"] in BASE_CHANGE_EVENTS]
        if any(_is_recent(change["created_at"], run) for change in changes):
            return f"#{number} asked for another branch; push a new commit in {SETTLING_TIME.seconds // 60} minutes"
        if _is_truncated(events):
            return TOO_MANY_ITEMS
    return ""


def _is_recent(timestamp: str, run: WorkflowRun) -> bool:
    """Return whether a run was created before a point in time, or too soon after it to be certainly unaffected."""
    return run.created_at - datetime.fromisoformat(timestamp) < SETTLING_TIME


def read_untrusted_text(file: Path, max_bytes: int) -> str:
    """Return the text of an untrusted file.

    Args:
        file: the file.
        max_bytes: the maximum size in bytes.

    Raises:
        MeritError: it is missing, not a plain file, too large, or not UTF-8.
    """
    try:
        # Don't follow a link out of the folder, and don't block on a named pipe.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MeritError("it is no plain file")
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise MeritError("there is none" if isinstance(error, FileNotFoundError) else "it can't be read") from error
    if len(content) > max_bytes:
        raise MeritError(f"it is larger than {max_bytes:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise MeritError("it is not UTF-8") from error


def upsert_comment(api: GitHubApi, number: int, marker: str, text: str) -> str:
    """Create or update the one comment that begins with a marker; return `made` or `updated`.

    Raises:
        ApiError: GitHub refused the request, or every try failed.
    """
    body, author = {"body": f"{marker}\n{text}"}, _get_login(api)
    for attempt in range(1, MAX_TRIES + 1):
        try:
            # Searched again on each try: a failed try may have created the comment.
            existing = _find_comment(api, number, marker, author)
            if existing is None:
                api.send_request("POST", f"issues/{number}/comments", body, tries=1)
            else:
                api.send_request("PATCH", f"issues/comments/{existing}", body)
        except GitHubError as error:
            if attempt == MAX_TRIES or 0 < error.status < 500:
                raise
        else:
            return "made" if existing is None else "updated"
    raise AssertionError("the last try returned or raised")


def _find_comment(api: GitHubApi, number: int, marker: str, author: str) -> int | None:
    """Return the id of an earlier run's comment; its author must match too, since anyone can write the marker."""
    for each in api.iter_items(f"issues/{number}/comments"):
        user = each.get("user") or {}
        if user.get("login") == author and str(each.get("body", "")).startswith(marker):
            return int(each["id"])
    return None


def _get_login(api: GitHubApi) -> str:
    """Return the login of the token; a workflow's own token may not read it, so that case is `BOT`."""
    try:
        return str(api.send_request("GET", "/user")["login"])
    except GitHubError as error:
        if error.status in {401, 403, 404}:
            return BOT_LOGIN
        raise
