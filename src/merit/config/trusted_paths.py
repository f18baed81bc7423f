"""Check paths that configuration names: inside the project, or below a root that pyproject.toml declares.

`[tool.merit] roots` lists the folders outside the project that YAML may use: where code is configured decides, not
conf/. Symbolic links are resolved first, so no link leads outside.
"""

import os
from pathlib import Path

from merit.config.components import trusted_packages
from merit.errors import MeritError

ALLOWED_HIDDEN_PATHS = ((".dvc", "cache"), (".merit",))
"""Hidden folders that may be named: DVC's cache, which a file may be a link to, and merit's own output."""


def validate_path(path: str, key: str) -> Path:
    """Return a path if configuration may name it.

    Args:
        path: the path in the file, relative to the folder that holds conf/.
        key: the key that the message names.

    Raises:
        MeritError: it leads outside the project and its roots, or to something hidden in it.
    """
    if error := find_path_error(path):
        raise MeritError(f"{key}: {error}")
    return Path(path)


def find_path_error(path: str) -> str | None:
    """Return why configuration may not name a path; None if it may."""
    if not path or not path.isprintable():
        return f"found path {path!r}; allowed: a path inside the project, such as 'orders.csv'"
    real_path, project = Path(os.path.realpath(path)), Path(os.path.realpath(Path.cwd()))
    if any(real_path.is_relative_to(root) for root in resolve_roots()):
        return None
    given_path = Path(path)
    if (
        not real_path.is_relative_to(project)
        or given_path.is_absolute()
        or ".." in given_path.parts
        or path.startswith("~")
    ):
        link_text = f", which leads to '{real_path}'" if str(real_path) != os.path.abspath(path) else ""  # noqa: PTH100  # no links
        return (
            f"found path '{path}'{link_text}; allowed: a path inside the project, such as 'orders.csv', or below a "
            "folder "
            f'that {trusted_packages.PYPROJECT} declares: [tool.merit] roots = ["/srv/data"]'
        )
    parts = real_path.relative_to(project).parts
    if any(part.startswith(".") for part in parts) and not any(
        parts[: len(each)] == each for each in ALLOWED_HIDDEN_PATHS
    ):
        return f"found path '{path}', which is hidden or in a hidden folder; allowed: one that isn't, such as 'a.csv'"
    return None


def resolve_roots() -> tuple[Path, ...]:
    """Return the folders outside the project that configuration may use, with links resolved.

    Raises:
        MeritError: pyproject.toml can't be read, or a root is not a folder name.
    """
    return tuple(Path(os.path.realpath(root)) for root in trusted_packages.list_roots())
