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


class TextOptions(TypedDict):
    """Arguments that decode the output of a subprocess."""

    encoding: str
    errors: str


MAIN_BRANCHES = ("main", "origin/main")
ORIGIN = "origin"
HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
"""Variables that Git sets in hooks; they would direct a command to the hook's repository."""
NO_REPOSITORY_TEXT = "not a git repository"
RETRY_WAITS_S = (1.0, 3.0)
"""Seconds between attempts to reach a remote; there is one more attempt than waits."""
REMOTE_TIMEOUT_S = 120.0
"""Timeout in seconds of one exchange with a remote."""
REPLACEMENT_CHARACTER = "\ufffd"
"""The replacement for bytes that are not UTF-8: history can't be corrected, so they must not make output unreadable."""
TEXT_OPTIONS: TextOptions = {"encoding": "utf-8", "errors": "replace"}


def run_git(*args: str) -> str | None:
    """Return the output of `git ARGS`; None if it exits with 1 ("no") or there is no repository.

    Raises:
        MeritError: Git is not installed or fails otherwise, so the answer is unknown.
    """
    try:
        process = subprocess.run(["git", *args], capture_output=True, check=False, **TEXT_OPTIONS)
    except FileNotFoundError as error:
        raise MeritError("git: not found on PATH; install it") from error
    if process.returncode == 0:
        return process.stdout.rstrip("\n")
    no_repository = NO_REPOSITORY_TEXT in process.stderr and not Path(".git").exists()
    if process.returncode == 1 or no_repository:
        return None
    raise MeritError(f"git {args[0]}: {' '.join(process.stderr.split())[:300]}")


def get_head() -> str | None:
    """Return the commit that is checked out; None if there is no commit yet."""
    return run_git("rev-parse", "--verify", "--quiet", "HEAD")


def is_dirty() -> bool:
    """Return whether tracked files differ from HEAD; untracked files don't count."""
    return bool(run_git("status", "--porcelain", "--untracked-files=no"))


def resolve_commit(ref: str) -> str | None:
    """Return the commit that a branch, tag or commit names; None if there is none."""
    return run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")


def find_target_commit() -> str | None:
    """Return the merge base of HEAD and main: the latest commit shared with the local main or origin's.

    In a repository without a main and without a remote it is HEAD.

    Raises:
        MeritError: the shared history was not fetched.
    """
    branches = [branch for branch in MAIN_BRANCHES if resolve_commit(branch)]
    merge_bases = [base for branch in branches if (base := run_git("merge-base", "HEAD", branch))]
    if merge_bases:
        # Both are ancestors of HEAD: the later one is the descendant of the other.
        first, last = merge_bases[0], merge_bases[-1]
        return last if run_git("merge-base", "--is-ancestor", first, last) is not None else first
    if branches or run_git("remote"):
        raise MeritError("git: the history shared with main is not here; 'git fetch --unshallow origin main' brings it")
    return get_head()


def read_file(commit: str, path: Path) -> str | None:
    """Return the text of a file at a commit; None if it doesn't exist there."""
    name = path.as_posix()
    return run_git("show", f"{commit}:./{name}") if run_git("ls-tree", "--name-only", commit, "--", name) else None


def read_file_history(path: Path, revisions: Sequence[str], max_commits: int) -> list[str]:
    """Return the texts that a file has at the commits that changed it, latest first, by two processes in all.

    Args:
        path: the file, relative to the working directory.
        revisions: the commits whose history is read, as `git rev-list` takes them.
        max_commits: the most commits to read.

    Raises:
        MeritError: Git fails.
    """
    name = path.as_posix()
    commits = (run_git("rev-list", f"--max-count={max_commits}", *revisions, "--", name) or "").split()
    request = "".join(f"{commit}:./{name}\n" for commit in commits)
    process = _run_process("cat-file", "--batch", standard_input=request)
    if process.returncode:
        raise MeritError(f"git cat-file: {_format_line(process.stderr)}")
    return re.split(r"(?m)^[0-9a-f]{40,64} blob \d+\n", process.stdout)[1:]


def read_committed_files(folder: Path, paths: Sequence[str], since: Sequence[str]) -> dict[str, bytes]:
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
    commit = _run_in_folder(folder, "log", "-1", "--format=%H", "HEAD", "--", *since).decode().strip()
    if not commit:
        raise MeritError(f"{folder}: no commit has {', '.join(since)}; make a clone of the whole repository")
    with tarfile.open(
        fileobj=io.BytesIO(_run_in_folder(folder, "archive", "--format=tar", commit, "--", *paths))
    ) as tar:
        return {each.name: file.read() for each in tar if (file := tar.extractfile(each)) is not None}


def _run_in_folder(folder: Path, *args: str) -> bytes:
    """Return Git's output in another folder; hook variables are removed, as they would select the wrong repository."""
    environment = {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}
    command = ["git", "-C", str(folder), *args]
    try:
        process = subprocess.run(command, capture_output=True, check=False, env=environment)
    except FileNotFoundError as error:
        raise MeritError("git: not found on PATH; install it") from error
    if process.returncode:
        raise MeritError(f"git {args[0]}: {folder}: {_format_line(process.stderr.decode(**TEXT_OPTIONS))}")
    return process.stdout


def find_main_tip() -> str | None:
    """Return the tip of main: the later of the local main and the last fetched origin/main; None without either.

    If the two have diverged, origin's is returned.
    """
    tips = [tip for branch in MAIN_BRANCHES if (tip := resolve_commit(branch))]
    if len(tips) == 2 and run_git("merge-base", "--is-ancestor", tips[1], tips[0]) is not None:
        return tips[0]
    return tips[-1] if tips else None


