"""lock: for who edits YAML in a browser: compute params.yaml and dvc.lock for a branch, and commit them to it.

Three jobs: one decides and reads nothing of the branch; one computes, runs the branch's code and may write nothing; one
commits, and runs none of it.
"""

from pathlib import Path
from typing import Any

import yaml

from merit import artifacts, dvc, safe_yaml
from merit.ci.commits import commit, forward, texts
from merit.dvc import cache, handed, lock, remote
from merit.errors import MeritError, Refused
from merit.github import Api, event

COMMENT = "/lock"
INSIDERS = {"OWNER", "MEMBER", "COLLABORATOR"}
LOCKS = [artifacts.LOCK.as_posix(), artifacts.DVC_LOCK.as_posix()]


def asked() -> dict[str, str]:
    """Return the branch and the commit to lock, if who asks may write here.

    Raises:
        Refused: they may not, or there is nothing here that could be locked.
    """
    api, told = Api.of_workflow(), event()
    number, login = _request(told)
    if not api.may_write(login):
        raise Refused(f"{login} may not write here; who may has to ask for the lock")
    pull = api.call("GET", f"pulls/{number}")
    head = pull["head"]
    if (head["repo"] or {}).get("full_name") != api.repository:
        raise Refused(f"#{number}: comes from a fork, where nobody here can write; run 'merit run' there")
    if pull["state"] != "open" or head["ref"] == told["repository"]["default_branch"]:
        raise Refused(f"#{number}: no open pull request from a branch of its own")
    return {"sha": str(head["sha"]), "branch": str(head["ref"])}


def _request(told: dict[str, Any]) -> tuple[int, str]:
    """Return the number of the pull request, and who asks."""
    comment = told.get("comment")
    if comment is None or "pull_request" not in told.get("issue", {}) or str(comment["body"]).strip() != COMMENT:
        raise Refused(f"no request: the comment {COMMENT!r} on a pull request asks for the lock")
    login = str(comment["user"]["login"])
    if comment["author_association"] not in INSIDERS:
        raise Refused(f"{login} is none of {', '.join(sorted(INSIDERS))}; they may ask")
    return int(told["issue"]["number"]), login


def push_lock(folder: Path, branch: str, sha: str) -> str:
    """Commit the two locks that were computed for a commit to its branch; return the new commit.

    Args:
        folder: where they are.
        branch: the branch.
        sha: what they were computed for; the branch must still be there.

    Raises:
        Refused: the branch has moved on.
        MeritError: they are none.
    """
    api, found = Api.of_workflow(), texts(folder, LOCKS)
    check_locks(found)
    made = commit(api, sha, found, "params.yaml and dvc.lock as conf/, the data and the code make them")
    forward(api, branch, made)
    return made


def check_locks(found: dict[str, str]) -> None:
    """Refuse what is neither a lock of ours nor one of DVC's, and one that names what no output may be.

    Raises:
        MeritError: it is none.
    """
    for name, section in zip(LOCKS, ("model", "stages"), strict=True):
        try:
            values = safe_yaml.load(found[name])
        except yaml.YAMLError as error:
            raise MeritError(f"{name}: not valid YAML; the job before makes it") from error
        if not isinstance(values, dict) or not isinstance(values.get(section), dict):
            raise MeritError(f"{name}: holds no section {section!r}; the job before makes it")
    lock.outputs(found[artifacts.DVC_LOCK.as_posix()], artifacts.DVC_LOCK.as_posix())


def push_outputs(folder: Path) -> str:
    """Bring outputs that another job made to DVC's remote; return what was done.

    Taken is what that job's dvc.lock names, and no more. Each is taken only if it is what its name says, for a name in
    a remote is a promise about its content, and only if it may be put in its place by whoever pulls it.

    Raises:
        MeritError: one is not so, the package is not what its manifest says, or the remote takes them not.
    """
    text = texts(folder, [artifacts.DVC_LOCK.as_posix()])[artifacts.DVC_LOCK.as_posix()]
    named = lock.outputs(text, artifacts.DVC_LOCK.as_posix())
    with dvc.opened("push-outputs") as repo:
        if not repo.config["remote"]:
            return "no remote of DVC's is configured: nothing pushed"
        hashes = handed.take(folder / cache.CACHE, named, Path(repo.cache.local.path))
        pushed = remote.push(repo, hashes)
    return f"{pushed} of {len(hashes)} objects were new to the remote"
