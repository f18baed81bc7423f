"""The project's own packages: which are trusted, where their source is, and how they are imported.

`[tool.merit] trusted` in pyproject.toml lists them: where code is configured decides what is code, not conf/. `roots`
beside it lists folders outside the project that conf/ may use (`merit.config.trusted_paths`).
"""

import hashlib
import importlib
import importlib.util
import keyword
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from merit import artifacts
from merit.errors import MeritError, ProjectCodeError

PYPROJECT = Path("pyproject.toml")
LIST_EXAMPLES = {"trusted": "mymodels", "roots": "/srv/data"}
"""The lists that `[tool.merit]` may declare, each with an example for error messages."""
TABLE_KEYS = ("outputs",)
"""The tables that `[tool.merit]` may hold; `merit.dvc.limits` reads this one."""
UNTRUSTABLE_PACKAGES = sys.stdlib_module_names | {"merit", "hydra", "omegaconf"}
"""Packages that can't be trusted as a whole: they contain functions that run anything."""


def list_trusted_packages() -> tuple[str, ...]:
    """Return the packages that the project trusts.

    Raises:
        MeritError: pyproject.toml can't be read, or `[tool.merit]` is invalid.
    """
    return _read_lists()["trusted"]


def list_roots() -> tuple[str, ...]:
    """Return the folders outside the project that configuration may name.

    Raises:
        MeritError: as for `packages`.
    """
    return _read_lists()["roots"]


def _read_lists() -> dict[str, tuple[str, ...]]:
    """Return the lists of `[tool.merit]`, by key."""
    if not PYPROJECT.is_file():
        return dict.fromkeys(LIST_EXAMPLES, ())
    return _parse_lists(PYPROJECT.resolve(), PYPROJECT.stat().st_mtime_ns)


def read_table() -> dict[str, Any]:
    """Return the table `[tool.merit]` of pyproject.toml; empty without one.

    Raises:
        MeritError: pyproject.toml can't be read, or the table has an unknown key.
    """
    return _parse_table(PYPROJECT) if PYPROJECT.is_file() else {}


@cache
def _parse_lists(file: Path, mtime: int) -> dict[str, tuple[str, ...]]:
    table = _parse_table(file)
    names_by_key = {}
    for key, example in LIST_EXAMPLES.items():
        names = table.get(key, [])
        if not isinstance(names, list):
            raise MeritError(
                f'{PYPROJECT}: tool.merit.{key}: found {names!r}; it must be a list, such as ["{example}"]'
            )
        names_by_key[key] = tuple(names)
    for name in names_by_key["trusted"]:
        if not isinstance(name, str) or not is_public_name(name):
            raise MeritError(f'{PYPROJECT}: tool.merit.trusted: found {name!r}; name packages, such as ["mymodels"]')
        if name in UNTRUSTABLE_PACKAGES:
            raise MeritError(f"{PYPROJECT}: tool.merit.trusted: '{name}' can't be trusted as a whole; remove it")
    for root in names_by_key["roots"]:
        if not isinstance(root, str) or not root.strip():
            raise MeritError(f'{PYPROJECT}: tool.merit.roots: found {root!r}; name folders, such as ["/srv/data"]')
    return names_by_key


