"""Client for GitHub: its REST API over urllib, the event of a workflow, and the outputs of a step.

All of merit's access to GitHub goes through this module.
"""

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
"""The maximum number of items that are fetched of a list."""
MOST_BYTES = 20_000_000
"""The maximum size of a response; real ones are far smaller."""
REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
PUBLIC_URL = "https://api.github.com"
ORIGIN = re.compile(
    r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[:/](?P<repository>[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(?:\.git)?/?"
)
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ApiError(MeritError):
    """A request to GitHub failed, after all retries.

    Attributes:
        status: the HTTP status; 0 if there was no response.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Api:
    """A client of GitHub's API for one repository.

    Example, in a step of a workflow:

        api = Api.of_workflow()
        pull = api.call("GET", "pulls/7")
        api.call("POST", "issues/7/comments", {"body": "Thank you"}, tries=1)

    Attributes:
        url: the API's base URL.
        repository: `owner/name`.
        token: the access token, or empty for anonymous access; it is sent only to `url` and never printed.
    """

    url: str
    repository: str
    token: str

    @classmethod
    def of_workflow(cls) -> "Api":
        """Return a client for the repository of the running workflow, from the step's environment variables.

        Raises:
            MeritError: this is not a step of a workflow, or the step has no token.
        """
        url, repository, token = (_set(name) for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN"))
        return cls(_checked_url(url), checked_repository(repository), token)

    @classmethod
    def of_clone(cls, origin: str) -> "Api | None":
        """Return a client for the repository of a clone's remote; None if the remote is not at github.com.

        The token comes from GITHUB_TOKEN or GH_TOKEN, if one is set.

        Args:
            origin: the remote's URL.
        """
        match = ORIGIN.fullmatch(origin)
        if match is None:
            return None
        url = os.environ.get("GITHUB_API_URL") or PUBLIC_URL
        token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or ""
        return cls(_checked_url(url), match["repository"], token)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, tries: int = TRIES) -> Any:
        """Send a request, with retries; return the response's JSON.

        Args:
            method: GET, POST or PATCH.
            path: the path below `/repos/owner/name/`; relative to the API's root if it begins with a slash.
            body: the JSON body.
            tries: the maximum number of tries. Use 1 for requests that are not idempotent: a try can fail after GitHub
                has carried it out.

        Raises:
            ApiError: GitHub refused the request, or every try failed or hit a rate limit.
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
        """Yield the items of a paginated list, at most `MOST_ITEMS`."""
        for page in range(1, MOST_PAGES + 1):
            asked = urlencode({**query, "per_page": str(PAGE), "page": str(page)})
            found = self.call("GET", f"{path}?{asked}")
            items = found if isinstance(found, list) else next(v for v in found.values() if isinstance(v, list))
            yield from items
            if len(items) < PAGE:
                return

    def may_write(self, login: str) -> bool:
        """Return whether a user may push to the repository."""
        found = self.call("GET", f"collaborators/{quote(login, safe='')}/permission")
        # `permission` maps the finer roles onto these: maintain to write, triage to read.
        return found.get("permission") in {"admin", "maintain", "write"}


def event() -> dict[str, Any]:
    """Return the payload of the event that started the workflow; GitHub writes it, so it can be trusted.

    Raises:
        MeritError: this is not a step of a workflow.
    """
    return artifacts.read_json(Path(_set("GITHUB_EVENT_PATH")), "report")


def checked_repository(name: str) -> str:
    """Return `owner/name` unchanged if it is valid; it becomes part of a URL.

    Raises:
        MeritError: it is not of the form owner/name.
    """
    if not REPOSITORY.fullmatch(name):
        raise MeritError(f"GITHUB_REPOSITORY: found {name!r}; allowed: owner/name")
    return name


def output(**values: str) -> None:
    """Set outputs of a workflow's step, for later steps as `steps.ID.outputs.NAME`; does nothing outside a workflow."""
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
    """Refuses redirects, which would send the token to another server."""

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
    """Return the seconds to wait before a retry; None if the response is final.

    A rate limit is 429, or 403 with one of the headers that give its duration. A limit that exceeds `LONGEST_WAIT` is
    final too.
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
