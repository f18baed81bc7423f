"""Steps of lock.yml: compute params.yaml and dvc.lock for a branch and commit them, for users who edit in a browser.

Three jobs separate the privileges: the first authorizes the request and reads nothing of the branch; the second runs
the branch's code without write access; the third commits the result and runs none of that code.
"""

from pathlib import Path
from typing import Any

import yaml

from merit import artifacts, dvc, safe_yaml
from merit.ci.api_commits import create_commit, fast_forward, read_texts
from merit.dvc import cache, lockfile, remote, untrusted
from merit.errors import MeritError, Refused
from merit.github import GitHubApi, read_event

LOCK_COMMENT = "/lock"
ALLOWED_ASSOCIATIONS = {"OWNER", "MEMBER", "COLLABORATOR"}
LOCK_FILES = [artifacts.LOCK.as_posix(), artifacts.DVC_LOCK.as_posix()]


def authorize_request() -> dict[str, str]:
    """Return the branch and the commit to lock, if the author of the comment has write access.

    Raises:
        Refused: the author has no write access, or the comment is not on an open pull request from a branch of this
            repository.
    """
    api, payload = GitHubApi.from_workflow(), read_event()
    number, login = _parse_request(payload)
    if not api.may_write(login):
        raise Refused(f"{login} may not write here; somebody with write access has to comment {LOCK_COMMENT!r}")
    pull = api.send_request("GET", f"pulls/{number}")
    head = pull["head"]
    if (head["repo"] or {}).get("full_name") != api.repository:
        raise Refused(f"#{number}: comes from a fork, where nobody here can write; run 'merit run' there")
    if pull["state"] != "open" or head["ref"] == payload["repository"]["default_branch"]:
        raise Refused(f"#{number}: no open pull request from a branch of its own")
    return {"sha": str(head["sha"]), "branch": str(head["ref"])}


def _parse_request(payload: dict[str, Any]) -> tuple[int, str]:
    """Return the number of the pull request and the login of the comment's author."""
    comment = payload.get("comment")
    if (
        comment is None
        or "pull_request" not in payload.get("issue", {})
        or str(comment["body"]).strip() != LOCK_COMMENT
    ):
        raise Refused(f"no request: the comment {LOCK_COMMENT!r} on a pull request asks for the lock")
    login = str(comment["user"]["login"])
    if comment["author_association"] not in ALLOWED_ASSOCIATIONS:
        raise Refused(f"{login} is none of {', '.join(sorted(ALLOWED_ASSOCIATIONS))}; only these may ask for the lock")
    return int(payload["issue"]["number"]), login


def push_lock(folder: Path, branch: str, sha: str) -> str:
    """Commit the computed params.yaml and dvc.lock to a branch; return the new commit.

    Args:
        folder: the folder that holds the two files.
        branch: the branch to commit to.
        sha: the commit for which they were computed; it must still be the branch's tip.

    Raises:
        Refused: the branch has moved on.
        MeritError: a file is missing or is not a valid lock.
    """
    api, contents = GitHubApi.from_workflow(), read_texts(folder, LOCK_FILES)
    check_locks(contents)
    new_sha = create_commit(api, sha, contents, "params.yaml and dvc.lock as conf/, the data and the code make them")
    fast_forward(api, branch, new_sha)
    return new_sha


def check_locks(contents: dict[str, str]) -> None:
    """Check that the texts are a params.yaml and a dvc.lock, and that dvc.lock names only permitted output paths.

    Raises:
        MeritError: a text is not a valid lock, or dvc.lock names a forbidden path.
    """
    for name, section in zip(LOCK_FILES, ("model", "stages"), strict=True):
        try:
            values = safe_yaml.load(contents[name])
        except yaml.YAMLError as error:
            raise MeritError(f"{name}: not valid YAML; the job before makes it") from error
        if not isinstance(values, dict) or not isinstance(values.get(section), dict):
            raise MeritError(f"{name}: holds no section {section!r}; the job before makes it")
    lockfile.parse_outputs(contents[artifacts.DVC_LOCK.as_posix()], artifacts.DVC_LOCK.as_posix())


def push_outputs(folder: Path) -> str:
    """Push the outputs of another job to the DVC remote; return a line about it.

    Only objects that the job's dvc.lock names are pushed. Each object must match its hash, because a remote's object
    names vouch for their content, and its output path must be safe to check out for everybody who pulls it.

    Raises:
        MeritError: an object fails these checks, the package differs from its manifest, or the push fails.
    """
    text = read_texts(folder, [artifacts.DVC_LOCK.as_posix()])[artifacts.DVC_LOCK.as_posix()]
    declared_outputs = lockfile.parse_outputs(text, artifacts.DVC_LOCK.as_posix())
    with dvc.open_repository("push-outputs") as repo:
        if not repo.config["remote"]:
            return "no remote of DVC's is configured: nothing pushed"
        hashes = untrusted.import_outputs(folder / cache.DEFAULT_CACHE, declared_outputs, Path(repo.cache.local.path))
        pushed_count = remote.push_objects(repo, hashes)
    return f"{pushed_count} of {len(hashes)} objects were new to the remote"
