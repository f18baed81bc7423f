"""Local stand-ins for the few actions that the workflows use; another one, or another input, is told."""

import os
import shutil
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rehearse import UnknownError
from rehearse.bare import git

if TYPE_CHECKING:
    from rehearse.machine import Machine

Inputs = Mapping[str, str]
Act = Callable[["Machine", Inputs], dict[str, str]]
PROGRAMS = "REHEARSE_PROGRAMS"
"""The variable that may name a folder of programs to lend in place of the environment's own."""


def lend(folder: Path) -> None:
    """Give a clone the environment that the tests run in; making its own takes minutes."""
    place = folder / ".venv"
    if place.exists():
        return
    place.mkdir()
    for path in Path(sys.prefix).iterdir():
        is_programs = path.name == Path(sys.executable).parent.name
        (place / path.name).symlink_to(os.environ.get(PROGRAMS, path) if is_programs else path)
    (place / ".installed").unlink(missing_ok=True)
    (place / ".installed").touch()


class ActionError(Exception):
    """The action fails, as it would at GitHub."""


def use(job: "Machine", uses: str, inputs: Inputs) -> dict[str, str]:
    """Do what an action does; return its outputs.

    Raises:
        ActionError: it fails.
        UnknownError: the action, its pin or an input is not known.
    """
    name, _, pin = uses.partition("@")
    if name not in ACTIONS:
        raise UnknownError(f"action {name!r}: there is no stand-in for it")
    if len(pin) != 40 or set(pin) - set("0123456789abcdef"):
        raise UnknownError(f"action {name!r}: pinned to {pin!r}, which is no commit")
    known, act = ACTIONS[name]
    if unknown := set(inputs) - known:
        raise UnknownError(f"action {name!r}: input {', '.join(sorted(unknown))} is not known")
    return act(job, inputs)


def _is(inputs: Inputs, name: str, default: bool) -> bool:
    return inputs.get(name, str(default)).lower() == "true"


def _checkout(job: "Machine", inputs: Inputs) -> dict[str, str]:
    """Fetch just what the declared depth gives, and leave the token behind only where it is to persist."""
    token = inputs.get("token") or job.token
    if not job.forge.may(token, "contents", "read"):
        raise ActionError("fatal: repository not found: the token may not read contents")
    place = job.workspace / inputs.get("path", "")
    place.mkdir(parents=True, exist_ok=True)
    ref = inputs.get("ref") or str(job.contexts["github"]["sha"])
    if not (place / ".git").exists():  # on a machine that stays there is one
        git(place, "init", "--quiet")
        git(place, "remote", "add", "origin", f"{job.forge.server_url}/{job.forge.repository}")
    depth = int(inputs.get("fetch-depth", "1"))
    wanted = ref if len(ref) == 40 else f"refs/heads/{ref.removeprefix('refs/heads/')}"
    every = ["+refs/heads/*:refs/remotes/origin/*", "--tags"] if depth == 0 else [f"--depth={depth}"]
    git(place, "fetch", "--quiet", "origin", wanted, *every)
    found = git(place, "rev-parse", wanted if len(ref) == 40 else "FETCH_HEAD")
    git(place, "checkout", "--quiet", "--force", "--detach", found)
    if _is(inputs, "persist-credentials", True):
        git(place, "config", f"http.{job.forge.server_url}/.extraheader", f"AUTHORIZATION: basic {token}")
        if job.forge.may(token, "contents", "write"):
            job.environment["REHEARSE_MAY_PUSH"] = "yes"
    return {"commit": git(place, "rev-parse", "HEAD")}


def _setup_python(job: "Machine", inputs: Inputs) -> dict[str, str]:
    """Give the job a Python of its own; a clone of the project also gets the environment that the tests run in.

    `make install` would take minutes for what lies here already: it finds `.venv` made, and the clone's own source.
    """
    if inputs["python-version"] != f"{sys.version_info.major}.{sys.version_info.minor}":
        raise UnknownError(f"python-version: found {inputs['python-version']!r}, the tests run in another")
    own = job.folder / "python"
    shutil.copytree(_bare_python(job.shared), own, symlinks=True)
    job.path.insert(0, str(own / "bin"))
    if (job.workspace / "Makefile").is_file():
        lend(job.workspace)
        job.environment["PYTHONPATH"] = str(job.workspace.resolve() / "src")
    return {"python-version": inputs["python-version"]}


