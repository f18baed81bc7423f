"""What merit asks Git: where we stand, where we would merge into, what a file said there, and tags."""

import io
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from merit.errors import MeritError


class Text(TypedDict):
    """How the bytes of a process become text."""

    encoding: str
    errors: str


MAIN = ("main", "origin/main")
ORIGIN = "origin"
HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
"""Variables that Git sets for its hooks: they name the repository that the hook is of."""
NO_REPOSITORY = "not a git repository"
WAITS = (1.0, 3.0)
"""Seconds between the tries to reach a remote; there is one try more than waits."""
PATIENCE = 120.0
"""Seconds that one exchange with a remote may take."""
UNREADABLE = "\ufffd"
"""What stands for bytes that are not UTF-8: history keeps them for ever, and one of them must not hide the rest."""
TEXT: Text = {"encoding": "utf-8", "errors": "replace"}


def git(*args: str) -> str | None:
    """Return what `git ARGS` prints, or None if it says no or there is no repository.

    Raises:
        MeritError: Git is not there, or won't answer; what it would have said is not known then.
    """
    try:
        done = subprocess.run(["git", *args], capture_output=True, check=False, **TEXT)
    except FileNotFoundError as error:
        raise MeritError("git: not found on PATH; install it") from error
    if done.returncode == 0:
        return done.stdout.rstrip("\n")
    no_repository = NO_REPOSITORY in done.stderr and not Path(".git").exists()
    if done.returncode == 1 or no_repository:
        return None
    raise MeritError(f"git {args[0]}: {' '.join(done.stderr.split())[:300]}")


def head() -> str | None:
    """Return the commit that is checked out, or None before the first."""
    return git("rev-parse", "--verify", "--quiet", "HEAD")


def is_dirty() -> bool:
    """Say whether tracked files differ from HEAD; files that Git doesn't track don't count."""
    return bool(git("status", "--porcelain", "--untracked-files=no"))


def resolve(ref: str) -> str | None:
    """Return the commit that `ref` names."""
    return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")


def target_commit() -> str | None:
    """Return the commit that this branch would merge into: the latest one it shares with main, here or at origin.

    In a repository that knows of no main and of no other place that that could be, it is the commit checked out.

    Raises:
        MeritError: the history that would tell was not fetched.
    """
    branches = [branch for branch in MAIN if resolve(branch)]
    shared = [base for branch in branches if (base := git("merge-base", "HEAD", branch))]
    if shared:
        # All of them are on the way to HEAD: the latest is the one that the other leads to.
        first, last = shared[0], shared[-1]
        return last if git("merge-base", "--is-ancestor", first, last) is not None else first
    if branches or git("remote"):
        raise MeritError("git: the history shared with main is not here; 'git fetch --unshallow origin main' brings it")
    return head()


def show(commit: str, path: Path) -> str | None:
    """Return the text of a file as of `commit`, or None if it was not there."""
    name = path.as_posix()
    return git("show", f"{commit}:./{name}") if git("ls-tree", "--name-only", commit, "--", name) else None


def committed(folder: Path, paths: Sequence[str], since: Sequence[str]) -> dict[str, bytes]:
    """Return what another repository's folder held at and below paths when its last commit changed one of `since`.

    Raises:
        MeritError: no commit did, or it lacks a path.
    """
    commit = _elsewhere(folder, "log", "-1", "--format=%H", "HEAD", "--", *since).decode().strip()
    if not commit:
        raise MeritError(f"{folder}: no commit has {', '.join(since)}; make a clone of the whole repository")
    with tarfile.open(fileobj=io.BytesIO(_elsewhere(folder, "archive", "--format=tar", commit, "--", *paths))) as tar:
        return {each.name: file.read() for each in tar if (file := tar.extractfile(each)) is not None}


def _elsewhere(folder: Path, *args: str) -> bytes:
    """Return what Git prints in another folder; the variables of a hook would lead back to the one that called it."""
    environment = {name: value for name, value in os.environ.items() if name not in HOOKS}
    command = ["git", "-C", str(folder), *args]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
    except FileNotFoundError as error:
        raise MeritError("git: not found on PATH; install it") from error
    if done.returncode:
        raise MeritError(f"git {args[0]}: {folder}: {_line(done.stderr.decode(**TEXT))}")
    return done.stdout


def main() -> str | None:
    """Return the tip of main: the later one of main here and main at origin as fetched last, or None without either.

    Where the two went apart, origin's counts.
    """
    tips = [tip for branch in MAIN if (tip := resolve(branch))]
    if len(tips) == 2 and git("merge-base", "--is-ancestor", tips[1], tips[0]) is not None:
        return tips[0]
    return tips[-1] if tips else None


