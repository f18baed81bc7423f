"""Checks of the repository: the files of conf/, the data's source, Git, its remote, and Git LFS."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from merit import artifacts, git
from merit.config.schema import Lock
from merit.data import inputs
from merit.doctor.finding import Finding
from merit.errors import ConfigError
from merit.git.lfs import is_pointer


def conf_files() -> Iterator[Finding]:
    """Check every file of conf/; a run reads only the selected ones, so errors in others go unnoticed."""
    from merit.config.compose import check_all

    if not artifacts.CONF.is_dir():
        return
    try:
        yield Finding("conf files", "ok", f"{check_all()} files, without a fault")
    except ConfigError as error:
        more = f" and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
        problem = f"{error.problems[0]}{more}"
        yield Finding(
            "conf files", "broken", problem, "'merit compose --check' tells all; a file that nobody chose stops no run"
        )


def source(lock: Lock | None) -> Iterator[Finding]:
    """Check that the data source's files are in Git or tracked by DVC, so that another clone has them.

    Custom sources are skipped: checking one would run its code.
    """
    if lock is None or not lock.data.source.target.startswith("merit."):
        return
    if missing := inputs.missing_inputs(lock):
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield Finding("source", "missing", f"{missing[0]}{more}", "another clone can't run without it")
    elif paths := inputs.source_files(lock):
        yield Finding("source", "ok", f"{', '.join(map(str, paths[:3]))}: in Git, or tracked by DVC")


def git_itself() -> Iterator[Finding]:
    """Check Git, the repository, the committer's identity and the branch main."""
    if shutil.which("git") is None:
        yield Finding("git", "missing", "not found on PATH", "install it")
    elif git.git("rev-parse", "--git-dir") is None:
        yield Finding("git", "missing", "this is no repository", "'git init --initial-branch=main', then commit")
    elif lacking := [key for key in ("user.name", "user.email") if not git.git("config", key)]:
        told = " and ".join(lacking)
        yield Finding(
            "git", "missing", f"{told} not set", f"'git config {lacking[0]} ...'; versions are signed with it"
        )
    elif git.head() is None:
        yield Finding("git", "missing", "no commit yet", "commit: every version is one of a commit")
    elif not any(map(git.resolve, git.MAIN)):
        yield Finding("git", "missing", "no branch main, here or at origin", "name it main: candidates merge into it")
    else:
        yield Finding("git", "ok", f"on {git.git('branch', '--show-current') or 'no branch'}, with a main")


def origin() -> str | None:
    """Return the URL of origin, to which versions are pushed; None if there is none."""
    return _said("config", "--get", "remote.origin.url")


def remote() -> Iterator[Finding]:
    """Check that origin answers."""
    url = origin()
    if url is None:
        yield Finding("git remote", "note", "no 'origin'", "versions and environments are then this clone's alone")
        return
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    command = ["git", "ls-remote", "--quiet", "origin", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=4.5, env=environment)
    except subprocess.TimeoutExpired:
        yield Finding("git remote", "missing", f"{url} does not answer", "see that it is up, and reachable")
        return
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        yield Finding("git remote", "missing", f"{url}: {reason}", "correct 'origin', or your access to it")
    else:
        yield Finding("git remote", "ok", f"{url} answers")


def lfs() -> Iterator[Finding]:
    """Check that the files in Git LFS are downloaded; yield nothing if the repository has no such files."""
    kept = _kept_by_lfs()
    if not kept:
        return
    if shutil.which("git-lfs") is None:
        yield Finding("git lfs", "missing", f"{len(kept)} files are kept by it", "install it (Debian: git-lfs)")
    elif away := [path for path in kept if path.is_file() and is_pointer(path)]:
        told = f"{len(away)} of {len(kept)} files are pointers, such as {away[0]}"
        yield Finding("git lfs", "missing", told, "'git lfs pull' brings them")
    else:
        yield Finding("git lfs", "ok", f"all {len(kept)} files that it keeps are here")


def _kept_by_lfs() -> list[Path]:
    listed = _said("ls-files", "-z", "--", ".") if Path(".gitattributes").is_file() else None
    if not listed:
        return []
    command = ["git", "check-attr", "--stdin", "-z", "filter"]
    done = subprocess.run(command, input=listed, capture_output=True, text=True, check=False, timeout=4.5)
    fields = done.stdout.split("\0")
    return [Path(path) for path, value in zip(fields[::3], fields[2::3], strict=False) if value == "lfs"]


def _said(*args: str) -> str | None:
    """Return Git's output; None if it fails or isn't installed, which `git_itself` reports."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", *args], capture_output=True, text=True, check=False, timeout=4.5)
    return done.stdout.strip("\n") if done.returncode == 0 else None
