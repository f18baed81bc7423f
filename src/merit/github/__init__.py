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

REQUEST_TIMEOUT_S = 20.0
MAX_TRIES = 4
MAX_WAIT_S = 60.0
PAGE_SIZE, MAX_PAGES = 100, 10
MAX_ITEMS = PAGE_SIZE * MAX_PAGES
"""The maximum number of items that are fetched of a list."""
MAX_RESPONSE_BYTES = 20_000_000
"""The maximum size of a response; real ones are far smaller."""
REPOSITORY_PATTERN = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
PUBLIC_URL = "https://api.github.com"
ORIGIN_PATTERN = re.compile(
    r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[:/](?P<repository>[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(?:\.git)?/?"
)
LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1"}


class GitHubError(MeritError):
    """A request to GitHub failed, after all retries.

    Attributes:
        status: the HTTP status; 0 if there was no response.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class GitHubApi:
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
    def from_workflow(cls) -> "GitHubApi":
        """Return a client for the repository of the running workflow, from the step's environment variables.

        Raises:
            MeritError: this is not a step of a workflow, or the step has no token.
        """
        url, repository, token = (
            _require_variable(name) for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN")
        )
        return cls(_validate_url(url), validate_repository(repository), token)

    @classmethod
    def from_remote(cls, origin: str) -> "GitHubApi | None":
        """Return a client for the repository of a clone's remote; None if the remote is not at github.com.

        The token comes from GITHUB_TOKEN or GH_TOKEN, if one is set.

        Args:
            origin: the remote's URL.
        """
        match = ORIGIN_PATTERN.fullmatch(origin)
        if match is None:
            return None
        url = os.environ.get("GITHUB_API_URL") or PUBLIC_URL
        token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or ""
        return cls(_validate_url(url), match["repository"], token)

    def send_request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, tries: int = MAX_TRIES
    ) -> Any:
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
        url_path = path if path.startswith("/") else f"/repos/{self.repository}/{path}"
        request = urllib.request.Request(  # noqa: S310  # _checked_url() lets only https and loopback through
            self.url + url_path,
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
        description = f"GitHub: {method} {urlsplit(url_path).path}"
        for attempt in range(1, tries + 1):
            try:
                with _build_opener().open(request, timeout=REQUEST_TIMEOUT_S) as response:
                    return json.loads(response.read(MAX_RESPONSE_BYTES) or b"null")
            except urllib.error.HTTPError as error:
                failure = GitHubError(f"{description}: {error.code} {_read_reason(error)}", error.code)
                wait = _compute_retry_wait(error, attempt)
            except (OSError, ValueError) as error:
                failure = GitHubError(f"{description}: no answer ({error})", 0)
                wait = float(2**attempt)
            if wait is None or attempt == tries:
                raise failure
            time.sleep(wait)
        raise AssertionError("the last try returned or raised")

    def iter_items(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a paginated list, at most `MOST_ITEMS`."""
        for page in range(1, MAX_PAGES + 1):
            parameters = urlencode({**query, "per_page": str(PAGE_SIZE), "page": str(page)})
            response = self.send_request("GET", f"{path}?{parameters}")
            items = (
                response if isinstance(response, list) else next(v for v in response.values() if isinstance(v, list))
            )
            yield from items
            if len(items) < PAGE_SIZE:
                return

    def may_write(self, login: str) -> bool:
        """Return whether a user may push to the repository."""
        response = self.send_request("GET", f"collaborators/{quote(login, safe='')}/permission")
        # `permission` maps the finer roles onto these: maintain to write, triage to read.
        return response.get("permission") in {"admin", "maintain", "write"}


def read_event() -> dict[str, Any]:
    """Return the payload of the event that started the workflow; GitHub writes it, so it can be trusted.

    Raises:
        MeritError: this is not a step of a workflow.
    """
    return artifacts.read_json(Path(_require_variable("GITHUB_EVENT_PATH")), "report")


def validate_repository(name: str) -> str:
    """Return `owner/name` unchanged if it is valid; it becomes part of a URL.

    Raises:
        MeritError: it is not of the form owner/name.
    """
    if not REPOSITORY_PATTERN.fullmatch(name):
        raise MeritError(f"GITHUB_REPOSITORY: found {name!r}; allowed: owner/name")
    return name


def write_outputs(**values: str) -> None:
    """Set outputs of a workflow's step, for later steps as `steps.ID.outputs.NAME`; does nothing outside a workflow."""
    lines = [f"{name}={value}" for name, value in values.items()]
    assert not any("\n" in line for line in lines), "a line break would begin another output"
    if file := os.environ.get("GITHUB_OUTPUT"):
        with Path(file).open("a", encoding="utf-8") as handle:
            handle.writelines(f"{line}\n" for line in lines)


def _validate_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        raise MeritError(f"GITHUB_API_URL: found {url!r}; allowed: https, or http on loopback")
    return url.rstrip("/")


def _require_variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise MeritError(
            f"{name}: not set; this command is for a step of a GitHub workflow (docs/how-to/pull-requests.md)"
        )
    return value


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would send the token to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _build_opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)


def _read_reason(error: urllib.error.HTTPError) -> str:
    try:
        message = str(json.loads(error.read(10_000))["message"])
    except (ValueError, KeyError, TypeError, OSError):
        message = error.reason
    return " ".join(message.split())[:200]


def _compute_retry_wait(error: urllib.error.HTTPError, attempt: int) -> float | None:
    """Return the seconds to wait before a retry; None if the response is final.

    A rate limit is 429, or 403 with one of the headers that give its duration. A limit that exceeds `LONGEST_WAIT` is
    final too.
    """
    retry_after, remaining = error.headers.get("Retry-After"), error.headers.get("X-RateLimit-Remaining")
    is_limit = error.code == 429 or (error.code == 403 and (retry_after is not None or remaining == "0"))
    if not is_limit and error.code < 500:
        return None
    wait = float(2**attempt)
    if retry_after is not None and retry_after.isdecimal():
        wait = float(retry_after)
    elif remaining == "0" and (reset := error.headers.get("X-RateLimit-Reset", "")).isdecimal():
        wait = max(1.0, float(reset) - time.time())
    return wait if wait <= MAX_WAIT_S else None
