"""Git LFS: large files of which Git keeps a pointer, until `git lfs pull` brings what it points to."""

from pathlib import Path

from merit.errors import MeritError

_BEGINNING = b"version https://git-lfs.github.com/spec/"
REMEDY = "'git lfs pull' brings it (Debian: git-lfs)"


def is_pointer(path: Path) -> bool:
    """Say whether a file is a pointer of Git LFS in place of what it points to."""
    with path.open("rb") as handle:
        return handle.read(len(_BEGINNING)) == _BEGINNING


def refuse_pointer(path: Path, what: str) -> None:
    """Do nothing if a file is data.

    Raises:
        MeritError: it is a pointer of Git LFS; `what` begins the line.
    """
    if is_pointer(path):
        raise MeritError(f"{what}: found a pointer of Git LFS, not the data; {REMEDY}")
