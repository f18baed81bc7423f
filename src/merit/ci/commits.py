"""Commits made through the API: nothing is checked out where there are rights to write, and nothing can be run."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from merit.errors import MeritError, Refused
from merit.github import Api, ApiError

MOST_BYTES = 1_000_000


def texts(folder: Path, names: list[str]) -> dict[str, str]:
    """Return the texts of files that another job made.

    Raises:
        MeritError: one is not there, no plain file, too large, or not UTF-8.
    """
    found = {}
    for name in names:
        file = folder / name
        if file.is_symlink() or not file.is_file() or file.stat().st_size > MOST_BYTES:
            raise MeritError(f"{file}: must be a plain file of at most {MOST_BYTES:,} bytes; the job before makes it")
        try:
            found[name] = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise MeritError(f"{file}: not UTF-8; the job before makes it") from error
    return found


def commit(api: Api, parent: str, files: Mapping[str, str], message: str) -> str:
    """Make a commit that differs from `parent` in these files alone; no branch has it yet."""
    tree = api.call("GET", f"git/commits/{parent}")["tree"]["sha"]
    entries = [{"path": path, "mode": "100644", "type": "blob", "content": text} for path, text in files.items()]
    changed = api.call("POST", "git/trees", {"base_tree": tree, "tree": entries})["sha"]
    made = api.call("POST", "git/commits", {"message": message, "tree": changed, "parents": [parent]})
    return str(made["sha"])


def forward(api: Api, branch: str, sha: str) -> None:
    """Let a branch point to a commit that follows its tip.

    Raises:
        Refused: the branch has moved on; what was made for its former tip is not for this one.
    """
    try:
        api.call("PATCH", f"git/refs/heads/{quote(branch)}", {"sha": sha, "force": False})
    except ApiError as error:
        if error.status == 422:
            raise Refused(f"{branch}: was pushed to while its lock was computed; ask for the lock again") from error
        raise


def start(api: Api, branch: str, sha: str) -> None:
    """Make a branch.

    Raises:
        Refused: there is one of that name.
    """
    try:
        api.call("POST", "git/refs", {"ref": f"refs/heads/{branch}", "sha": sha}, tries=1)
    except ApiError as error:
        if error.status == 422:
            raise Refused(f"{branch}: there is a branch of that name; merge or delete it, or take another") from error
        raise
