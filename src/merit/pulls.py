"""A run that has ended, its pull request, and the one comment that is told there. For workflows that may write.

Which commit and which pull request it is comes from the event, which GitHub writes, and never from what the run left.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from merit.errors import MeritError
from merit.github import Api, ApiError, checked_repository

BOT = "github-actions[bot]"
"""Who writes with a workflow's own token."""
TRIES = 3
NO_VERDICT = {"cancelled", "skipped", "stale", "neutral", "action_required"}
"""Conclusions of a run that was not to say anything: a newer one took its place, or nobody let it begin."""


@dataclass(frozen=True)
class Run:
    """The run that has ended, as the event tells of it."""

    id: int
    url: str
    conclusion: str
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


def pull_request(api: Api, run: Run) -> int | None:
    """Return the number of the open pull request whose head is what was run; None if its branch has moved on."""
    owner = run.repository.partition("/")[0]
    asked = urlencode({"head": f"{owner}:{run.branch}", "state": "open", "per_page": "100"})
    found = [
        pull
        for pull in api.call("GET", f"pulls?{asked}")
        if pull["head"]["sha"] == run.sha and (pull["head"]["repo"] or {}).get("full_name") == run.repository
    ]
    # A branch may be asked into several; what is judged is the difference from main.
    found.sort(key=lambda pull: pull["base"]["ref"] != run.default_branch)
    return int(found[0]["number"]) if found else None


def to_tell(api: Api, run: Run) -> int | str:
    """Return the number of the pull request that is to be told of a run, or a line that says why none is."""
    if run.conclusion in NO_VERDICT:
        return f"nothing to tell: the run was {run.conclusion}"
    number = pull_request(api, run)
    if number is None:
        return f"nothing to tell: no open pull request is at {run.sha[:7]} any more; its newer run reports"
    return number


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
