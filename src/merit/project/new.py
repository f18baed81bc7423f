"""Creates a Git repository for a model that uses merit as a library (`merit new`)."""

import hashlib
import importlib.metadata
import json
import os
import re
import sys
from contextlib import chdir
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from merit import artifacts, git
from merit.config import lock, merit_code
from merit.config.compose import compose
from merit.errors import MeritError
from merit.project import files

RECORD_FILE = Path(".merit-project.json")
"""`{name, files: {path: sha256}}`: the project's name, and the hash of each file that merit wrote into it."""
NAME_PATTERN = r"[a-z][a-z0-9_-]*"


@dataclass(frozen=True)
class NewProject:
    """The result of `create_project`.

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


def create_project(folder: Path, name: str | None = None) -> NewProject:
    """Create a project in `folder`; an error leaves nothing behind.

    Args:
        folder: the project's folder; it must not exist or must be empty.
        name: the project's name; None for the folder's name.

    Raises:
        MeritError: the folder or the name can't be used, or Git is not installed; nothing was changed.
    """
    project_folder = folder.resolve()
    _require_empty(folder, project_folder)
    name = _resolve_name(name, project_folder)
    git.run_git("--version")  # fails early if Git is not installed
    source = find_merit_source()
    with artifacts.write_atomically(project_folder) as temporary_folder:
        _write_files(temporary_folder, name)
        count = sum(1 for path in temporary_folder.rglob("*") if path.is_file())
        commit, reason = _create_first_commit(temporary_folder, source)
    return NewProject(folder, count, commit, reason, source)


def _require_empty(folder: Path, project_folder: Path) -> None:
    if project_folder == Path.cwd():
        raise MeritError(f"{folder}: is the folder that you are in; run 'merit new' beside it")
    existing_parent = next((parent for parent in project_folder.parents if parent.exists()), project_folder)
    if not existing_parent.is_dir():
        raise MeritError(f"{folder}: '{existing_parent.name}' is a file, no folder; name another place")
    try:
        if not project_folder.exists():
            return
        if not project_folder.is_dir():
            raise MeritError(f"{folder}: is a file; name a folder that is empty or not there yet")
        if any(project_folder.iterdir()):
            raise MeritError(f"{folder}: is not empty; name a folder that is empty or not there yet")
    except OSError as error:
        raise MeritError(f"{folder}: can't be read: {error.strerror}; name another folder") from error


def _resolve_name(name: str | None, project_folder: Path) -> str:
    project_name = project_folder.name.lower() if name is None else name
    if not re.fullmatch(NAME_PATTERN, project_name):
        raise MeritError(
            f"--name: found {project_name!r}; allowed: a small letter, then small letters, digits, '-' and '_'; give "
            "one"
        )
    # The project's package of that name would shadow an installed one, or be shadowed by it.
    if project_name in sys.stdlib_module_names or project_name == "merit" or project_name in _list_installed_names():
        raise MeritError(f"--name: found {project_name!r}, which is a Python package's; give another")
    return project_name


@cache
def _list_installed_names() -> frozenset[str]:
    """Return the import names of the installed packages; cached, for reading them takes a second."""
    return frozenset(importlib.metadata.packages_distributions())


def find_merit_source() -> str | None:
    """Return the source from which pip can install the running merit; None if it came from a package index."""
    if merit_code.is_source_checkout(root := merit_code.find_template_root()):
        return str(root)
    text = importlib.metadata.distribution("merit-ml").read_text("direct_url.json")
    return None if text is None else _create_requirement(json.loads(text))


def _create_requirement(direct_url: dict[str, Any]) -> str:
    """Return the pip requirement for the content of a direct_url.json (PEP 610)."""
    url = str(direct_url["url"])
    if "vcs_info" in direct_url:
        return f"merit-ml @ {direct_url['vcs_info']['vcs']}+{url}@{direct_url['vcs_info']['commit_id']}"
    return unquote(urlsplit(url).path) if url.startswith("file:") else f"merit-ml @ {url}"


def _write_files(folder: Path, name: str) -> None:
    shipped = files.adapt_shipped_files()
    for path, text in {**shipped, **files.read_starter(), **files.render_templates(name)}.items():
        _write_new_file(folder / path, text)
    with chdir(folder):  # the path of its table is relative to it
        composed_lock = compose(conf=artifacts.CONF)
    _write_new_file(folder / artifacts.LOCK, lock.render_lock(composed_lock))
    _write_new_file(
        folder / RECORD_FILE,
        render_record(name, {path: hash_text(text) for path, text in shipped.items() if is_upgradable(path)}),
    )


def is_upgradable(path: str) -> bool:
    """Return whether `merit upgrade` may replace a file: not those of conf/, which belong to the user."""
    return not path.startswith(f"{artifacts.CONF}/")


def render_record(name: str, digests: dict[str, str]) -> str:
    """Return the text of the record file."""
    return json.dumps({"name": name, "files": digests}, indent=2) + "\n"


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _write_new_file(path: Path, text: str) -> None:
    """Write a file into the temporary folder, which is moved as a whole, so that the file needs no atomic write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    _make_executable(path, text)


def write_file(path: Path, text: str) -> None:
    """Write a file atomically; one that starts with `#!` becomes executable."""
    artifacts.write_text(path, text)
    _make_executable(path, text)


def _make_executable(path: Path, text: str) -> None:
    if text.startswith("#!"):
        path.chmod(0o755)


def _create_first_commit(folder: Path, source: str | None) -> tuple[str | None, str]:
    """Commit everything with Git's configured identity; return the commit, or None and the reason."""
    git_options = ("-C", str(folder))
    for name in git.HOOK_VARIABLES:  # set inside a Git hook, they would point Git at another repository
        os.environ.pop(name, None)
    git.run_git(*git_options, "init", "--quiet", "--initial-branch", "main")
    if source is not None:
        git.run_git(
            *git_options, "config", "merit.source", source
        )  # local to this clone, so that no path of this machine is committed
    git.run_git(*git_options, "add", "--all")
    if not _has_identity(git_options):
        return None, "Git has no user.name and user.email; set them, then 'git commit'"
    try:
        is_refused = git.run_git(*git_options, "commit", "--quiet", "--message", "A project made by merit new") is None
    except MeritError as error:
        return None, str(error)
    return (None, "a hook refused it") if is_refused else (git.run_git(*git_options, "rev-parse", "HEAD"), "")


def _has_identity(git_options: tuple[str, str]) -> bool:
    try:
        return git.run_git(*git_options, "var", "GIT_COMMITTER_IDENT") is not None
    except MeritError:
        return False
