"""As much of GitHub's API as the workflows ask for: its routes, and the server that listens on loopback."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from rehearse.bare import git

if TYPE_CHECKING:
    from rehearse.forge import Forge

BOT = {"login": "github-actions[bot]", "type": "Bot"}


@dataclass
class Answer(Exception):
    """What the API answers."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


def answer(forge: "Forge", method: str, target: str, token: str, body: Any) -> Answer:
    """Answer a request."""
    with forge.lock:
        if forge.faults:
            return Answer(forge.faults.pop(0), {"message": "planted"}, {"Retry-After": "0"})
        if token not in forge.grants:
            return Answer(401, {"message": "Bad credentials"})
        return _routed(forge, method, urlsplit(target), token, body)


def _routed(forge: "Forge", method: str, asked: SplitResult, token: str, body: Any) -> Answer:
    for verb, pattern, needed, act in ROUTES:
        found = re.fullmatch(pattern.replace("REPO", re.escape(forge.repository)), asked.path)
        if verb != method or found is None:
            continue
        if not forge.grants[token].allows(needed):
            forge.refused.append(f"{method} {asked.path}")
            return Answer(403, {"message": "Resource not accessible by integration"})
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        try:
            return act(forge, found.groups(), query, body)
        except Answer as answer:
            return answer
        except (KeyError, TypeError, RuntimeError) as error:  # what was sent is not what the route takes
            return Answer(422, {"message": f"Validation Failed: {error!r}"})
    forge.unknown.append(f"{method} {asked.path}")
    return Answer(404, {"message": "Not Found"})


def _user(forge: "Forge", *_: Any) -> Answer:
    return Answer(403, {"message": "Resource not accessible by integration"})


def _list_pulls(forge: "Forge", _: Any, query: dict[str, str], __: Any) -> Answer:
    owner, _, branch = query.get("head", ":").partition(":")
    found = [
        pull.as_json(forge.repository)
        for pull in forge.pulls
        if (not owner or (pull.head_repository.split("/")[0], pull.head) == (owner, branch))
        and (query.get("state", "open") == "all" or pull.is_open)
    ]
    return Answer(200, _page(found, query))


def _pull(forge: "Forge", groups: tuple[str, ...], *_: Any) -> Answer:
    found = [pull for pull in forge.pulls if pull.number == int(groups[0])]
    return Answer(200, found[0].as_json(forge.repository)) if found else Answer(404, {"message": "Not Found"})


def _open(forge: "Forge", _: Any, __: Any, body: dict[str, Any]) -> Answer:
    pull = forge.open(body["head"], title=body["title"], author=BOT["login"], base=body["base"])
    pull.body = body.get("body", "")
    return Answer(201, pull.as_json(forge.repository))


def _list_comments(forge: "Forge", groups: tuple[str, ...], query: dict[str, str], _: Any) -> Answer:
    return Answer(200, _page(forge.comments.get(int(groups[0]), []), query))


def _list_events(forge: "Forge", groups: tuple[str, ...], query: dict[str, str], _: Any) -> Answer:
    return Answer(200, _page(forge.events.get(int(groups[0]), []), query))


def _comment(forge: "Forge", groups: tuple[str, ...], _: Any, body: dict[str, Any]) -> Answer:
    if len(body["body"]) > 65_536:
        raise Answer(422, {"message": "body is too long (maximum is 65536 characters)"})
    return Answer(201, forge.say(int(groups[0]), body["body"], BOT))


def _edit(forge: "Forge", groups: tuple[str, ...], _: Any, body: dict[str, Any]) -> Answer:
    for comment in (each for several in forge.comments.values() for each in several):
        if comment["id"] == int(groups[0]):
            if comment["user"] != BOT:
                raise Answer(403, {"message": "Resource not accessible by integration"})
            comment.update(body=body["body"], edits=comment["edits"] + 1)
            return Answer(200, comment)
    return Answer(404, {"message": "Not Found"})


def _status(forge: "Forge", groups: tuple[str, ...], _: Any, body: dict[str, Any]) -> Answer:
    if body["state"] not in {"success", "failure", "error", "pending"} or len(body["description"]) > 140:
        raise Answer(422, {"message": "Validation Failed"})
    git(forge.place(), "cat-file", "-e", f"{groups[0]}^{{commit}}")
    forge.statuses.append({"sha": groups[0], **body})
    return Answer(201, body)


def _list_jobs(forge: "Forge", groups: tuple[str, ...], query: dict[str, str], _: Any) -> Answer:
    found = forge.jobs.get(int(groups[0]), [])
    return Answer(200, {"total_count": len(found), "jobs": _page(found, query)})


def _permission(forge: "Forge", groups: tuple[str, ...], *_: Any) -> Answer:
    return Answer(200, {"permission": forge.permissions.get(groups[0], "read"), "user": {"login": groups[0]}})


def _ref(forge: "Forge", groups: tuple[str, ...], *_: Any) -> Answer:
    return Answer(200, {"ref": f"refs/heads/{groups[0]}", "object": {"sha": _tip(forge, groups[0])}})


