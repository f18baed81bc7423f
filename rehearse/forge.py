"""A forge that keeps repositories, pull requests and who may do what, and answers on loopback."""

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rehearse import api
from rehearse.bare import git

LEVELS = ("none", "read", "write")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
HOOK = """#!/bin/sh
test "$REHEARSE_MAY_PUSH" = yes || { echo 'no credentials: refused' >&2; exit 1; }
"""


@dataclass
class Pull:
    """A pull request."""

    number: int
    title: str
    head_repository: str
    head: str
    base: str
    sha: str
    author: str
    is_open: bool = True
    closed_at: str | None = None
    body: str = ""

    def as_json(self, repository: str) -> dict[str, Any]:
        """Return it as the API and events show it."""
        return {
            "number": self.number,
            "title": self.title,
            "state": "open" if self.is_open else "closed",
            "closed_at": self.closed_at,
            "body": self.body,
            "user": {"login": self.author, "type": "User"},
            "head": {
                "ref": self.head,
                "sha": self.sha,
                "repo": {"full_name": self.head_repository, "fork": self.head_repository != repository},
            },
            "base": {"ref": self.base, "repo": {"full_name": repository}},
            "html_url": f"https://forge.invalid/{repository}/pull/{self.number}",
        }


@dataclass(frozen=True)
class Grant:
    """What a token may do."""

    permissions: Mapping[str, str]

    def allows(self, needed: tuple[tuple[str, str], ...]) -> bool:
        """Say whether it has one of the permissions."""
        return not needed or any(
            LEVELS.index(self.permissions.get(scope, "none")) >= LEVELS.index(level) for scope, level in needed
        )


class Forge:
    """One forge with its repositories; what was written to it can be read from its attributes."""

    def __init__(self, folder: Path, repository: str) -> None:
        self.folder, self.repository = folder, repository
        self.pulls: list[Pull] = []
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.events: dict[int, list[dict[str, str]]] = {}
        """What happened to each pull request, as the API shows it."""
        self.minutes = 0
        """Since the beginning: time passes here only where a test says so."""
        self.statuses: list[dict[str, Any]] = []
        self.jobs: dict[int, list[dict[str, Any]]] = {}
        """The jobs of each run, as the API shows them."""
        self.artifacts: dict[tuple[int, str], Path] = {}
        self.permissions: dict[str, str] = {}
        """What users may do in the repository; those not named here may read."""
        self.refused: list[str] = []
        """Requests that a token was not allowed."""
        self.attested: list[tuple[str, str]] = []
        """Images that were attested: name and digest."""
        self.unknown: list[str] = []
        """Requests that this forge doesn't know: there must be none."""
        self.faults: list[int] = []
        """What the next requests are answered with, whatever they ask."""
        self.grants: dict[str, Grant] = {}
        self._ids = iter(range(1, 10**6))
        self.lock = threading.Lock()
        self.make_repository(repository)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), api.handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def server_url(self) -> str:
        """Where Git finds the repositories, each under `/owner/name`."""
        return f"file://{self.folder}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def place(self, repository: str | None = None) -> Path:
        """Return the bare repository."""
        return self.folder / (repository or self.repository)

    def make_repository(self, repository: str) -> Path:
        """Make a bare repository, unless it is there, that nobody can push to but the forge's own hand."""
        place = self.place(repository)
        if place.exists():
            return place
        place.mkdir(parents=True)
        git(place, "init", "--quiet", "--bare", "--initial-branch", "main")
        git(place, "config", "uploadpack.allowAnySHA1InWant", "true")
        (place / "hooks").mkdir(exist_ok=True)
        (place / "hooks/pre-receive").write_text(HOOK, encoding="utf-8")
        (place / "hooks/pre-receive").chmod(0o755)
        return place

    def fork(self, repository: str) -> Path:
        """Make a fork of the repository."""
        place = self.make_repository(repository)
        git(place, "fetch", "--quiet", str(self.place()), "+refs/heads/*:refs/heads/*")
        return place

    def grant(self, permissions: Mapping[str, str]) -> str:
        """Return a token that may do just this."""
        token = f"ghs_{secrets.token_hex(18)}"
        self.grants[token] = Grant(permissions)
        return token

    def may(self, token: str, scope: str, level: str) -> bool:
        """Say whether a token has a permission."""
        return token in self.grants and self.grants[token].allows(((scope, level),))

    def next_id(self) -> int:
        """Return a number that was not used before."""
        return next(self._ids)

    def open(self, head: str, *, title: str, author: str, repository: str | None = None, base: str = "main") -> Pull:
        """Open a pull request."""
        repository = repository or self.repository
        number = max((pull.number for pull in self.pulls), default=0) + 1
        pull = Pull(number, title, repository, head, base, "", author)
        self.pulls.append(pull)
        self.refresh(pull)
        return pull

    def now(self) -> str:
        """Return the time as the API shows it."""
        return (BEGINNING + timedelta(minutes=self.minutes)).isoformat().replace("+00:00", "Z")

    def retarget(self, pull: Pull, base: str, event: str = "base_ref_changed") -> None:
        """Ask for a pull request's commits in another branch."""
        pull.base = base
        self.events.setdefault(pull.number, []).append({"event": event, "created_at": self.now()})

    def shut(self, pull: Pull) -> None:
        """Close a pull request."""
        pull.is_open, pull.closed_at = False, self.now()

    def refresh(self, pull: Pull) -> str:
        """Take what was pushed to a pull request's branch; return the commit that merges it into its base."""
        bare, number = self.place(), pull.number
        git(bare, "fetch", "--quiet", str(self.place(pull.head_repository)),
            f"+refs/heads/{pull.head}:refs/pull/{number}/head")  # fmt: skip
        pull.sha = git(bare, "rev-parse", f"refs/pull/{number}/head")
        base = git(bare, "rev-parse", f"refs/heads/{pull.base}")
        tree = git(bare, "merge-tree", "--write-tree", base, pull.sha).splitlines()[0]
        merged = git(bare, "commit-tree", tree, "-p", base, "-p", pull.sha, "-m", f"Merge {pull.sha} into {base}")
        git(bare, "update-ref", f"refs/pull/{number}/merge", merged)
        return merged

    def say(self, number: int, text: str, user: dict[str, str]) -> dict[str, Any]:
        """Add a comment."""
        made = {"id": self.next_id(), "user": user, "body": text, "edits": 0}
        self.comments.setdefault(number, []).append(made)
        return made

    def answer(self, method: str, target: str, token: str, body: Any) -> api.Answer:
        """Answer a request."""
        return api.answer(self, method, target, token, body)
