"""The files of a Bento: those that bentofile.yaml names, and the package. Imports nothing heavy.

A shared module: the gate queries the Bento before a merge, and a release builds an image from the same files.
"""

import glob
import shutil
from pathlib import Path

import yaml

from merit import artifacts, safe_yaml
from merit.config import library
from merit.errors import MeritError

BENTOFILE = Path("bentofile.yaml")
UNCLEAR = "must name what the Bento is made of under include and python.requirements_txt"


def assemble(folder: Path, *, root: Path = Path(), package: Path | None = None) -> None:
    """Copy all files of the Bento into a folder, with the same paths as in the repository.

    Args:
        folder: the destination.
        root: the repository, or a checkout of parts of it at some commit.
        package: the package to serve; by default the one in the repository.

    Raises:
        MeritError: bentofile.yaml, or a file that it names, is missing or unreadable.
    """
    found = files(root)
    if package is not None:
        inside = f"{artifacts.PACKAGE.as_posix()}/"
        found = {name: path for name, path in found.items() if not name.startswith(inside)}
        found |= _below(package, inside, f"{inside}**")
    for name, path in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def told(root: Path = Path()) -> tuple[list[str], str]:
    """Return the include patterns and the requirements file of bentofile.yaml.

    Raises:
        MeritError: bentofile.yaml is missing, or doesn't name files and requirements.
    """
    try:
        read = safe_yaml.load((root / BENTOFILE).read_text(encoding="utf-8"))
        include, requirements = read["include"], read["python"]["requirements_txt"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise MeritError(f"{BENTOFILE}: {UNCLEAR} ({' '.join(str(error).split())})") from error
    if not isinstance(include, list) or not all(isinstance(each, str) for each in [*include, requirements]):
        raise MeritError(f"{BENTOFILE}: {UNCLEAR}, as text")
    return [*include], requirements


def files(root: Path = Path()) -> dict[str, Path]:
    """Return the path of each file of the Bento, by its path inside the Bento.

    If the repository doesn't contain merit's source, files of merit come from the installed package.

    Raises:
        MeritError: a file that bentofile.yaml names doesn't exist.
    """
    patterns, requirements = told(root)
    found = {name: root / name for name in (str(BENTOFILE), requirements)}
    for pattern in patterns:
        installed = {} if (root / library.SOURCE).is_dir() else _below(library.PACKAGE, library.SOURCE, pattern)
        found |= installed or _below(root, "", pattern)
    if lacking := [name for name, path in found.items() if not path.is_file()]:
        raise MeritError(f"{BENTOFILE}: names {', '.join(lacking)}, which is not there")
    return dict(sorted(found.items()))


def _below(root: Path, prefix: str, pattern: str) -> dict[str, Path]:
    """Return the files that match a pattern, without compiled Python files, by their paths in the repository."""
    if not pattern.startswith(prefix):
        return {}
    names = glob.glob(pattern.removeprefix(prefix), root_dir=root, recursive=True)  # noqa: PTH207  # ** takes files too
    return {f"{prefix}{name}": root / name for name in names if (root / name).is_file() and "__pycache__" not in name}
