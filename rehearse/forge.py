"""A forge that speaks as much of GitHub's API as the workflows ask for, on loopback, over bare Git repositories."""

import json
import os
import re
import secrets
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

BOT = {"login": "github-actions[bot]", "type": "Bot"}
LEVELS = ("none", "read", "write")
WHO = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in
       (("NAME", "forge"), ("EMAIL", "forge@example.org"), ("DATE", "2026-01-01T00:00:00Z"))}  # fmt: skip
HOOK = """#!/bin/sh
test "$REHEARSE_MAY_PUSH" = yes || { echo 'no credentials: refused' >&2; exit 1; }
"""


def git(folder: Path, *args: str, text: str | None = None, **environment: str) -> str:
    """Return what `git ARGS` prints in a repository."""
    away = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", *args],
        cwd=folder,
        env={**os.environ, **away, **WHO, **environment},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"git {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout.rstrip("\n")


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
    body: str = ""

    def as_json(self, repository: str) -> dict[str, Any]:
        """Return it as the API and events show it."""
        return {
            "number": self.number,
            "title": self.title,
            "state": "open" if self.is_open else "closed",
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


@dataclass
class Answer(Exception):
    """What the API answers."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


class Forge:
    """One forge with its repositories; what was written to it can be read from its attributes."""

    def __init__(self, folder: Path, repository: str) -> None:
        self.folder, self.repository = folder, repository
        self.pulls: list[Pull] = []
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.statuses: list[dict[str, Any]] = []
        self.jobs: dict[int, list[dict[str, Any]]] = {}
        """The jobs of each run, as the API shows them."""
        self.artifacts: dict[tuple[int, str], Path] = {}
        self.permissions: dict[str, str] = {}
        """What users may do in the repository; those not named here may read."""
        self.refused: list[str] = []
        """Requests that a token was not allowed."""
        self.unknown: list[str] = []
        """Requests that this forge doesn't know: there must be none."""
        self.faults: list[int] = []
        """What the next requests are answered with, whatever they ask."""
        self._grants: dict[str, Grant] = {}
        self._ids = iter(range(1, 10**6))
        self._lock = threading.Lock()
        self.make_repository(repository)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
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
        """Make a bare repository that nobody can push to but the forge's own hand."""
        place = self.place(repository)
        place.mkdir(parents=True)
        git(place, "init", "--quiet", "--bare", "--initial-branch", "main")
        git(place, "config", "uploadpack.allowAnySHA1InWant", "true")
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
        self._grants[token] = Grant(permissions)
        return token

    def may(self, token: str, scope: str, level: str) -> bool:
        """Say whether a token has a permission."""
        return token in self._grants and self._grants[token].allows(((scope, level),))

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

    def answer(self, method: str, target: str, token: str, body: Any) -> Answer:
        """Answer a request."""
        with self._lock:
            if self.faults:
                return Answer(self.faults.pop(0), {"message": "planted"}, {"Retry-After": "0"})
            if token not in self._grants:
                return Answer(401, {"message": "Bad credentials"})
            return self._routed(method, urlsplit(target), token, body)

    def _routed(self, method: str, asked: SplitResult, token: str, body: Any) -> Answer:
        for verb, pattern, needed, act in ROUTES:
            found = re.fullmatch(pattern.replace("REPO", re.escape(self.repository)), asked.path)
            if verb != method or found is None:
                continue
            if not self._grants[token].allows(needed):
                self.refused.append(f"{method} {asked.path}")
                return Answer(403, {"message": "Resource not accessible by integration"})
            query = {name: values[0] for name, values in parse_qs(asked.query).items()}
            try:
                return act(self, found.groups(), query, body)
            except Answer as answer:
                return answer
            except (KeyError, TypeError, RuntimeError) as error:  # what was sent is not what the route takes
                return Answer(422, {"message": f"Validation Failed: {error!r}"})
        self.unknown.append(f"{method} {asked.path}")
        return Answer(404, {"message": "Not Found"})

    def _user(self, *_: Any) -> Answer:
        return Answer(403, {"message": "Resource not accessible by integration"})

    def _list_pulls(self, _: Any, query: dict[str, str], __: Any) -> Answer:
        owner, _, branch = query.get("head", ":").partition(":")
        found = [
            pull.as_json(self.repository)
            for pull in self.pulls
            if (not owner or (pull.head_repository.split("/")[0], pull.head) == (owner, branch))
            and (query.get("state", "open") == "all" or pull.is_open)
        ]
        return Answer(200, _page(found, query))

    def _pull(self, groups: tuple[str, ...], *_: Any) -> Answer:
        found = [pull for pull in self.pulls if pull.number == int(groups[0])]
        return Answer(200, found[0].as_json(self.repository)) if found else Answer(404, {"message": "Not Found"})

    def _open(self, _: Any, __: Any, body: dict[str, Any]) -> Answer:
        pull = self.open(body["head"], title=body["title"], author=BOT["login"], base=body["base"])
        pull.body = body.get("body", "")
        return Answer(201, pull.as_json(self.repository))

    def _list_comments(self, groups: tuple[str, ...], query: dict[str, str], _: Any) -> Answer:
        return Answer(200, _page(self.comments.get(int(groups[0]), []), query))

    def _comment(self, groups: tuple[str, ...], _: Any, body: dict[str, Any]) -> Answer:
        if len(body["body"]) > 65_536:
            raise Answer(422, {"message": "body is too long (maximum is 65536 characters)"})
        return Answer(201, self.say(int(groups[0]), body["body"], BOT))

    def say(self, number: int, text: str, user: dict[str, str]) -> dict[str, Any]:
        """Add a comment."""
        made = {"id": self.next_id(), "user": user, "body": text, "edits": 0}
        self.comments.setdefault(number, []).append(made)
        return made

    def _edit(self, groups: tuple[str, ...], _: Any, body: dict[str, Any]) -> Answer:
        for comment in (each for several in self.comments.values() for each in several):
            if comment["id"] == int(groups[0]):
                if comment["user"] != BOT:
                    raise Answer(403, {"message": "Resource not accessible by integration"})
                comment.update(body=body["body"], edits=comment["edits"] + 1)
                return Answer(200, comment)
        return Answer(404, {"message": "Not Found"})

    def _status(self, groups: tuple[str, ...], _: Any, body: dict[str, Any]) -> Answer:
        if body["state"] not in {"success", "failure", "error", "pending"} or len(body["description"]) > 140:
            raise Answer(422, {"message": "Validation Failed"})
        git(self.place(), "cat-file", "-e", f"{groups[0]}^{{commit}}")
        self.statuses.append({"sha": groups[0], **body})
        return Answer(201, body)

    def _list_jobs(self, groups: tuple[str, ...], query: dict[str, str], _: Any) -> Answer:
        found = self.jobs.get(int(groups[0]), [])
        return Answer(200, {"total_count": len(found), "jobs": _page(found, query)})

    def _permission(self, groups: tuple[str, ...], *_: Any) -> Answer:
        return Answer(200, {"permission": self.permissions.get(groups[0], "read"), "user": {"login": groups[0]}})

    def _ref(self, groups: tuple[str, ...], *_: Any) -> Answer:
        return Answer(200, {"ref": f"refs/heads/{groups[0]}", "object": {"sha": self._tip(groups[0])}})

    def _tip(self, branch: str) -> str:
        try:
            return git(self.place(), "rev-parse", "--verify", f"refs/heads/{branch}")
        except RuntimeError as error:
            raise Answer(404, {"message": "Not Found"}) from error

    def _commit_of(self, groups: tuple[str, ...], *_: Any) -> Answer:
        tree = git(self.place(), "rev-parse", f"{groups[0]}^{{tree}}")
        return Answer(200, {"sha": groups[0], "tree": {"sha": tree}})

    def _tree(self, _: Any, __: Any, body: dict[str, Any]) -> Answer:
        aside = {"GIT_INDEX_FILE": str(self.folder / f"index-{self.next_id()}")}
        git(self.place(), "read-tree", body["base_tree"], **aside)
        for entry in body["tree"]:
            blob = git(self.place(), "hash-object", "-w", "--stdin", text=entry["content"])
            git(
                self.place(), "update-index", "--add", "--cacheinfo", f"{entry['mode']},{blob},{entry['path']}", **aside
            )
        return Answer(201, {"sha": git(self.place(), "write-tree", **aside)})

    def _make_commit(self, _: Any, __: Any, body: dict[str, Any]) -> Answer:
        parents = [word for parent in body["parents"] for word in ("-p", parent)]
        return Answer(201, {"sha": git(self.place(), "commit-tree", body["tree"], *parents, "-m", body["message"])})

    def _move(self, groups: tuple[str, ...], _: Any, body: dict[str, Any]) -> Answer:
        former, bare = self._tip(groups[0]), self.place()
        is_ahead = git(bare, "merge-base", former, body["sha"]) == former
        if not is_ahead and not body.get("force"):
            raise Answer(422, {"message": "Update is not a fast forward"})
        git(bare, "update-ref", f"refs/heads/{groups[0]}", body["sha"])
        return Answer(200, {"ref": f"refs/heads/{groups[0]}"})

    def _make_ref(self, _: Any, __: Any, body: dict[str, Any]) -> Answer:
        if body["ref"] in git(self.place(), "for-each-ref", "--format=%(refname)").splitlines():
            raise Answer(422, {"message": "Reference already exists"})
        git(self.place(), "update-ref", body["ref"], body["sha"])
        return Answer(201, body)


def _page(items: list[Any], query: dict[str, str]) -> list[Any]:
    size, page = int(query.get("per_page", "30")), int(query.get("page", "1"))
    return items[(page - 1) * size : page * size]


COMMENTS_READ = (("issues", "read"), ("pull-requests", "read"))
COMMENTS_WRITE = (("issues", "write"), ("pull-requests", "write"))
CONTENTS_WRITE = (("contents", "write"),)
Act = Callable[[Forge, tuple[str, ...], dict[str, str], Any], Answer]
ROUTES: list[tuple[str, str, tuple[tuple[str, str], ...], Act]] = [
    ("GET", "/user", (), Forge._user),
    ("GET", "/repos/REPO/pulls", (("pull-requests", "read"),), Forge._list_pulls),
    ("POST", "/repos/REPO/pulls", (("pull-requests", "write"),), Forge._open),
    ("GET", r"/repos/REPO/pulls/(\d+)", (("pull-requests", "read"),), Forge._pull),
    ("GET", r"/repos/REPO/issues/(\d+)/comments", COMMENTS_READ, Forge._list_comments),
    ("POST", r"/repos/REPO/issues/(\d+)/comments", COMMENTS_WRITE, Forge._comment),
    ("PATCH", r"/repos/REPO/issues/comments/(\d+)", COMMENTS_WRITE, Forge._edit),
    ("POST", "/repos/REPO/statuses/([0-9a-f]{40})", (("statuses", "write"),), Forge._status),
    ("GET", r"/repos/REPO/actions/runs/(\d+)/jobs", (("actions", "read"),), Forge._list_jobs),
    ("GET", "/repos/REPO/collaborators/([^/]+)/permission", (), Forge._permission),
    ("GET", "/repos/REPO/git/ref/heads/(.+)", (("contents", "read"),), Forge._ref),
    ("GET", "/repos/REPO/git/commits/([0-9a-f]{40})", (("contents", "read"),), Forge._commit_of),
    ("POST", "/repos/REPO/git/trees", CONTENTS_WRITE, Forge._tree),
    ("POST", "/repos/REPO/git/commits", CONTENTS_WRITE, Forge._make_commit),
    ("POST", "/repos/REPO/git/refs", CONTENTS_WRITE, Forge._make_ref),
    ("PATCH", "/repos/REPO/git/refs/heads/(.+)", CONTENTS_WRITE, Forge._move),
]
"""The API: verb, path, the permissions of which a token needs one, and what is done."""


def _handler(forge: Forge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            answer = forge.answer(self.command, self.path, token, body)
            content = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _any  # noqa: N815  # http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing: what was asked shows in what it did."""

    return Handler