def is_on_branch(commit: str, branch: str) -> bool:
    """Return whether a branch contains a commit."""
    return run_git("merge-base", "--is-ancestor", commit, branch) is not None


def has_origin() -> bool:
    """Return whether the repository has the remote `origin`."""
    return ORIGIN in (run_git("remote") or "").splitlines()


def is_shallow() -> bool:
    """Return whether this is a shallow clone; shallow clones usually lack tags too."""
    return run_git("rev-parse", "--is-shallow-repository") == "true"


def suggest_fetch_command() -> str:
    """Return the command that fetches the missing tags, and the missing history of a shallow clone."""
    return "'git fetch --unshallow --tags'" if is_shallow() else "'git fetch --tags'"


def create_tag(name: str, message: str, commit: str = "HEAD") -> bool:
    """Create an annotated tag; return False if the name is in use.

    Raises:
        MeritError: Git can't create it, for example because no user name is configured.
    """
    process = _run_process("tag", "--annotate", "--cleanup=verbatim", "--file=-", name, commit, standard_input=message)
    if process.returncode == 0:
        return True
    if get_tag_object(name):
        return False
    check_identity()
    raise MeritError(f"git tag {name}: {_format_line(process.stderr)}")


def check_identity() -> None:
    """Check that Git has a committer identity, which annotated tags need.

    Raises:
        MeritError: user.name or user.email is not set.
    """
    if _run_process("var", "GIT_COMMITTER_IDENT").returncode != 0:
        raise MeritError("git tag: Git doesn't know who you are; set user.name and user.email by 'git config'")


def delete_tag(name: str) -> None:
    """Delete a local tag; the remote's stays."""
    run_git("update-ref", "-d", f"refs/tags/{name}")


def get_tag_object(name: str) -> str | None:
    """Return the object id of a local tag; None if there is no such tag."""
    return run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"refs/tags/{name}")


def get_origin_tag_object(name: str) -> str | None:
    """Return the object id of a tag at origin; None if origin has no such tag.

    Raises:
        MeritError: origin can't be reached, after retries.
    """
    reason = ""
    for pause in (*RETRY_WAITS_S, None):
        process = _run_process("ls-remote", ORIGIN, f"refs/tags/{name}", timeout_s=REMOTE_TIMEOUT_S)
        if process.returncode == 0:
            return process.stdout.split()[0] if process.stdout else None
        reason = _format_line(process.stderr)
        if pause is not None:
            time.sleep(pause)
    raise MeritError(
        f"git ls-remote {ORIGIN}: tried {len(RETRY_WAITS_S) + 1} times: {reason}; try again when it answers"
    )


def push_tag(name: str) -> bool:
    """Push a tag to origin, never by force; return False if origin has a different tag of that name.

    Without a remote `origin` there is nothing to push, and the result is True.

    Raises:
        MeritError: origin can't be reached or rejects the tag, after retries.
    """
    if not has_origin():
        return True
    reason = ""
    for pause in (*RETRY_WAITS_S, None):
        process = _run_process("push", "--quiet", ORIGIN, f"refs/tags/{name}", timeout_s=REMOTE_TIMEOUT_S)
        if process.returncode == 0:
            return True
        listing = _run_process("ls-remote", ORIGIN, f"refs/tags/{name}", timeout_s=REMOTE_TIMEOUT_S)
        if listing.returncode == 0 and listing.stdout:
            return listing.stdout.split()[0] == get_tag_object(name)
        reason = _format_line(process.stderr)
        if pause is not None:
            time.sleep(pause)
    raise MeritError(
        f"git push {ORIGIN} {name}: tried {len(RETRY_WAITS_S) + 1} times: {reason}; try again when it answers"
    )


def fetch_tags() -> None:
    """Fetch the tags and branches of origin, if there is one.

    Raises:
        MeritError: origin can't be reached, after retries, or a local tag differs from origin's tag of that name.
    """
    if not has_origin():
        return
    reason = ""
    for pause in (*RETRY_WAITS_S, None):
        process = _run_process("fetch", "--tags", ORIGIN, timeout_s=REMOTE_TIMEOUT_S)
        if process.returncode == 0:
            return
        if "would clobber" in process.stderr:
            names = re.findall(r"-> +(\S+) +\(would clobber", process.stderr)
            raise MeritError(
                f"git fetch: the tags {', '.join(names)} differ from those at {ORIGIN}; a version's tag never "
                "moves: find out who moved it, then delete the wrong one by 'git tag -d'"
            )
        reason = _format_line(process.stderr)
        if pause is not None:
            time.sleep(pause)
    raise MeritError(f"git fetch {ORIGIN}: tried {len(RETRY_WAITS_S) + 1} times: {reason}; try again when it answers")


def _run_process(
    *args: str, standard_input: str | None = None, timeout_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Git without prompts for passwords; a timeout is returned as exit code 124.

    Args:
        args: Git's arguments.
        standard_input: its standard input.
        timeout_s: the timeout in seconds; None for no timeout.
    """
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", *args]
    try:
        return subprocess.run(
            command,
            input=standard_input,
            capture_output=True,
            check=False,
            env=environment,
            timeout=timeout_s,
            **TEXT_OPTIONS,
        )
    except FileNotFoundError as error:
        raise MeritError("git: not found on PATH; install it") from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout_s:g} seconds")


def _format_line(text: str) -> str:
    return " ".join(text.split())[:300] or "no reason given"
