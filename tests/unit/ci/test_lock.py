import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rehearse.bare import git
from rehearse.forge import Forge

from merit.ci import api_commits, lock
from merit.errors import MeritError, Refused
from merit.github import GitHubApi
from tests.unit.ci.conftest import REPOSITORY

READ = {"pull-requests": "read"}


@pytest.fixture
def forge(pull_forge: Forge) -> Forge:
    pull_forge.permissions = {"writer": "write", "owner": "admin", "triager": "read"}
    return pull_forge


def _comment(login: str = "writer", text: str = "/lock", association: str = "MEMBER") -> dict[str, Any]:
    return {
        "issue": {"number": 1, "pull_request": {}},
        "comment": {"body": text, "user": {"login": login}, "author_association": association},
    }


@pytest.fixture
def asked(forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], dict[str, str]]:
    def ask(event: dict[str, Any]) -> dict[str, str]:
        file = tmp_path / "event.json"
        file.write_text(json.dumps({"repository": {"default_branch": "main"}, **event}), encoding="utf-8")
        variables = {"API_URL": forge.url, "REPOSITORY": REPOSITORY, "TOKEN": forge.grant(READ), "EVENT_PATH": file}
        for name, value in variables.items():
            monkeypatch.setenv(f"GITHUB_{name}", str(value))
        return lock.authorize_request()

    return ask


@pytest.mark.parametrize("event", [_comment(), _comment("owner", " /lock\n", "OWNER")])
def test_who_may_write_gets_the_branch_and_its_commit(
    forge: Forge, asked: Callable[[dict[str, Any]], dict[str, str]], event: dict[str, Any]
) -> None:
    assert asked(event) == {"sha": forge.pulls[0].sha, "branch": "change"}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (_comment(association="NONE"), "writer is none of COLLABORATOR, MEMBER, OWNER"),
        (_comment(association="CONTRIBUTOR"), "writer is none of"),
        (_comment("triager"), "triager may not write here"),
        (_comment(text="/lock it"), "no request: the comment '/lock' on a pull request asks for the lock"),
        ({"label": {"name": "lock"}, "pull_request": {"number": 1}, "sender": {"login": "writer"}}, "no request"),
        ({"issue": {"number": 1}, "comment": {"body": "/lock"}}, "no request"),
        ({}, "no request"),
    ],
)
def test_who_may_not_and_what_asks_for_nothing_are_refused(
    asked: Callable[[dict[str, Any]], dict[str, str]], event: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        asked(event)


def test_a_fork_and_a_closed_pull_request_are_refused(
    forge: Forge, asked: Callable[[dict[str, Any]], dict[str, str]]
) -> None:
    forge.pulls[0].is_open = False
    with pytest.raises(Refused, match="#1: no open pull request"):
        asked(_comment())
    forge.pulls[0].head_repository = "stranger/model"
    with pytest.raises(Refused, match="#1: comes from a fork"):
        asked(_comment())


def _locks(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in {"params.yaml": "model: {}\n", "dvc.lock": "stages: {}\n", **texts}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_just_the_two_files_are_committed_on_top_of_what_was_computed(
    forge: Forge, asked: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(_comment())
    monkeypatch.setenv("GITHUB_TOKEN", forge.grant({"contents": "write"}))
    sha = forge.pulls[0].sha
    made = lock.push_lock(_locks(tmp_path / "lock", other="x"), "change", sha)
    assert git(forge.place(), "rev-parse", "change") == made
    assert git(forge.place(), "rev-parse", f"{made}^") == sha
    assert git(forge.place(), "diff", "--name-only", sha, made).splitlines() == ["dvc.lock", "params.yaml"]
    with pytest.raises(Refused, match="change: was pushed to while its lock was computed; ask for the lock again"):
        lock.push_lock(_locks(tmp_path / "lock", **{"params.yaml": "model: {a: 1}\n"}), "change", sha)
    assert git(forge.place(), "rev-parse", "change") == made


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("params.yaml", "a: [", "not valid YAML"),
        ("params.yaml", "just text", "holds no section 'model'"),
        ("dvc.lock", "stages: 1", "holds no section 'stages'"),
    ],
)
def test_what_is_no_lock_is_not_committed(tmp_path: Path, name: str, text: str, message: str) -> None:
    found = api_commits.read_texts(_locks(tmp_path / "lock", **{name: text}), lock.LOCK_FILES)
    with pytest.raises(MeritError, match=f"{name}: {message}"):
        lock.check_locks(found)


@pytest.mark.parametrize("kind", ["missing", "link", "large", "binary"])
def test_a_file_that_is_no_plain_text_is_not_committed(tmp_path: Path, kind: str) -> None:
    file = _locks(tmp_path / "lock") / "dvc.lock"
    file.unlink()
    if kind == "link":
        file.symlink_to(tmp_path / "lock/params.yaml")
    elif kind != "missing":
        file.write_bytes(b"x" * (api_commits.MAX_FILE_BYTES + 1) if kind == "large" else b"\xff")
    with pytest.raises(MeritError, match=r"dvc\.lock: (must be a plain file|not UTF-8)"):
        api_commits.read_texts(tmp_path / "lock", lock.LOCK_FILES)


def test_a_token_that_may_not_write_commits_nothing(forge: Forge) -> None:
    api = GitHubApi(forge.url, REPOSITORY, forge.grant({"contents": "read"}))
    with pytest.raises(MeritError, match="403"):
        api_commits.create_commit(api, forge.pulls[0].sha, {"params.yaml": "x"}, "no")
    assert os.environ.get("GITHUB_TOKEN") != api.token
