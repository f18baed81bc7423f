"""Creates commits and branches through GitHub's API, so that a job with write access checks out and runs no code."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from merit.errors import MeritError, Refused
from merit.github import GitHubApi, GitHubError

MAX_FILE_BYTES = 1_000_000


def read_texts(folder: Path, names: list[str]) -> dict[str, str]:
    """Return the texts of files that another job produced, by name.

    Raises:
        MeritError: a file is missing, not a plain file, too large, or not UTF-8.
    """
    contents = {}
    for name in names:
        file = folder / name
        if file.is_symlink() or not file.is_file() or file.stat().st_size > MAX_FILE_BYTES:
            raise MeritError(
                f"{file}: must be a plain file of at most {MAX_FILE_BYTES:,} bytes; the job before makes it"
            )
        try:
            contents[name] = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise MeritError(f"{file}: not UTF-8; the job before makes it") from error
    return contents


def create_commit(api: GitHubApi, parent: str, files: Mapping[str, str], message: str) -> str:
    """Create a commit that changes only these files of `parent`; return its sha. No branch points to it yet."""
    base_tree = api.send_request("GET", f"git/commits/{parent}")["tree"]["sha"]
    entries = [{"path": path, "mode": "100644", "type": "blob", "content": text} for path, text in files.items()]
    new_tree = api.send_request("POST", "git/trees", {"base_tree": base_tree, "tree": entries})["sha"]
    created = api.send_request("POST", "git/commits", {"message": message, "tree": new_tree, "parents": [parent]})
    return str(created["sha"])


def fast_forward(api: GitHubApi, branch: str, sha: str) -> None:
    """Fast-forward a branch to a commit.

    Raises:
        Refused: the branch has moved on, so the commit, computed for the previous tip, doesn't apply.
    """
    try:
        api.send_request("PATCH", f"git/refs/heads/{quote(branch)}", {"sha": sha, "force": False})
    except GitHubError as error:
        if error.status == 422:
            raise Refused(f"{branch}: was pushed to while its lock was computed; ask for the lock again") from error
        raise


def create_branch(api: GitHubApi, branch: str, sha: str) -> None:
    """Create a branch at a commit.

    Raises:
        Refused: a branch of that name exists.
    """
    try:
        api.send_request("POST", "git/refs", {"ref": f"refs/heads/{branch}", "sha": sha}, tries=1)
    except GitHubError as error:
        if error.status == 422:
            raise Refused(f"{branch}: there is a branch of that name; merge or delete it, or take another") from error
        raise
