"""A run that has ended, its pull request, and the one comment that is told there. For workflows that may write.

Which commit and which pull request it is comes from the event, which GitHub writes, and never from what the run left.
"""

import os
import stat
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from merit.errors import MeritError
from merit.github import MOST_ITEMS, Api, ApiError, checked_repository

BOT = "github-actions[bot]"
"""Who writes with a workflow's own token."""
TRIES = 3
BASE_CHANGES = {"base_ref_changed", "automatic_base_change_succeeded"}
"""What GitHub calls the events of a pull request that is asked into another branch than before."""
SETTLING = timedelta(minutes=10)
"""How long after a pull request was closed, or its base changed, a run of what it was before may still begin."""
TOO_MANY = "more pull requests or events than can be looked through; open another from a new branch"
NO_VERDICT = {"cancelled", "skipped", "stale", "neutral", "action_required"}
"""Conclusions of a run that was not to say anything: a newer one took its place, or nobody let it begin."""


@dataclass(frozen=True)
class Run:
    """The run that has ended, as the event tells of it."""

    id: int
    url: str
    conclusion: str
    created_at: datetime
    sha: str
    branch: str
    repository: str
    """Where the branch is: a fork, or the repository itself."""
    is_fork: bool
    default_branch: str

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Run":
        """Return the run of an event.

        Raises:
            MeritError: the event is of another kind.
        """
        try:
            run, base = told["workflow_run"], told["repository"]
            if run["event"] != "pull_request":
                raise MeritError(f"report: the run is of {str(run['event'])[:40]!r}; only those of pull_request report")
            head = checked_repository(run["head_repository"]["full_name"])
            return cls(
                id=int(run["id"]),
                url=str(run["html_url"]),
                conclusion=str(run["conclusion"]),
                created_at=datetime.fromisoformat(run["created_at"]),
                sha=str(run["head_sha"]),
                branch=str(run["head_branch"]),
                repository=head,
                is_fork=head != base["full_name"],
                default_branch=str(base["default_branch"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MeritError(
                f"report: the event is no workflow_run with {error}; run it on: workflow_run (docs/gitops.md)"
            ) from error


@dataclass(frozen=True)
class Judged:
    """The pull request that a run judged.

    Attributes:
        number: its number; it is open and asks into the default branch.
        doubt: why the run may have judged the merge into another branch; empty where it can't have.
    """

    number: int
    doubt: str


def judged(api: Api, run: Run) -> Judged | str:
    """Return the pull request that a run judged, or a line that says why there is nothing to tell.

    A status belongs to a commit, and GitHub says of a run which commit it is of, but not into which branch that was
    merged. So a run counts only if no pull request from its branch can have had it judged for another branch.
    """
    if run.conclusion in NO_VERDICT:
        return f"nothing to tell: the run was {run.conclusion}"
    owner = run.repository.partition("/")[0]
    pulls = list(api.pages("pulls", head=f"{owner}:{run.branch}", state="all"))
    same = [pull for pull in pulls if _is_of(pull, run)]
    still_open = [pull for pull in same if pull["state"] == "open"]
    asked = [pull for pull in still_open if pull["base"]["ref"] == run.default_branch]
    if asked:
        return Judged(int(asked[0]["number"]), TOO_MANY if _is_cut(pulls) else _doubt(api, run, same))
    if still_open:
        number, base = still_open[0]["number"], still_open[0]["base"]["ref"]
        return f"nothing to tell: #{number} asks into {base!r}, and only {run.default_branch} has a gate"
    return f"nothing to tell: no open pull request is at {run.sha[:7]} any more; its newer run reports"


def _is_of(pull: dict[str, Any], run: Run) -> bool:
    return pull["head"]["sha"] == run.sha and (pull["head"]["repo"] or {}).get("full_name") == run.repository


def _is_cut(items: list[dict[str, Any]]) -> bool:
    return len(items) >= MOST_ITEMS


def _doubt(api: Api, run: Run, pulls: list[dict[str, Any]]) -> str:
    """Return why a run may have judged the merge into another branch than the default one."""
    for pull in pulls:
        number, base = pull["number"], pull["base"]["ref"]
        if pull["state"] != "open" and not _is_recent(pull["closed_at"], run):
            continue
        if base != run.default_branch:
            return f"#{number} asked for this commit in {base!r}; close it and push a new commit"
        events = list(api.pages(f"issues/{number}/events"))
        changes = [event for event in events if event["event"] in BASE_CHANGES]
        if any(_is_recent(change["created_at"], run) for change in changes):
            return f"#{number} asked for another branch; push a new commit in {SETTLING.seconds // 60} minutes"
        if _is_cut(events):
            return TOO_MANY
    return ""


def _is_recent(when: str, run: Run) -> bool:
    """Say whether a run may have begun before something happened, or too soon after it to know."""
    return run.created_at - datetime.fromisoformat(when) < SETTLING


def stranger_text(file: Path, most: int) -> str:
    """Return the text of a file that a stranger made, of at most so many bytes.

    Raises:
        MeritError: it is not there, no plain file, too large, or not UTF-8.
    """
    try:
        # Neither a link out of the folder nor a pipe that never ends is followed.
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise MeritError("it is no plain file")
            content = opened.read(most + 1)
    except OSError as error:
        raise MeritError("there is none" if isinstance(error, FileNotFoundError) else "it can't be read") from error
    if len(content) > most:
        raise MeritError(f"it is larger than {most:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise MeritError("it is not UTF-8") from error


def comment(api: Api, number: int, mark: str, text: str) -> str:
    """Make the one comment that begins with a mark, or change it; say which.

    Raises:
        ApiError: GitHub refused.
    """
    body, author = {"body": f"{mark}\n{text}"}, _login(api)
    for tried in range(1, TRIES + 1):
        try:
            # Asked again each time: a try that failed may have made it.
            former = _former(api, number, mark, author)
            if former is None:
                api.call("POST", f"issues/{number}/comments", body, tries=1)
            else:
                api.call("PATCH", f"issues/comments/{former}", body)
        except ApiError as error:
            if tried == TRIES or 0 < error.status < 500:
                raise
        else:
            return "made" if former is None else "updated"
    raise AssertionError("the last try returned or raised")


def _former(api: Api, number: int, mark: str, author: str) -> int | None:
    """Return the comment that an earlier run made: by its mark and its author, for anyone can write the mark."""
    for each in api.pages(f"issues/{number}/comments"):
        user = each.get("user") or {}
        if user.get("login") == author and str(each.get("body", "")).startswith(mark):
            return int(each["id"])
    return None


def _login(api: Api) -> str:
    """Return who writes with this token; a workflow's own token may not ask."""
    try:
        return str(api.call("GET", "/user")["login"])
    except ApiError as error:
        if error.status in {401, 403, 404}:
            return BOT
        raise
