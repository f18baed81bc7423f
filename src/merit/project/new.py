"""new: a Git repository for a model of one's own, which depends on merit as a library."""

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
"""`{name, files: {path: sha256}}`: the project's name, and the files that merit gave it, as it gave them."""
NAME = r"[a-z][a-z0-9_-]*"


@dataclass(frozen=True)
class Made:
    """A new project.

    Attributes:
        folder: where it is.
        files: how many it has.
        commit: its first commit; None if Git made none.
        reason: why Git made none.
        source: where its clone installs merit from; None if that is an index.
    """

    folder: Path
    files: int
    commit: str | None
    reason: str
    source: str | None


def new(folder: Path, name: str | None = None) -> Made:
    """Make a project in `folder`, whole or not at all.

    Args:
        folder: where; it must not exist, or be empty.
        name: the project's name, by default that of the folder.

    Raises:
        MeritError: the folder or the name can't be had, or Git is not there; nothing was changed.
    """
    place = folder.resolve()
    _require_free(folder, place)
    name = _checked_name(name, place)
    git.run_git("--version")  # before any work
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
    # A package of that name would hide one that merit needs, or be hidden by it.
    if found in sys.stdlib_module_names or found == "merit" or found in _installed():
        raise MeritError(f"--name: found {found!r}, which is a Python package's; give another")
    return found


@cache
def _installed() -> frozenset[str]:
    """Return the names that installed packages can be imported by; to read them all takes a second."""
    return frozenset(importlib.metadata.packages_distributions())


def origin() -> str | None:
    """Return where pip can install the merit that is running; None if that is an index."""
    if library.is_source_checkout(root := library.find_template_root()):
        return str(root)
    text = importlib.metadata.distribution("merit-ml").read_text("direct_url.json")
    return None if text is None else _requirement(json.loads(text))


def _requirement(direct: dict[str, Any]) -> str:
    """Return what pip takes for what it has written into direct_url.json."""
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
    """Say whether a file stays merit's to renew: conf/ is the user's from the start."""
    return not path.startswith(f"{artifacts.CONF}/")


def record(name: str, digests: dict[str, str]) -> str:
    """Return the text of the record."""
    return json.dumps({"name": name, "files": digests}, indent=2) + "\n"


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(path: Path, text: str) -> None:
    """Write a file of a folder that is still aside: it takes its place as a whole, so no file needs to by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    _run_if_program(path, text)


def write(path: Path, text: str) -> None:
    """Write a file; what begins as a program can be run."""
    artifacts.write_text(path, text)
    _run_if_program(path, text)


def _run_if_program(path: Path, text: str) -> None:
    if text.startswith("#!"):
        path.chmod(0o755)


def _first_commit(folder: Path, source: str | None) -> tuple[str | None, str]:
    """Commit everything with the identity that Git has; return the commit, or None and why there is none."""
    here = ("-C", str(folder))
    for name in git.HOOK_VARIABLES:  # they would lead to another repository
        os.environ.pop(name, None)
    git.run_git(*here, "init", "--quiet", "--initial-branch", "main")
    if source is not None:
        git.run_git(*here, "config", "merit.source", source)  # of this clone: no path of this machine is committed
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
