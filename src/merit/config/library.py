"""merit as a library: where its own top-level files are, and which of its code makes each stage.

A repository that holds merit's source names that source in dvc.yaml, so DVC sees it change. A project that has merit
installed can't: its lock names, per stage, the hash of the installed code instead, and its dvc.yaml depends on that.
"""

import hashlib
import json
from pathlib import Path

import yaml

from merit import artifacts

PACKAGE = Path(__file__).resolve().parents[1]
SOURCE = "src/merit/"
"""Where the library is in its own repository; its dvc.yaml names code by such paths."""


def template_root() -> Path:
    """Return the folder that holds merit's own top-level files: the checkout it runs from, or the wheel's part."""
    checkout = PACKAGE.parents[1]
    return checkout if is_source(checkout) else PACKAGE / "project" / "files"


def is_source(folder: Path) -> bool:
    """Say whether a folder is a repository that holds merit's source, and not one that has merit installed."""
    return (folder / SOURCE / "cli" / "__init__.py").is_file()


def code_by_stage() -> dict[str, str]:
    """Return, for each DVC stage, a hash of the installed code that merit's own dvc.yaml says makes it."""
    stages = yaml.safe_load((template_root() / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: _hash(own_code(stage.get("deps", []))) for name, stage in stages.items()}


def own_code(deps: list[str]) -> list[str]:
    """Return which of a stage's dependencies are merit's code, relative to the package."""
    return sorted(dep.removeprefix(SOURCE) for dep in deps if dep.startswith(SOURCE))


def _hash(names: list[str]) -> str:
    files = [file for name in names for file in _files(PACKAGE / name)]
    parts = {file.relative_to(PACKAGE).as_posix(): artifacts.sha256(file) for file in files}
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(path: Path) -> list[Path]:
    found = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return [file for file in found if file.suffix != ".pyc"]
