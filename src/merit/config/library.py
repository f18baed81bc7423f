"""Locate merit's own top-level files, and hash the merit code that each stage runs.

In merit's own repository dvc.yaml lists the source files, so DVC notices changes. A project with merit installed can't
do that: its lock has a hash of the installed code for each stage, and its dvc.yaml depends on that.
"""

import hashlib
import json
from pathlib import Path

import yaml

from merit import artifacts

PACKAGE = Path(__file__).resolve().parents[1]
SOURCE = "src/merit/"
"""The library's path in its own repository, as its dvc.yaml writes it."""


def template_root() -> Path:
    """Return the folder of merit's own top-level files: the checkout that it runs from, or a folder of the wheel."""
    checkout = PACKAGE.parents[1]
    return checkout if is_source(checkout) else PACKAGE / "project" / "files"


def is_source(folder: Path) -> bool:
    """Return whether a folder is a repository with merit's source, not one that has merit installed."""
    return (folder / SOURCE / "cli" / "__init__.py").is_file()


def code_by_stage() -> dict[str, str]:
    """Return, for each DVC stage, a hash of the installed code that merit's own dvc.yaml lists for it."""
    stages = yaml.safe_load((template_root() / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: _hash(own_code(stage.get("deps", []))) for name, stage in stages.items()}


def own_code(deps: list[str]) -> list[str]:
    """Return a stage's dependencies that are merit's code, relative to the package."""
    return sorted(dep.removeprefix(SOURCE) for dep in deps if dep.startswith(SOURCE))


def _hash(names: list[str]) -> str:
    files = [file for name in names for file in _files(PACKAGE / name)]
    parts = {file.relative_to(PACKAGE).as_posix(): artifacts.sha256(file) for file in files}
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    found = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return [file for file in found if file.suffix != ".pyc"]
