"""The files of a Bento: those that bentofile.yaml names, and the package. Imports nothing heavy.

A shared module: the gate queries the Bento before a merge, and a release builds an image from the same files.
"""

import glob
import shutil
from pathlib import Path

import yaml

from merit import artifacts, safe_yaml
from merit.config import merit_code
from merit.errors import MeritError

BENTOFILE = Path("bentofile.yaml")
UNCLEAR_MESSAGE = "must name what the Bento is made of under include and python.requirements_txt"


def assemble_files(folder: Path, *, root: Path = Path(), package: Path | None = None) -> None:
    """Copy all files of the Bento into a folder, with the same paths as in the repository.

    Args:
        folder: the destination.
        root: the repository, or a checkout of parts of it at some commit.
        package: the package to serve; by default the one in the repository.

    Raises:
        MeritError: bentofile.yaml, or a file that it names, is missing or unreadable.
    """
    paths = list_files(root)
    if package is not None:
        inside = f"{artifacts.PACKAGE.as_posix()}/"
        paths = {name: path for name, path in paths.items() if not name.startswith(inside)}
        paths |= _match_files(package, inside, f"{inside}**")
    for name, path in paths.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def read_bentofile(root: Path = Path()) -> tuple[list[str], str]:
    """Return the include patterns and the requirements file of bentofile.yaml.

    Raises:
        MeritError: bentofile.yaml is missing, or doesn't name files and requirements.
    """
    try:
        content = safe_yaml.load((root / BENTOFILE).read_text(encoding="utf-8"))
        include, requirements = content["include"], content["python"]["requirements_txt"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise MeritError(f"{BENTOFILE}: {UNCLEAR_MESSAGE} ({' '.join(str(error).split())})") from error
    if not isinstance(include, list) or not all(isinstance(each, str) for each in [*include, requirements]):
        raise MeritError(f"{BENTOFILE}: {UNCLEAR_MESSAGE}, as text")
    return [*include], requirements


def list_files(root: Path = Path()) -> dict[str, Path]:
    """Return the path of each file of the Bento, by its path inside the Bento.

    If the repository doesn't contain merit's source, files of merit come from the installed package.

    Raises:
        MeritError: a file that bentofile.yaml names doesn't exist.
    """
    patterns, requirements = read_bentofile(root)
    paths = {name: root / name for name in (str(BENTOFILE), requirements)}
    for pattern in patterns:
        installed = (
            {}
            if (root / merit_code.SOURCE_PREFIX).is_dir()
            else _match_files(merit_code.PACKAGE_ROOT, merit_code.SOURCE_PREFIX, pattern)
        )
        paths |= installed or _match_files(root, "", pattern)
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise MeritError(f"{BENTOFILE}: names {', '.join(missing)}, which is not there")
    return dict(sorted(paths.items()))


def _match_files(root: Path, prefix: str, pattern: str) -> dict[str, Path]:
    """Return the files that match a pattern, without compiled Python files, by their paths in the repository."""
    if not pattern.startswith(prefix):
        return {}
    names = glob.glob(pattern.removeprefix(prefix), root_dir=root, recursive=True)  # noqa: PTH207  # ** takes files too
    return {f"{prefix}{name}": root / name for name in names if (root / name).is_file() and "__pycache__" not in name}
