"""The Bento of the package: what it is made of, and a hash of all that its answers depend on. Imports nothing heavy."""

import glob
import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
from pathlib import Path

import yaml

from merit import artifacts
from merit.config import library
from merit.errors import MeritError

BENTOFILE = Path("bentofile.yaml")
UNCLEAR = "must name what the Bento is made of under include and python.requirements_txt"


def assemble(folder: Path) -> None:
    """Put all that the Bento is made of into a folder, as it lies in the repository.

    Raises:
        MeritError: bentofile.yaml, or a file that it names, is not there or can't be read.
    """
    for name, path in _files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def key(rows: int) -> str:
    """Return the hash of all that the answers to `rows` test rows depend on: package, code, libraries, rows."""
    try:
        found = {name: artifacts.sha256(path) for name, path in _files().items()}
        versions = _versions(Path(_told()[1]).read_text(encoding="utf-8"))
    except MeritError as error:
        found, versions = {"": str(error)}, {}
    asking = [artifacts.sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    machine = [platform.python_version(), platform.machine()]
    sent = [rows, artifacts.sha256(artifacts.require(artifacts.TEST_ROWS, "features"))]
    text = json.dumps([found, versions, asking, machine, sent], sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _told() -> tuple[list[str], str]:
    """Return what bentofile.yaml includes, as patterns, and its file of requirements.

    Raises:
        MeritError: it is not there, or doesn't name files and requirements.
    """
    try:
        told = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))
        include, requirements = told["include"], told["python"]["requirements_txt"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise MeritError(f"{BENTOFILE}: {UNCLEAR} ({' '.join(str(error).split())})") from error
    if not isinstance(include, list) or not all(isinstance(each, str) for each in [*include, requirements]):
        raise MeritError(f"{BENTOFILE}: {UNCLEAR}, as text")
    return [*include], requirements


def _files() -> dict[str, Path]:
    """Return where each file of the Bento is, by its name there; where merit is installed, its code is not here.

    Raises:
        MeritError: there is no such file.
    """
    patterns, requirements = _told()
    found = {name: Path(name) for name in (str(BENTOFILE), requirements)}
    for pattern in patterns:
        found |= _below(library.PACKAGE, library.SOURCE, pattern) or _below(Path(), "", pattern)
    if lacking := [name for name, path in found.items() if not path.is_file()]:
        raise MeritError(f"{BENTOFILE}: names {', '.join(lacking)}, which is not there")
    return dict(sorted(found.items()))


def _below(root: Path, prefix: str, pattern: str) -> dict[str, Path]:
    """Return the files that fit a pattern, less what Python compiled, by their names in the repository."""
    is_here = prefix == "" or not Path(prefix).is_dir()
    if not is_here or not pattern.startswith(prefix):
        return {}
    names = glob.glob(pattern.removeprefix(prefix), root_dir=root, recursive=True)  # noqa: PTH207  # ** takes files too
    return {f"{prefix}{name}": root / name for name in names if (root / name).is_file() and "__pycache__" not in name}


def _versions(requirements: str) -> dict[str, str]:
    """Return the installed versions of what the requirements name."""
    names = re.findall(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)", requirements)
    return {name: version for name in names if (version := _version(name)) is not None}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