def _parse_table(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("merit", {})
    except (ValueError, AttributeError) as error:
        raise MeritError(f"{PYPROJECT}: can't be read: {error}; correct it") from error
    if not isinstance(table, dict):
        raise MeritError(f"{PYPROJECT}: tool.merit: found {table!r}; it must be a table")
    allowed = [*LIST_EXAMPLES, *TABLE_KEYS]
    if unknown := sorted(set(table) - set(allowed)):
        raise MeritError(f"{PYPROJECT}: tool.merit.{unknown[0]}: unknown key; allowed: {', '.join(allowed)}")
    return table


def is_public_name(name: str) -> bool:
    """Return whether a part of a dotted name is public and ASCII: no letters that only look like others."""
    return name.isidentifier() and name.isascii() and not name.startswith("_") and not keyword.iskeyword(name)


@contextmanager
def _isolated_search_path(package: str) -> Iterator[None]:
    """Search for a package as Python does, but in the project's folder last, and there for trusted packages only.

    So no file beside conf/ can take the place of an installed package.
    """
    root, before = os.path.realpath(Path.cwd()), sys.path[:]
    installed = [entry for entry in before if os.path.realpath(entry) != root]
    sys.path[:] = [*installed, root] if package in list_trusted_packages() else installed
    try:
        yield
    finally:
        sys.path[:] = before


def _find_spec(package: str) -> ModuleSpec | None:
    is_trusted = package in list_trusted_packages()
    with _isolated_search_path(package):
        spec = importlib.util.find_spec(package)
    local = next((p for p in (Path(package, "__init__.py"), Path(f"{package}.py")) if p.is_file()), None)
    if local is not None and spec is not None and spec.origin is not None:
        is_local = local.resolve() == Path(spec.origin).resolve()
        # An import that didn't use our path may have loaded the local file before.
        if is_local != is_trusted:
            raise MeritError(f"'{local}' has the name of the installed package '{package}'; rename it")
    if is_trusted and spec is None:
        raise MeritError(f"{PYPROJECT} trusts '{package}', but no such package is here; make {package}/__init__.py")
    if is_trusted and spec is not None and spec.origin is None:
        raise MeritError(f"'{package}' is a folder without __init__.py; add an empty one")
    return spec


def find_source(module: str) -> Path | None:
    """Return the file of a module's source, found without importing anything; None if there is none.

    Raises:
        MeritError: its package is a folder without `__init__.py`, or has the name of an installed package.
    """
    package, *rest = module.split(".")
    spec = _find_spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    for part in rest:
        if file.name != "__init__.py":
            return None
        folder = file.parent / part
        inner = folder / "__init__.py"
        file = inner if inner.is_file() else folder.with_suffix(".py")
        if folder.is_dir() and not file.is_file() and package in list_trusted_packages():
            raise MeritError(f"'{module}' is a folder without __init__.py; add an empty one")
    return file if file.suffix == ".py" and file.is_file() else None


def import_module(module: str) -> ModuleType:
    """Import a module of a trusted package.

    Raises:
        MeritError: it can't be found or imported.
        ForeignError: code of the project's own fails during the import.
    """
    package = module.partition(".")[0]
    with _isolated_search_path(package):
        try:
            return importlib.import_module(module)
        except (Exception, SystemExit) as error:
            if package in list_trusted_packages():
                raise ProjectCodeError(module, error, is_project_code) from error
            if isinstance(error, ImportError):
                raise MeritError(f"'{module}' can't be imported: {error}") from error
            raise


def hash_package(package: str) -> str:
    """Return one hash of the names and contents of all Python files of a package."""
    file = find_source(package)
    if file is None:
        raise MeritError(f"'{package}' has no Python source that could be hashed")
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    lines = [f"{each.relative_to(file.parent).as_posix()} {artifacts.hash_file(each)}\n" for each in files]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def check_code(locked_hashes: dict[str, str]) -> None:
    """Refuse to run with other code than the lock was made for.

    Raises:
        MeritError: a package changed since, or is no longer trusted.
    """
    for package, locked_hash in locked_hashes.items():
        if package not in list_trusted_packages():
            raise MeritError(f"{artifacts.LOCK}: code: '{package}' is not trusted; run 'merit compose'")
        if hash_package(package) != locked_hash:
            raise MeritError(f"'{package}' changed since {artifacts.LOCK} was made; 'merit compose' takes it in")


def is_project_code(file: str) -> bool:
    """Return whether a Python file belongs to a package that the project trusts."""
    with suppress(MeritError):
        for package in list_trusted_packages():
            source = find_source(package)
            if source is not None and Path(file) in {
                source,
                *(source.parent.rglob("*.py") if source.stem == "__init__" else ()),
            }:
                return True
    return False


def find_project_frame(error: BaseException) -> FrameType | None:
    """Return the first frame of the project's own code that an error passed through; None if there is none."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((frame for frame in frames if is_project_code(frame.f_code.co_filename)), None)


@contextmanager
def convert_project_errors() -> Iterator[None]:
    """Convert errors of the project's own code to ForeignError: shown with that code's traceback, without merit's.

    Raises:
        ForeignError: such code failed.
    """
    try:
        yield
    except MeritError:
        raise
    except (Exception, SystemExit) as error:
        frame = find_project_frame(error)
        if frame is None:
            raise
        name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        raise ProjectCodeError(name.removesuffix(".<module>"), error, is_project_code) from error
