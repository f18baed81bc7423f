"""What merit asks Git: where we stand, where we would merge into, and what a file said there."""

import subprocess
from pathlib import Path

from merit.errors import MeritError


def git(*args: str) -> str | None:
    """Return what `git ARGS` prints, or None where it fails (no repository, no such ref, no such file)."""
    try:
        done = subprocess.run(["git", *args], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise MeritError("git: not found on PATH; install it") from error
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


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
    """Return the commit that this branch would merge into: its merge base with main, origin's if there is one."""
    for branch in ("origin/main", "main"):
        if resolve(branch) and (base := git("merge-base", "HEAD", branch)):
            return base
    return head()


def show(commit: str, path: Path) -> str | None:
    """Return the text of a file as of `commit`, or None if it was not there."""
    return git("show", f"{commit}:./{path.as_posix()}")
