"""What merit asks Git: where we stand, where we would merge into, and what a file said there."""

import subprocess
from pathlib import Path

from merit.errors import MeritError

MAIN = ("main", "origin/main")
NO_REPOSITORY = "not a git repository"


def git(*args: str) -> str | None:
    """Return what `git ARGS` prints, or None if it says no or there is no repository.

    Raises:
        MeritError: Git is not there, or won't answer; what it would have said is not known then.
    """
    try:
        done = subprocess.run(["git", *args], capture_output=True, text=True, check=False)
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


def tag(name: str, message: str, commit: str = "HEAD") -> None:
    """Make an annotated tag on a commit. To be replaced."""
    git("tag", "--annotate", "--cleanup=verbatim", "--message", message, name, commit)


def fetch_tags() -> None:
    """Bring the tags of origin, if there is one. To be replaced."""
    if "origin" in (git("remote") or "").split():
        git("fetch", "--quiet", "--tags", "origin")


def push_tag(name: str) -> bool:
    """Push a tag to origin, if there is one; say whether origin had none of that name. To be replaced."""
    if "origin" not in (git("remote") or "").split():
        return True
    done = subprocess.run(["git", "push", "--quiet", "origin", f"refs/tags/{name}"], capture_output=True, check=False)
    return done.returncode == 0
