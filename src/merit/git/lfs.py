"""Detects Git LFS pointers: small files that stand in for large ones until `git lfs pull` downloads those."""

from pathlib import Path

from merit.errors import MeritError

_POINTER_PREFIX = b"version https://git-lfs.github.com/spec/"
PULL_ADVICE = "'git lfs pull' brings it (Debian: git-lfs)"


def is_pointer(path: Path) -> bool:
    """Return whether a file is a Git LFS pointer instead of the data."""
    with path.open("rb") as handle:
        return handle.read(len(_POINTER_PREFIX)) == _POINTER_PREFIX


def refuse_pointer(path: Path, label: str) -> None:
    """Check that a file is not a Git LFS pointer.

    Raises:
        MeritError: it is a pointer; the message begins with `label`.
    """
    if is_pointer(path):
        raise MeritError(f"{label}: found a pointer of Git LFS, not the data; {PULL_ADVICE}")
