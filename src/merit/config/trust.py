"""Packages of the project's own: which of them are trusted, where their source lies, and importing them.

`[tool.merit] trusted` in pyproject.toml names them: what is code is decided where code is configured, not in conf/.
`roots` beside it names folders outside of the project that conf/ may use (`merit.config.paths`).
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
from merit.errors import ForeignError, MeritError

PYPROJECT = Path("pyproject.toml")
KEYS = {"trusted": "mymodels", "roots": "/srv/data"}
"""The lists that `[tool.merit]` may declare, and such as what."""
TABLES = ("outputs",)
"""The tables that it may hold; `merit.dvc.limits` reads this one."""
NEVER = sys.stdlib_module_names | {"merit", "hydra", "omegaconf"}
"""Packages that can't be trusted as a whole: they hold what runs anything."""


def packages() -> tuple[str, ...]:
    """Return the packages that the project trusts.

    Raises:
        MeritError: pyproject.toml can't be read, or `[tool.merit]` holds something else than it may.
    """
    return _declared()["trusted"]


def roots() -> tuple[str, ...]:
    """Return the folders outside of the project that configuration may name.

    Raises:
        MeritError: as `packages` does.
    """
    return _declared()["roots"]


def _declared() -> dict[str, tuple[str, ...]]:
    """Return what `[tool.merit]` declares, by key."""
    if not PYPROJECT.is_file():
        return dict.fromkeys(KEYS, ())
    return _named(PYPROJECT.resolve(), PYPROJECT.stat().st_mtime_ns)


def table() -> dict[str, Any]:
    """Return `[tool.merit]` of pyproject.toml: what is decided where code is configured; empty without one.

    Raises:
        MeritError: pyproject.toml can't be read, or the table has a key that is none.
    """
    return _tool_merit(PYPROJECT) if PYPROJECT.is_file() else {}


@cache
def _named(file: Path, changed: int) -> dict[str, tuple[str, ...]]:
    table = _tool_merit(file)
    found = {}
    for key, such in KEYS.items():
        names = table.get(key, [])
        if not isinstance(names, list):
            raise MeritError(f'{PYPROJECT}: tool.merit.{key}: found {names!r}; it must be a list, such as ["{such}"]')
        found[key] = tuple(names)
    for name in found["trusted"]:
        if not isinstance(name, str) or not is_plain(name):
            raise MeritError(f'{PYPROJECT}: tool.merit.trusted: found {name!r}; name packages, such as ["mymodels"]')
        if name in NEVER:
            raise MeritError(f"{PYPROJECT}: tool.merit.trusted: '{name}' can't be trusted as a whole; remove it")
    for root in found["roots"]:
        if not isinstance(root, str) or not root.strip():
            raise MeritError(f'{PYPROJECT}: tool.merit.roots: found {root!r}; name folders, such as ["/srv/data"]')
    return found