def _tip(forge: "Forge", branch: str) -> str:
    try:
        return git(forge.place(), "rev-parse", "--verify", f"refs/heads/{branch}")
    except RuntimeError as error:
        raise Answer(404, {"message": "Not Found"}) from error


def _commit_of(forge: "Forge", groups: tuple[str, ...], *_: Any) -> Answer:
    tree = git(forge.place(), "rev-parse", f"{groups[0]}^{{tree}}")
    return Answer(200, {"sha": groups[0], "tree": {"sha": tree}})


def _tree(forge: "Forge", _: Any, __: Any, body: dict[str, Any]) -> Answer:
    aside = {"GIT_INDEX_FILE": str(forge.folder / f"index-{forge.next_id()}")}
    git(forge.place(), "read-tree", body["base_tree"], **aside)
    for entry in body["tree"]:
        blob = git(forge.place(), "hash-object", "-w", "--stdin", text=entry["content"])
        git(forge.place(), "update-index", "--add", "--cacheinfo", f"{entry['mode']},{blob},{entry['path']}", **aside)
    return Answer(201, {"sha": git(forge.place(), "write-tree", **aside)})


def _make_commit(forge: "Forge", _: Any, __: Any, body: dict[str, Any]) -> Answer:
    parents = [word for parent in body["parents"] for word in ("-p", parent)]
    return Answer(201, {"sha": git(forge.place(), "commit-tree", body["tree"], *parents, "-m", body["message"])})


def _move(forge: "Forge", groups: tuple[str, ...], _: Any, body: dict[str, Any]) -> Answer:
    former, bare = _tip(forge, groups[0]), forge.place()
    is_ahead = git(bare, "merge-base", former, body["sha"]) == former
    if not is_ahead and not body.get("force"):
        raise Answer(422, {"message": "Update is not a fast forward"})
    git(bare, "update-ref", f"refs/heads/{groups[0]}", body["sha"])
    return Answer(200, {"ref": f"refs/heads/{groups[0]}"})


def _make_ref(forge: "Forge", _: Any, __: Any, body: dict[str, Any]) -> Answer:
    if body["ref"] in git(forge.place(), "for-each-ref", "--format=%(refname)").splitlines():
        raise Answer(422, {"message": "Reference already exists"})
    git(forge.place(), "update-ref", body["ref"], body["sha"])
    return Answer(201, body)


def _page(items: list[Any], query: dict[str, str]) -> list[Any]:
    size, page = int(query.get("per_page", "30")), int(query.get("page", "1"))
    return items[(page - 1) * size : page * size]


COMMENTS_READ = (("issues", "read"), ("pull-requests", "read"))
COMMENTS_WRITE = (("issues", "write"), ("pull-requests", "write"))
CONTENTS_WRITE = (("contents", "write"),)
Act = Callable[["Forge", tuple[str, ...], dict[str, str], Any], Answer]
ROUTES: list[tuple[str, str, tuple[tuple[str, str], ...], Act]] = [
    ("GET", "/user", (), _user),
    ("GET", "/repos/REPO/pulls", (("pull-requests", "read"),), _list_pulls),
    ("POST", "/repos/REPO/pulls", (("pull-requests", "write"),), _open),
    ("GET", r"/repos/REPO/pulls/(\d+)", (("pull-requests", "read"),), _pull),
    ("GET", r"/repos/REPO/issues/(\d+)/comments", COMMENTS_READ, _list_comments),
    ("GET", r"/repos/REPO/issues/(\d+)/events", (("issues", "read"),), _list_events),
    ("POST", r"/repos/REPO/issues/(\d+)/comments", COMMENTS_WRITE, _comment),
    ("PATCH", r"/repos/REPO/issues/comments/(\d+)", COMMENTS_WRITE, _edit),
    ("POST", "/repos/REPO/statuses/([0-9a-f]{40})", (("statuses", "write"),), _status),
    ("GET", r"/repos/REPO/actions/runs/(\d+)/jobs", (("actions", "read"),), _list_jobs),
    ("GET", "/repos/REPO/collaborators/([^/]+)/permission", (), _permission),
    ("GET", "/repos/REPO/git/ref/heads/(.+)", (("contents", "read"),), _ref),
    ("GET", "/repos/REPO/git/commits/([0-9a-f]{40})", (("contents", "read"),), _commit_of),
    ("POST", "/repos/REPO/git/trees", CONTENTS_WRITE, _tree),
    ("POST", "/repos/REPO/git/commits", CONTENTS_WRITE, _make_commit),
    ("POST", "/repos/REPO/git/refs", CONTENTS_WRITE, _make_ref),
    ("PATCH", "/repos/REPO/git/refs/heads/(.+)", CONTENTS_WRITE, _move),
]
"""The API: verb, path, the permissions of which a token needs one, and what is done."""


def handler(forge: "Forge") -> type[BaseHTTPRequestHandler]:
    """Return what answers a forge's requests over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            given = answer(forge, self.command, self.path, token, body)
            content = json.dumps(given.body).encode()
            self.send_response(given.status)
            for name, value in {**given.headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _any  # noqa: N815  # http.server's names

        def log_message(self, *_: Any) -> None:
            """Say nothing: what was asked shows in what it did."""

    return Handler
