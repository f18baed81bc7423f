"""Locate merit's own top-level files, and hash the merit code that each stage runs.

In merit's own repository dvc.yaml lists the source files, so DVC notices changes. A project with merit installed can't
do that: its lock has a hash of the installed code for each stage, and its dvc.yaml depends on that.
"""

import hashlib
import json
from pathlib import Path

import yaml

from merit import artifacts

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
SOURCE_PREFIX = "src/merit/"
"""The library's path in its own repository, as its dvc.yaml writes it."""


def find_template_root() -> Path:
    """Return the folder of merit's own top-level files: the checkout that it runs from, or a folder of the wheel."""
    checkout = PACKAGE_ROOT.parents[1]
    return checkout if is_source_checkout(checkout) else PACKAGE_ROOT / "project" / "files"


def is_source_checkout(folder: Path) -> bool:
    """Return whether a folder is a repository with merit's source, not one that has merit installed."""
    return (folder / SOURCE_PREFIX / "cli" / "__init__.py").is_file()


def hash_code_by_stage() -> dict[str, str]:
    """Return, for each DVC stage, a hash of the installed code that merit's own dvc.yaml lists for it."""
    stages = yaml.safe_load((find_template_root() / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: _hash_files(select_own_code(stage.get("deps", []))) for name, stage in stages.items()}


def select_own_code(deps: list[str]) -> list[str]:
    """Return a stage's dependencies that are merit's code, relative to the package."""
    return sorted(dep.removeprefix(SOURCE_PREFIX) for dep in deps if dep.startswith(SOURCE_PREFIX))


def _hash_files(names: list[str]) -> str:
    files = [file for name in names for file in _list_files(PACKAGE_ROOT / name)]
    hash_by_file = {file.relative_to(PACKAGE_ROOT).as_posix(): artifacts.hash_file(file) for file in files}
    return "sha256:" + hashlib.sha256(json.dumps(hash_by_file, sort_keys=True).encode()).hexdigest()


def _list_files(path: Path) -> list[Path]:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return [file for file in files if file.suffix != ".pyc"]