def is_on(commit: str, branch: str) -> bool:
    """Say whether a branch's history has a commit."""
    return git("merge-base", "--is-ancestor", commit, branch) is not None


def has_origin() -> bool:
    """Say whether the repository has the remote `origin`."""
    return ORIGIN in (git("remote") or "").splitlines()


def is_shallow() -> bool:
    """Say whether history was cut off when this repository was cloned; its tags were mostly not fetched either."""
    return git("rev-parse", "--is-shallow-repository") == "true"


def how_to_fetch() -> str:
    """Return the command that brings the tags, and the history, that are not here."""
    return "'git fetch --unshallow --tags'" if is_shallow() else "'git fetch --tags'"


def tag(name: str, message: str, commit: str = "HEAD") -> bool:
    """Make an annotated tag; False if there is one of that name.

    Raises:
        MeritError: Git does not make it, such as for nobody has told it who we are.
    """
    done = _run("tag", "--annotate", "--cleanup=verbatim", "--file=-", name, commit, told=message)
    if done.returncode == 0:
        return True
    if tag_object(name):
        return False
    check_identity()
    raise MeritError(f"git tag {name}: {_line(done.stderr)}")


def check_identity() -> None:
    """Check that Git knows who makes a tag.

    Raises:
        MeritError: it does not.
    """
    if _run("var", "GIT_COMMITTER_IDENT").returncode != 0:
        raise MeritError("git tag: Git doesn't know who you are; set user.name and user.email by 'git config'")


def drop_tag(name: str) -> None:
    """Remove a tag here; at the remote it stays."""
    git("update-ref", "-d", f"refs/tags/{name}")


def tag_object(name: str) -> str | None:
    """Return the object that a tag is, or None if there is none of that name."""
    return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/tags/{name}")


def tag_at_origin(name: str) -> str | None:
    """Return the object that a tag of origin is, or None if origin has none of that name.

    Raises:
        MeritError: origin can't be reached after some tries.
    """
    reason = ""
    for wait in (*WAITS, None):
        done = _run("ls-remote", ORIGIN, f"refs/tags/{name}", patience=PATIENCE)
        if done.returncode == 0:
            return done.stdout.split()[0] if done.stdout else None
        reason = _line(done.stderr)
        if wait is not None:
            time.sleep(wait)
    raise MeritError(f"git ls-remote {ORIGIN}: tried {len(WAITS) + 1} times: {reason}; try again when it answers")


def push_tag(name: str) -> bool:
    """Bring a tag to origin, never by force; False if origin has another one of that name. Without origin it is there.

    Raises:
        MeritError: origin can't be reached, or takes no tag of ours, after some tries.
    """
    if not has_origin():
        return True
    reason = ""
    for wait in (*WAITS, None):
        done = _run("push", "--quiet", ORIGIN, f"refs/tags/{name}", patience=PATIENCE)
        if done.returncode == 0:
            return True
        found = _run("ls-remote", ORIGIN, f"refs/tags/{name}", patience=PATIENCE)
        if found.returncode == 0 and found.stdout:
            return found.stdout.split()[0] == tag_object(name)
        reason = _line(done.stderr)
        if wait is not None:
            time.sleep(wait)
    raise MeritError(f"git push {ORIGIN} {name}: tried {len(WAITS) + 1} times: {reason}; try again when it answers")


def fetch_tags() -> None:
    """Bring the tags and branches of origin here, if there is one.

    Raises:
        MeritError: origin can't be reached after some tries, or a tag here is not the one of that name there.
    """
    if not has_origin():
        return
    reason = ""
    for wait in (*WAITS, None):
        done = _run("fetch", "--tags", ORIGIN, patience=PATIENCE)
        if done.returncode == 0:
            return
        if "would clobber" in done.stderr:
            names = re.findall(r"-> +(\S+) +\(would clobber", done.stderr)
            raise MeritError(
                f"git fetch: the tags {', '.join(names)} differ from those at {ORIGIN}; a version's tag never "
                "moves: find out who moved it, then delete the wrong one by 'git tag -d'"
            )
        reason = _line(done.stderr)
        if wait is not None:
            time.sleep(wait)
    raise MeritError(f"git fetch {ORIGIN}: tried {len(WAITS) + 1} times: {reason}; try again when it answers")


def _run(*args: str, told: str | None = None, patience: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run Git, which asks nobody for a password; `told` is its standard input."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", *args]
    try:
        return subprocess.run(
            command, input=told, capture_output=True, check=False, env=environment, timeout=patience, **TEXT
        )
    except FileNotFoundError as error:
        raise MeritError("git: not found on PATH; install it") from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {patience:g} seconds")


def _line(text: str) -> str:
    return " ".join(text.split())[:300] or "no reason given"