def _bare_python(shared: Path) -> Path:
    """Return an environment with pip alone; it is made once, and copied."""
    made = shared / "python"
    if not made.exists():
        venv.create(made, with_pip=True)
    return made


def _upload(job: "Machine", inputs: Inputs) -> dict[str, str]:
    patterns = inputs["path"].split("\n")
    found = {
        file
        for pattern in filter(None, map(str.strip, patterns))
        for match in job.workspace.glob(pattern)
        for file in _files(match)
        if _is(inputs, "include-hidden-files", False) or not _is_hidden(file, job.workspace)
    }
    if not found:
        if inputs.get("if-no-files-found", "warn") == "error":
            raise ActionError(f"no files were found with the path {inputs['path']!r}")
        return {}
    root = _common([job.workspace / pattern.strip() for pattern in patterns if pattern.strip()])
    target = job.shared / "artifacts" / str(job.run_id) / inputs.get("name", "artifact")
    if target.exists():
        raise ActionError(f"an artifact with the name {target.name!r} already exists in this run")
    for file in found:
        place = target / file.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    job.forge.artifacts[job.run_id, target.name] = target
    return {"artifact-id": str(job.forge.next_id())}


def _common(paths: list[Path]) -> Path:
    """Return what the action takes for the root: the folder of a single file, else what all the paths share."""
    if len(paths) == 1:
        return paths[0].parent if paths[0].is_file() else _fixed(paths[0])
    return Path(os.path.commonpath([_fixed(path) for path in paths]))


def _fixed(path: Path) -> Path:
    """Return the part of a pattern before its first wildcard."""
    parts = []
    for part in path.parts:
        if any(letter in part for letter in "*?["):
            break
        parts.append(part)
    return Path(*parts)


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _is_hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _download(job: "Machine", inputs: Inputs) -> dict[str, str]:
    run = int(inputs.get("run-id") or job.run_id)
    if run != job.run_id and not job.forge.may(inputs.get("github-token", ""), "actions", "read"):
        raise ActionError("Resource not accessible by integration: actions: read is missing")
    here = {name: place for (of, name), place in job.forge.artifacts.items() if of == run}
    target = job.workspace / inputs.get("path", "")
    if "name" in inputs:
        if inputs["name"] not in here:
            raise ActionError(f"Artifact not found for name: {inputs['name']}")
        shutil.copytree(here[inputs["name"]], target, dirs_exist_ok=True, symlinks=True)
        return {"download-path": str(target)}
    prefix = inputs.get("pattern", "*").removesuffix("*")
    for name, place in here.items():
        if name.startswith(prefix):
            shutil.copytree(place, target / name, dirs_exist_ok=True, symlinks=True)
    return {"download-path": str(target)}


def _attest(job: "Machine", inputs: Inputs) -> dict[str, str]:
    """Keep what would be signed."""
    for scope in ("id-token", "attestations"):
        if not job.forge.may(job.token, scope, "write"):
            raise ActionError(f"Resource not accessible by integration: {scope}: write is missing")
    job.forge.attested.append((inputs["subject-name"], inputs["subject-digest"]))
    return {}


ACTIONS: dict[str, tuple[set[str], Act]] = {
    "actions/checkout": ({"ref", "path", "fetch-depth", "persist-credentials", "clean", "token"}, _checkout),
    "actions/attest-build-provenance": ({"subject-name", "subject-digest"}, _attest),
    "actions/setup-python": ({"python-version"}, _setup_python),
    "actions/upload-artifact": (
        {"name", "path", "if-no-files-found", "retention-days", "include-hidden-files"},
        _upload,
    ),
    "actions/download-artifact": ({"name", "path", "pattern", "run-id", "github-token"}, _download),
}
"""Each action's inputs that are known, and its stand-in."""
