"""Checks of the repository: the files of conf/, the data's source, Git, its remote, and Git LFS."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from merit import artifacts, git
from merit.config.schema import Lock
from merit.console.findings import Finding
from merit.data import input_files
from merit.errors import ConfigError
from merit.git.lfs import is_pointer


def check_conf_files() -> Iterator[Finding]:
    """Check every file of conf/; a run reads only the selected ones, so errors in others go unnoticed."""
    from merit.config.compose import check_conf

    if not artifacts.CONF.is_dir():
        return
    try:
        yield Finding("conf files", "ok", f"{check_conf()} files, without a fault")
    except ConfigError as error:
        remainder = f" and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
        problem = f"{error.problems[0]}{remainder}"
        yield Finding(
            "conf files", "broken", problem, "'merit compose --check' tells all; a file that nobody chose stops no run"
        )


def check_source(lock: Lock | None) -> Iterator[Finding]:
    """Check that the data source's files are in Git or tracked by DVC, so that another clone has them.

    Custom sources are skipped: checking one would run its code.
    """
    if lock is None or not lock.data.source.target.startswith("merit."):
        return
    if missing := input_files.find_missing_inputs(lock):
        remainder = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield Finding("source", "missing", f"{missing[0]}{remainder}", "another clone can't run without it")
    elif paths := input_files.list_source_files(lock):
        yield Finding("source", "ok", f"{', '.join(map(str, paths[:3]))}: in Git, or tracked by DVC")


def check_git() -> Iterator[Finding]:
    """Check Git, the repository, the committer's identity and the branch main."""
    if shutil.which("git") is None:
        yield Finding("git", "missing", "not found on PATH", "install it")
    elif git.run_git("rev-parse", "--git-dir") is None:
        yield Finding("git", "missing", "this is no repository", "'git init --initial-branch=main', then commit")
    elif missing := [key for key in ("user.name", "user.email") if not git.run_git("config", key)]:
        keys = " and ".join(missing)
        yield Finding(
            "git", "missing", f"{keys} not set", f"'git config {missing[0]} ...'; versions are signed with it"
        )
    elif git.get_head() is None:
        yield Finding("git", "missing", "no commit yet", "commit: every version is one of a commit")
    elif not any(map(git.resolve_commit, git.MAIN_BRANCHES)):
        yield Finding("git", "missing", "no branch main, here or at origin", "name it main: candidates merge into it")
    else:
        yield Finding("git", "ok", f"on {git.run_git('branch', '--show-current') or 'no branch'}, with a main")


def get_origin_url() -> str | None:
    """Return the URL of origin, to which versions are pushed; None if there is none."""
    return _run_git("config", "--get", "remote.origin.url")


def check_origin() -> Iterator[Finding]:
    """Check that origin answers."""
    url = get_origin_url()
    if url is None:
        yield Finding("git remote", "note", "no 'origin'", "versions and environments are then this clone's alone")
        return
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    command = ["git", "ls-remote", "--quiet", "origin", "HEAD"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=4.5, env=environment)
    except subprocess.TimeoutExpired:
        yield Finding("git remote", "missing", f"{url} does not answer", "see that it is up, and reachable")
        return
    if completed.returncode:
        reason = (completed.stderr.strip().splitlines() or ["no reason given"])[0]
        yield Finding("git remote", "missing", f"{url}: {reason}", "correct 'origin', or your access to it")
    else:
        yield Finding("git remote", "ok", f"{url} answers")


def check_lfs() -> Iterator[Finding]:
    """Check that the files in Git LFS are downloaded; yield nothing if the repository has no such files."""
    lfs_files = _list_lfs_files()
    if not lfs_files:
        return
    if shutil.which("git-lfs") is None:
        yield Finding("git lfs", "missing", f"{len(lfs_files)} files are kept by it", "install it (Debian: git-lfs)")
    elif pointers := [path for path in lfs_files if path.is_file() and is_pointer(path)]:
        message = f"{len(pointers)} of {len(lfs_files)} files are pointers, such as {pointers[0]}"
        yield Finding("git lfs", "missing", message, "'git lfs pull' brings them")
    else:
        yield Finding("git lfs", "ok", f"all {len(lfs_files)} files that it keeps are here")


def _list_lfs_files() -> list[Path]:
    listed = _run_git("ls-files", "-z", "--", ".") if Path(".gitattributes").is_file() else None
    if not listed:
        return []
    command = ["git", "check-attr", "--stdin", "-z", "filter"]
    completed = subprocess.run(command, input=listed, capture_output=True, text=True, check=False, timeout=4.5)
    fields = completed.stdout.split("\0")
    return [Path(path) for path, value in zip(fields[::3], fields[2::3], strict=False) if value == "lfs"]


def _run_git(*args: str) -> str | None:
    """Return Git's output; None if it fails or isn't installed, which `git_itself` reports."""
    if shutil.which("git") is None:
        return None
    completed = subprocess.run(["git", *args], capture_output=True, text=True, check=False, timeout=4.5)
    return completed.stdout.strip("\n") if completed.returncode == 0 else None
