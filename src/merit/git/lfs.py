"""Detects Git LFS pointers: small files that stand in for large ones until `git lfs pull` downloads those."""

from pathlib import Path

from merit.errors import MeritError

_BEGINNING = b"version https://git-lfs.github.com/spec/"
REMEDY = "'git lfs pull' brings it (Debian: git-lfs)"


def is_pointer(path: Path) -> bool:
    """Return whether a file is a Git LFS pointer instead of the data."""
    with path.open("rb") as handle:
        return handle.read(len(_BEGINNING)) == _BEGINNING


def refuse_pointer(path: Path, what: str) -> None:
    """Check that a file is not a Git LFS pointer.

    Raises:
        MeritError: it is a pointer; the message begins with `what`.
    """
    if is_pointer(path):
        raise MeritError(f"{what}: found a pointer of Git LFS, not the data; {REMEDY}")
