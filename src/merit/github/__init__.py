"""What merit asks GitHub: its API over urllib, and the event that a workflow runs for. No other room speaks to it."""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from merit import artifacts
from merit.errors import MeritError

TIMEOUT = 20.0
TRIES = 4
LONGEST_WAIT = 60.0
PAGE, MOST_PAGES = 100, 10
MOST_ITEMS = PAGE * MOST_PAGES
"""The most items of a list that are asked for."""
MOST_BYTES = 20_000_000
"""No answer of the API that merit asks for comes near this."""
REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
PUBLIC_URL = "https://api.github.com"
ORIGIN = re.compile(
    r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[:/](?P<repository>[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(?:\.git)?/?"
)
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ApiError(MeritError):
    """GitHub said no, for good.

    Attributes:
        status: the HTTP status; 0 if there was no answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Api:
    """GitHub's API for one repository.

    Attributes:
        url: where the API is.
        repository: `owner/name`.
        token: what a workflow was given, or empty to ask as anybody; it is sent to `url` alone and never shown.
    """

    url: str
    repository: str
    token: str

    @classmethod
    def of_workflow(cls) -> "Api":
        """Return the API of the repository whose workflow this is.

        Raises:
            MeritError: this is no workflow, or it gave the step no token.
        """
        url, repository, token = (_set(name) for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN"))
        return cls(_checked_url(url), checked_repository(repository), token)

    @classmethod
    def of_clone(cls, origin: str) -> "Api | None":
        """Return the API of the repository that a clone came from, for GITHUB_TOKEN or GH_TOKEN if one is set.

        Args:
            origin: the address of the remote; None is returned for one that is not GitHub's.
        """
        match = ORIGIN.fullmatch(origin)
        if match is None:
            return None
        url = os.environ.get("GITHUB_API_URL") or PUBLIC_URL
        token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or ""
        return cls(_checked_url(url), match["repository"], token)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, tries: int = TRIES) -> Any:
        """Send a request; return the answer's JSON.

        Args:
            method: GET, POST, PATCH.
            path: what follows `/repos/owner/name/`, or the root if it begins with a slash.
            body: what is sent.
            tries: how often at most; 1 for what must not be made twice, for a fault may come after the deed.

        Raises:
            ApiError: it was refused, or every try met a fault or a limit.
        """
        place = path if path.startswith("/") else f"/repos/{self.repository}/{path}"
        request = urllib.request.Request(  # noqa: S310  # _checked_url() lets only https and loopback through
            self.url + place,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                **({"Authorization": f"Bearer {self.token}"} if self.token else {}),
                "Accept": "application/vnd.github+json",
                "Content-Type": "application/json",
                "User-Agent": "merit",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        told = f"GitHub: {method} {urlsplit(place).path}"
        for tried in range(1, tries + 1):
            try:
                with _opener().open(request, timeout=TIMEOUT) as answer:
                    return json.loads(answer.read(MOST_BYTES) or b"null")
            except urllib.error.HTTPError as error:
                failed = ApiError(f"{told}: {error.code} {_reason(error)}", error.code)
                wait = _wait(error, tried)
            except (OSError, ValueError) as error:
                failed = ApiError(f"{told}: no answer ({error})", 0)
                wait = float(2**tried)
            if wait is None or tried == tries:
                raise failed
            time.sleep(wait)
        raise AssertionError("the last try returned or raised")

    def pages(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Give the items of a list, page by page, up to `MOST_ITEMS`."""
        for page in range(1, MOST_PAGES + 1):
            asked = urlencode({**query, "per_page": str(PAGE), "page": str(page)})
            found = self.call("GET", f"{path}?{asked}")
            items = found if isinstance(found, list) else next(v for v in found.values() if isinstance(v, list))
            yield from items
            if len(items) < PAGE:
                return

    def may_write(self, login: str) -> bool:
        """Say whether a user may push to the repository."""
        found = self.call("GET", f"collaborators/{quote(login, safe='')}/permission")
        # `permission` maps the finer roles onto these: maintain to write, triage to read.
        return found.get("permission") in {"admin", "maintain", "write"}


def event() -> dict[str, Any]:
    """Return what happened, as GitHub itself tells the workflow.

    Raises:
        MeritError: this is no workflow.
    """
    return artifacts.read_json(Path(_set("GITHUB_EVENT_PATH")), "report")


def checked_repository(name: str) -> str:
    """Return `owner/name` if it is one, for it becomes part of a URL."""
    if not REPOSITORY.fullmatch(name):
        raise MeritError(f"GITHUB_REPOSITORY: found {name!r}; allowed: owner/name")
    return name


def output(**values: str) -> None:
    """Hand values to the next steps of a workflow, as `steps.ID.outputs.NAME`; outside of one, print them."""
    lines = [f"{name}={value}" for name, value in values.items()]
    assert not any("\n" in line for line in lines), "a line break would begin another output"
    if file := os.environ.get("GITHUB_OUTPUT"):
        with Path(file).open("a", encoding="utf-8") as handle:
            handle.writelines(f"{line}\n" for line in lines)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise MeritError(f"GITHUB_API_URL: found {url!r}; allowed: https, or http on loopback")
    return url.rstrip("/")


def _set(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise MeritError(f"{name}: not set; this command is for a step of a GitHub workflow (docs/gitops.md)")
    return value


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        message = str(json.loads(error.read(10_000))["message"])
    except (ValueError, KeyError, TypeError, OSError):
        message = error.reason
    return " ".join(message.split())[:200]


def _wait(error: urllib.error.HTTPError, tried: int) -> float | None:
    """Return how long to wait before another try; None if the answer is final.

    A limit is 429, or 403 with one of the headers that say how long it lasts. A limit that lasts longer than a job
    should wait is final too.
    """
    after, left = error.headers.get("Retry-After"), error.headers.get("X-RateLimit-Remaining")
    is_limit = error.code == 429 or (error.code == 403 and (after is not None or left == "0"))
    if not is_limit and error.code < 500:
        return None
    wait = float(2**tried)
    if after is not None and after.isdecimal():
        wait = float(after)
    elif left == "0" and (reset := error.headers.get("X-RateLimit-Reset", "")).isdecimal():
        wait = max(1.0, float(reset) - time.time())
    return wait if wait <= LONGEST_WAIT else None
