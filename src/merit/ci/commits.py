"""Creates commits and branches through GitHub's API, so that a job with write access checks out and runs no code."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from merit.errors import MeritError, Refused
from merit.github import Api, ApiError

MOST_BYTES = 1_000_000


def texts(folder: Path, names: list[str]) -> dict[str, str]:
    """Return the texts of files that another job produced, by name.

    Raises:
        MeritError: a file is missing, not a plain file, too large, or not UTF-8.
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
    """Create a commit that changes only these files of `parent`; return its sha. No branch points to it yet."""
    tree = api.call("GET", f"git/commits/{parent}")["tree"]["sha"]
    entries = [{"path": path, "mode": "100644", "type": "blob", "content": text} for path, text in files.items()]
    changed = api.call("POST", "git/trees", {"base_tree": tree, "tree": entries})["sha"]
    made = api.call("POST", "git/commits", {"message": message, "tree": changed, "parents": [parent]})
    return str(made["sha"])


def forward(api: Api, branch: str, sha: str) -> None:
    """Fast-forward a branch to a commit.

    Raises:
        Refused: the branch has moved on, so the commit, computed for the previous tip, doesn't apply.
    """
    try:
        api.call("PATCH", f"git/refs/heads/{quote(branch)}", {"sha": sha, "force": False})
    except ApiError as error:
        if error.status == 422:
            raise Refused(f"{branch}: was pushed to while its lock was computed; ask for the lock again") from error
        raise


def start(api: Api, branch: str, sha: str) -> None:
    """Create a branch at a commit.

    Raises:
        Refused: a branch of that name exists.
    """
    try:
        api.call("POST", "git/refs", {"ref": f"refs/heads/{branch}", "sha": sha}, tries=1)
    except ApiError as error:
        if error.status == 422:
            raise Refused(f"{branch}: there is a branch of that name; merge or delete it, or take another") from error
        raise
