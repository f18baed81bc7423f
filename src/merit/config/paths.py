"""Paths that configuration names: they lead into the project, or into a root that pyproject.toml declares.

`[tool.merit] roots` names folders outside that YAML may use: which they are is decided where code is configured, not in
conf/. Symbolic links are followed before it is decided, so that none leads out.
"""

import os
from pathlib import Path

from merit.config import trust
from merit.errors import MeritError

OPEN = ((".dvc", "cache"), (".merit",))
"""What is hidden and may be named: where DVC keeps data, which a file may be a link to, and what merit makes."""


def inside(path: str, key: str) -> Path:
    """Return a path if configuration alone may name it.

    Args:
        path: as it stands in the file, relative to the folder that holds conf/.
        key: what the message names.

    Raises:
        MeritError: it leads out of the project and its roots, or to what is hidden in it.
    """
    if reason := refusal(path):
        raise MeritError(f"{key}: {reason}")
    return Path(path)


def refusal(path: str) -> str | None:
    """Return why configuration alone may not name a path; None if it may."""
    if not path or not path.isprintable():
        return f"found path {path!r}; allowed: a path inside the project, such as 'orders.csv'"
    real, project = Path(os.path.realpath(path)), Path(os.path.realpath(Path.cwd()))
    if any(real.is_relative_to(root) for root in roots()):
        return None
    given = Path(path)
    if not real.is_relative_to(project) or given.is_absolute() or ".." in given.parts or path.startswith("~"):
        leads = f", which leads to '{real}'" if str(real) != os.path.abspath(path) else ""  # noqa: PTH100  # no links
        return (
            f"found path '{path}'{leads}; allowed: a path inside the project, such as 'orders.csv', or below a folder "
            f'that {trust.PYPROJECT} declares: [tool.merit] roots = ["/srv/data"]'
        )
    parts = real.relative_to(project).parts
    if any(part.startswith(".") for part in parts) and not any(parts[: len(each)] == each for each in OPEN):
        return f"found path '{path}', which is hidden or in a hidden folder; allowed: one that isn't, such as 'a.csv'"
    return None


def roots() -> tuple[Path, ...]:
    """Return the folders outside of the project that configuration may use, as they really are.

    Raises:
        MeritError: pyproject.toml can't be read, or names something else than folders.
    """
    return tuple(Path(os.path.realpath(root)) for root in trust.roots())
