"""Runs Git: resolves commits, finds the merge target, reads files at a commit, and creates, pushes and fetches tags."""

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
    """Arguments that decode the output of a subprocess."""

    encoding: str
    errors: str


MAIN = ("main", "origin/main")
ORIGIN = "origin"
HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
"""Variables that Git sets in hooks; they would direct a command to the hook's repository."""
NO_REPOSITORY = "not a git repository"
WAITS = (1.0, 3.0)
"""Seconds between attempts to reach a remote; there is one more attempt than waits."""
PATIENCE = 120.0
"""Timeout in seconds of one exchange with a remote."""
UNREADABLE = "\ufffd"
"""The replacement for bytes that are not UTF-8: history can't be corrected, so they must not make output unreadable."""
TEXT: Text = {"encoding": "utf-8", "errors": "replace"}


def git(*args: str) -> str | None:
    """Return the output of `git ARGS`; None if it exits with 1 ("no") or there is no repository.

    Raises:
        MeritError: Git is not installed or fails otherwise, so the answer is unknown.
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
    """Return the commit that is checked out; None if there is no commit yet."""
    return git("rev-parse", "--verify", "--quiet", "HEAD")


def is_dirty() -> bool:
    """Return whether tracked files differ from HEAD; untracked files don't count."""
    return bool(git("status", "--porcelain", "--untracked-files=no"))


def resolve(ref: str) -> str | None:
    """Return the commit that a branch, tag or commit names; None if there is none."""
    return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")


def target_commit() -> str | None:
    """Return the merge base of HEAD and main: the latest commit shared with the local main or origin's.

    In a repository without a main and without a remote it is HEAD.

    Raises:
        MeritError: the shared history was not fetched.
    """
    branches = [branch for branch in MAIN if resolve(branch)]
    shared = [base for branch in branches if (base := git("merge-base", "HEAD", branch))]
    if shared:
        # Both are ancestors of HEAD: the later one is the descendant of the other.
        first, last = shared[0], shared[-1]
        return last if git("merge-base", "--is-ancestor", first, last) is not None else first
    if branches or git("remote"):
        raise MeritError("git: the history shared with main is not here; 'git fetch --unshallow origin main' brings it")
    return head()


def show(commit: str, path: Path) -> str | None:
    """Return the text of a file at a commit; None if it doesn't exist there."""
    name = path.as_posix()
    return git("show", f"{commit}:./{name}") if git("ls-tree", "--name-only", commit, "--", name) else None


def committed(folder: Path, paths: Sequence[str], since: Sequence[str]) -> dict[str, bytes]:
    """Return the files of another repository at the last commit that changed one of the paths in `since`.

    Args:
        folder: a folder in the other repository; paths are relative to it.
        paths: the files and folders to read.
        since: the paths whose last change selects the commit.

    Returns:
        The content of each file, by its path.

    Raises:
        MeritError: no commit changed them, or the commit lacks a path.
    """
    commit = _elsewhere(folder, "log", "-1", "--format=%H", "HEAD", "--", *since).decode().strip()
    if not commit:
        raise MeritError(f"{folder}: no commit has {', '.join(since)}; make a clone of the whole repository")
    with tarfile.open(fileobj=io.BytesIO(_elsewhere(folder, "archive", "--format=tar", commit, "--", *paths))) as tar:
        return {each.name: file.read() for each in tar if (file := tar.extractfile(each)) is not None}


def _elsewhere(folder: Path, *args: str) -> bytes:
    """Return Git's output in another folder; hook variables are removed, as they would select the wrong repository."""
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
    """Return the tip of main: the later of the local main and the last fetched origin/main; None without either.

    If the two have diverged, origin's is returned.
    """
    tips = [tip for branch in MAIN if (tip := resolve(branch))]
    if len(tips) == 2 and git("merge-base", "--is-ancestor", tips[1], tips[0]) is not None:
        return tips[0]
    return tips[-1] if tips else None


def is_on(commit: str, branch: str) -> bool:
    """Return whether a branch contains a commit."""
    return git("merge-base", "--is-ancestor", commit, branch) is not None


def has_origin() -> bool:
    """Return whether the repository has the remote `origin`."""
    return ORIGIN in (git("remote") or "").splitlines()


def is_shallow() -> bool:
    """Return whether this is a shallow clone; shallow clones usually lack tags too."""
    return git("rev-parse", "--is-shallow-repository") == "true"


def how_to_fetch() -> str:
    """Return the command that fetches the missing tags, and the missing history of a shallow clone."""
    return "'git fetch --unshallow --tags'" if is_shallow() else "'git fetch --tags'"


def tag(name: str, message: str, commit: str = "HEAD") -> bool:
    """Create an annotated tag; return False if the name is in use.

    Raises:
        MeritError: Git can't create it, for example because no user name is configured.
    """
    done = _run("tag", "--annotate", "--cleanup=verbatim", "--file=-", name, commit, told=message)
    if done.returncode == 0:
        return True
    if tag_object(name):
        return False
    check_identity()
    raise MeritError(f"git tag {name}: {_line(done.stderr)}")


def check_identity() -> None:
    """Check that Git has a committer identity, which annotated tags need.

    Raises:
        MeritError: user.name or user.email is not set.
    """
    if _run("var", "GIT_COMMITTER_IDENT").returncode != 0:
        raise MeritError("git tag: Git doesn't know who you are; set user.name and user.email by 'git config'")


def drop_tag(name: str) -> None:
    """Delete a local tag; the remote's stays."""
    git("update-ref", "-d", f"refs/tags/{name}")


def tag_object(name: str) -> str | None:
    """Return the object id of a local tag; None if there is no such tag."""
    return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/tags/{name}")


def tag_at_origin(name: str) -> str | None:
    """Return the object id of a tag at origin; None if origin has no such tag.

    Raises:
        MeritError: origin can't be reached, after retries.
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
    """Push a tag to origin, never by force; return False if origin has a different tag of that name.

    Without a remote `origin` there is nothing to push, and the result is True.

    Raises:
        MeritError: origin can't be reached or rejects the tag, after retries.
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
    """Fetch the tags and branches of origin, if there is one.

    Raises:
        MeritError: origin can't be reached, after retries, or a local tag differs from origin's tag of that name.
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
    """Run Git without prompts for passwords; a timeout is returned as exit code 124.

    Args:
        args: Git's arguments.
        told: its standard input.
        patience: the timeout in seconds; None for no timeout.
    """
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
