"""Compares the project's own code with that of a commit: a difference of each file, and whether it decides verdicts.

Code of own checks and metrics is a rule of the gate: it decides what passes. Of a network, an optimizer or a source the
gate judges what comes of it, so their code is shown and weakens nothing.
"""

import ast
import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from merit import git

MAX_DIFF_LINES = 400
"""The most lines of a report's difference of code, over all files; those that decide verdicts come first."""
PIPELINE_FILES = ("dvc.yaml", "pyproject.toml")
"""Files beside the packages that say what is run and trusted; their changes are shown too."""
DYNAMIC_NAMES = frozenset(
    {
        *("__import__", "compile", "eval", "exec", "importlib", "pkgutil", "runpy"),
        *("load", "loads", "open", "read_bytes", "read_csv", "read_json", "read_parquet", "read_text"),
    }
)
"""Names that reach code or files which no import names: a module that uses one may depend on all of its package."""

Values = Mapping[str, Any]
ReadFile = Callable[[str], str | None]
"""Returns the text of a file of the project; None if there is none."""


def list_changed_code(before: Values, after: Values, commit: str) -> list[dict[str, Any]]:
    """Return the changed files of the project's trusted packages, as the report has them.

    Args:
        before: the values of params.yaml at the commit.
        after: its values now.
        commit: the commit to compare with.
    """
    packages = sorted({*(before.get("code") or {}), *(after.get("code") or {})})
    paths = [path for package in packages for path in (f"{package}/", f"{package}.py")]
    changed_files = _list_changed_files(commit, [*paths, *PIPELINE_FILES])

    def read_former(path: str) -> str | None:
        return git.read_file(commit, Path(path))

    installed = list(_compare_installed(before, after, read_former))
    if not changed_files:
        return installed
    deciding = _find_deciding(before, packages, read_former) | _find_deciding(after, packages, _read_present)
    versions = {path: (read_former(path), _read_present(path)) for path in changed_files}
    decides = {path: _is_decisive(path, deciding) and not _is_same_code(path, *versions[path]) for path in versions}
    ordered = sorted(versions, key=lambda path: (not decides[path], path))
    return [*installed, *_cut_differences({path: versions[path] for path in ordered}, decides)]


def _compare_installed(before: Values, after: Values, read_former: ReadFile) -> Iterator[dict[str, Any]]:
    """Yield the trusted packages with other hashes whose code is installed, and not in this repository."""
    old_hashes, new_hashes = before.get("code") or {}, after.get("code") or {}
    targeted = {target.partition(".")[0] for target in [*_list_targets(before), *_list_targets(after)]}
    for package in sorted({*old_hashes, *new_hashes}):
        old, new = old_hashes.get(package), new_hashes.get(package)
        files = (f"{package}/__init__.py", f"{package}.py")
        is_here = any(read(path) is not None for path in files for read in (read_former, _read_present))
        if old != new and not is_here:
            yield {
                "file": f"{package} (installed; not in this repository)",
                "decides": package in targeted,
                "before": old,
                "after": new,
                "lines": [],
                "more": 0,
            }


def list_code_rules(code: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the changed files that decide verdicts as changed rules."""
    return [
        {"key": f"code: {each['file']}", "before": each["before"], "after": each["after"], "weaker": True}
        for each in code
        if each["decides"]
    ]


def _list_changed_files(commit: str, paths: list[str]) -> list[str]:
    """Return the files below some paths that differ from a commit, also those that Git doesn't track yet."""
    tracked = git.run_git("diff", "--name-only", "-z", "--no-renames", "--relative", commit, "--", *paths) or ""
    untracked = git.run_git("ls-files", "-z", "--others", "--exclude-standard", "--", *paths) or ""
    return sorted({path for path in f"{tracked}\0{untracked}".split("\0") if path})


def _read_present(path: str) -> str | None:
    file = Path(path)
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() and not file.is_symlink() else None


def _cut_differences(
    versions: Mapping[str, tuple[str | None, str | None]], decides: Mapping[str, bool]
) -> Iterator[dict[str, Any]]:
    """Yield each file with its difference, until the most lines are reached."""
    room = MAX_DIFF_LINES
    for path, (old, new) in versions.items():
        lines = [
            line.rstrip("\r\n")
            for line in difflib.unified_diff((old or "").splitlines(), (new or "").splitlines(), n=3, lineterm="")
        ][2:]  # without the names of both files
        shown = lines[:room]
        room -= len(shown)
        yield {
            "file": path,
            "decides": decides[path],
            "before": _shorten_hash(old),
            "after": _shorten_hash(new),
            "lines": shown,
            "more": len(lines) - len(shown),
        }


def _shorten_hash(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _is_same_code(path: str, old: str | None, new: str | None) -> bool:
    """Return whether two versions of a Python file differ in comments and spaces alone."""
    if old is None or new is None or not path.endswith(".py"):
        return False
    try:
        return ast.dump(ast.parse(old)) == ast.dump(ast.parse(new))
    except (SyntaxError, ValueError, RecursionError):
        return False


def _is_decisive(path: str, deciding: set[str]) -> bool:
    """Return whether a file is among those that decide, or in a folder of which all do."""
    return any(path == each or (each.endswith("/") and path.startswith(each)) for each in deciding)


def _find_deciding(values: Values, packages: list[str], read: ReadFile) -> set[str]:
    """Return the files that own checks and metrics consist of and import; a folder stands for all files in it."""
    found: set[str] = set()
    waiting = [target for target in _list_targets(values) if target.partition(".")[0] in packages]
    while waiting:
        name = waiting.pop()
        for path in _locate_module(name, read):
            if path not in found:
                found |= {path}
                waiting += [each for each in _list_imports(path, read) if each.partition(".")[0] in packages]
    dynamic = {path.partition("/")[0] + "/" for path in found if "/" in path and _is_dynamic(path, read)}
    return found | dynamic


def _list_targets(values: Values) -> list[str]:
    """Return the classes of own checks and metrics."""
    sections = ((values.get("gate") or {}).get("checks"), (values.get("evaluate") or {}).get("metrics"))
    return [str(each.get("_target_")) for section in sections for each in (section or {}).values()]


def _locate_module(name: str, read: ReadFile) -> Iterator[str]:
    """Yield the files of a dotted name: those of its packages, and of its module; what follows is an object in it."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        base = "/".join(parts[:count])
        for path in (f"{base}/__init__.py", f"{base}.py"):
            if read(path) is not None:
                yield path


def _list_imports(path: str, read: ReadFile) -> list[str]:
    """Return the dotted names that a module imports, each also with the objects that it takes from there."""
    names: list[str] = []
    for node in ast.walk(_parse(path, read)):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            folders = path.removesuffix(".py").split("/")[: -node.level] if node.level else []
            module = ".".join([*folders, *([node.module] if node.module else [])])
            names += [f"{module}.{each.name}" for each in node.names]
    return names


def _is_dynamic(path: str, read: ReadFile) -> bool:
    """Return whether a module may depend on files that no import names; one that can't be parsed may."""
    tree = _parse(path, read)
    nodes = list(ast.walk(tree))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {each.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for each in node.names}
    used |= {str(node.module).partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    is_broken = not tree.body and bool((read(path) or "").strip())
    return is_broken or bool(used & DYNAMIC_NAMES)


def _parse(path: str, read: ReadFile) -> ast.Module:
    try:
        return ast.parse(read(path) or "")
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])
