"""Creates a Git repository for a model that uses merit as a library (`merit new`)."""

import hashlib
import importlib.metadata
import json
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from merit import artifacts, git
from merit.config import library
from merit.config import lock as locks
from merit.config.compose import compose
from merit.errors import MeritError
from merit.project import files

RECORD = Path(".merit-project.json")
"""`{name, files: {path: sha256}}`: the project's name, and the hash of each file that merit wrote into it."""
NAME = r"[a-z][a-z0-9_-]*"


@dataclass(frozen=True)
class Made:
    """The result of `new`.

    Attributes:
        folder: the project's folder, as typed.
        files: the number of its files.
        commit: the SHA of its first commit; None if Git refused to commit.
        reason: why Git refused; empty otherwise.
        source: where the project installs merit from; None for a package index.
    """

    folder: Path
    files: int
    commit: str | None
    reason: str
    source: str | None


def new(folder: Path, name: str | None = None) -> Made:
    """Create a project in `folder`; an error leaves nothing behind.

    Args:
        folder: the project's folder; it must not exist or must be empty.
        name: the project's name; None for the folder's name.

    Raises:
        MeritError: the folder or the name can't be used, or Git is not installed; nothing was changed.
    """
    place = folder.resolve()
    _require_free(folder, place)
    name = _checked_name(name, place)
    git.run_git("--version")  # fails early if Git is not installed
    source = origin()
    with artifacts.written_aside(place) as aside:
        _fill(aside, name)
        count = sum(1 for path in aside.rglob("*") if path.is_file())
        commit, reason = _first_commit(aside, source)
    return Made(folder, count, commit, reason, source)


def _require_free(folder: Path, place: Path) -> None:
    if place == Path.cwd():
        raise MeritError(f"{folder}: is the folder that you are in; run 'merit new' beside it")
    above = next((each for each in place.parents if each.exists()), place)
    if not above.is_dir():
        raise MeritError(f"{folder}: '{above.name}' is a file, no folder; name another place")
    try:
        if not place.exists():
            return
        if not place.is_dir():
            raise MeritError(f"{folder}: is a file; name a folder that is empty or not there yet")
        if any(place.iterdir()):
            raise MeritError(f"{folder}: is not empty; name a folder that is empty or not there yet")
    except OSError as error:
        raise MeritError(f"{folder}: can't be read: {error.strerror}; name another folder") from error


def _checked_name(name: str | None, place: Path) -> str:
    found = place.name.lower() if name is None else name
    if not re.fullmatch(NAME, found):
        raise MeritError(
            f"--name: found {found!r}; allowed: a small letter, then small letters, digits, '-' and '_'; give one"
        )
    # The project's package of that name would shadow an installed one, or be shadowed by it.
    if found in sys.stdlib_module_names or found == "merit" or found in _installed():
        raise MeritError(f"--name: found {found!r}, which is a Python package's; give another")
    return found


@cache
def _installed() -> frozenset[str]:
    """Return the import names of the installed packages; cached, for reading them takes a second."""
    return frozenset(importlib.metadata.packages_distributions())


def origin() -> str | None:
    """Return the source from which pip can install the running merit; None if it came from a package index."""
    if library.is_source_checkout(root := library.find_template_root()):
        return str(root)
    text = importlib.metadata.distribution("merit-ml").read_text("direct_url.json")
    return None if text is None else _requirement(json.loads(text))


def _requirement(direct: dict[str, Any]) -> str:
    """Return the pip requirement for the content of a direct_url.json (PEP 610)."""
    url = str(direct["url"])
    if "vcs_info" in direct:
        return f"merit-ml @ {direct['vcs_info']['vcs']}+{url}@{direct['vcs_info']['commit_id']}"
    return unquote(urlsplit(url).path) if url.startswith("file:") else f"merit-ml @ {url}"


def _fill(folder: Path, name: str) -> None:
    given = files.taken()
    for path, text in {**given, **files.written(name)}.items():
        _begin(folder / path, text)
    locked = compose(conf=folder / artifacts.CONF)
    _begin(folder / artifacts.LOCK, locks.render_lock(locked))
    _begin(folder / RECORD, record(name, {path: digest(text) for path, text in given.items() if is_given(path)}))


def is_given(path: str) -> bool:
    """Return whether `merit upgrade` may replace a file: not those of conf/, which belong to the user."""
    return not path.startswith(f"{artifacts.CONF}/")


def record(name: str, digests: dict[str, str]) -> str:
    """Return the text of the record file."""
    return json.dumps({"name": name, "files": digests}, indent=2) + "\n"


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(path: Path, text: str) -> None:
    """Write a file into the temporary folder, which is moved as a whole, so that the file needs no atomic write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    _run_if_program(path, text)


def write(path: Path, text: str) -> None:
    """Write a file atomically; one that starts with `#!` becomes executable."""
    artifacts.write_text(path, text)
    _run_if_program(path, text)


def _run_if_program(path: Path, text: str) -> None:
    if text.startswith("#!"):
        path.chmod(0o755)


def _first_commit(folder: Path, source: str | None) -> tuple[str | None, str]:
    """Commit everything with Git's configured identity; return the commit, or None and the reason."""
    here = ("-C", str(folder))
    for name in git.HOOK_VARIABLES:  # set inside a Git hook, they would point Git at another repository
        os.environ.pop(name, None)
    git.run_git(*here, "init", "--quiet", "--initial-branch", "main")
    if source is not None:
        git.run_git(
            *here, "config", "merit.source", source
        )  # local to this clone, so that no path of this machine is committed
    git.run_git(*here, "add", "--all")
    if not _has_identity(here):
        return None, "Git has no user.name and user.email; set them, then 'git commit'"
    try:
        refused = git.run_git(*here, "commit", "--quiet", "--message", "A project made by merit new") is None
    except MeritError as error:
        return None, str(error)
    return (None, "a hook refused it") if refused else (git.run_git(*here, "rev-parse", "HEAD"), "")


def _has_identity(here: tuple[str, str]) -> bool:
    try:
        return git.run_git(*here, "var", "GIT_COMMITTER_IDENT") is not None
    except MeritError:
        return False