def _tool_merit(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("merit", {})
    except (ValueError, AttributeError) as error:
        raise MeritError(f"{PYPROJECT}: can't be read: {error}; correct it") from error
    if not isinstance(table, dict):
        raise MeritError(f"{PYPROJECT}: tool.merit: found {table!r}; it must be a table")
    allowed = [*KEYS, *TABLES]
    if unknown := sorted(set(table) - set(allowed)):
        raise MeritError(f"{PYPROJECT}: tool.merit.{unknown[0]}: unknown key; allowed: {', '.join(allowed)}")
    return table


def is_plain(name: str) -> bool:
    """Say whether a part of a dotted name is public and plain: letters that only look like others are not."""
    return name.isidentifier() and name.isascii() and not name.startswith("_") and not keyword.iskeyword(name)


@contextmanager
def _path(package: str) -> Iterator[None]:
    """Look for a package where Python does, but in the project's folder last, and there for trusted packages alone.

    So no file beside conf/ takes the place of an installed package.
    """
    root, before = os.path.realpath(Path.cwd()), sys.path[:]
    installed = [entry for entry in before if os.path.realpath(entry) != root]
    sys.path[:] = [*installed, root] if package in packages() else installed
    try:
        yield
    finally:
        sys.path[:] = before


def _spec(package: str) -> ModuleSpec | None:
    own = package in packages()
    with _path(package):
        spec = importlib.util.find_spec(package)
    local = next((p for p in (Path(package, "__init__.py"), Path(f"{package}.py")) if p.is_file()), None)
    if local is not None and spec is not None and spec.origin is not None:
        is_local = local.resolve() == Path(spec.origin).resolve()
        # Another path than ours may have brought a local file in before this was asked.
        if is_local != own:
            raise MeritError(f"'{local}' has the name of the installed package '{package}'; rename it")
    if own and spec is None:
        raise MeritError(f"{PYPROJECT} trusts '{package}', but no such package is here; make {package}/__init__.py")
    if own and spec is not None and spec.origin is None:
        raise MeritError(f"'{package}' is a folder without __init__.py; add an empty one")
    return spec


def source_of(module: str) -> Path | None:
    """Return the file of a module's source, found without importing anything; None if there is none.

    Raises:
        MeritError: its package is a folder without `__init__.py`, or has the name of another one.
    """
    package, *rest = module.split(".")
    spec = _spec(package)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    for part in rest:
        if file.name != "__init__.py":
            return None
        folder = file.parent / part
        inner = folder / "__init__.py"
        file = inner if inner.is_file() else folder.with_suffix(".py")
        if folder.is_dir() and not file.is_file() and package in packages():
            raise MeritError(f"'{module}' is a folder without __init__.py; add an empty one")
    return file if file.suffix == ".py" and file.is_file() else None


def imported(module: str) -> ModuleType:
    """Import a module of a trusted package.

    Raises:
        MeritError: it isn't there.
        ForeignError: code of the project's own fails while it is imported.
    """
    package = module.partition(".")[0]
    with _path(package):
        try:
            return importlib.import_module(module)
        except (Exception, SystemExit) as error:
            if package in packages():
                raise ForeignError(module, error, is_theirs) from error
            if isinstance(error, ImportError):
                raise MeritError(f"'{module}' can't be imported: {error}") from error
            raise


def fingerprint(package: str) -> str:
    """Return one hash over the names and contents of all Python files of a package."""
    file = source_of(package)
    if file is None:
        raise MeritError(f"'{package}' has no Python source that could be hashed")
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    lines = [f"{each.relative_to(file.parent).as_posix()} {artifacts.sha256(each)}\n" for each in files]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def refuse_other_code(locked: dict[str, str]) -> None:
    """Refuse to work with code that is not the one the lock was made for.

    Raises:
        MeritError: a package changed since.
    """
    for package, made_for in locked.items():
        if package not in packages():
            raise MeritError(f"{artifacts.LOCK}: code: '{package}' is not trusted; run 'merit compose'")
        if fingerprint(package) != made_for:
            raise MeritError(f"'{package}' changed since {artifacts.LOCK} was made; 'merit compose' takes it in")


def is_theirs(file: str) -> bool:
    """Say whether a file of Python belongs to a package that the project trusts."""
    with suppress(MeritError):
        for package in packages():
            home = source_of(package)
            if home is not None and Path(file) in {
                home,
                *(home.parent.rglob("*.py") if home.stem == "__init__" else ()),
            }:
                return True
    return False


def frame_of_theirs(error: BaseException) -> FrameType | None:
    """Return the first frame of theirs that an error passed through, if any."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((frame for frame in frames if is_theirs(frame.f_code.co_filename)), None)


@contextmanager
def theirs() -> Iterator[None]:
    """Tell an error that code of a trusted package raises as theirs: with their traceback, without merit's.

    Raises:
        ForeignError: such code failed.
    """
    try:
        yield
    except MeritError:
        raise
    except (Exception, SystemExit) as error:
        frame = frame_of_theirs(error)
        if frame is None:
            raise
        name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        raise ForeignError(name.removesuffix(".<module>"), error, is_theirs) from error
