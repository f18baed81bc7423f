"""What dvc.yaml says that each stage depends on, held against what its modules import."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

MERIT = ROOT / "src/merit"
COMPUTING = {
    "data", "database", "evaluation", "expression", "features", "metrics", "models", "packaging", "reading", "scoring",
    "training",
}  # fmt: skip
"""The rooms whose code decides what a stage makes; the others compose, check, print and store."""
NOT_CALLED = {"evaluate": {"src/merit/models/folded.py"}}
"""What a stage imports and never calls: only `package` folds a network."""
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def _imported(file: Path) -> Iterator[str]:
    """Give the names that a file imports, in functions too, but for those that only types need."""
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def _needed(declared: set[Path]) -> set[Path]:
    """Return all files of the rooms that compute which some files import, one through another, with themselves."""
    found, waiting = set(declared), list(declared)
    while waiting:
        for name in _imported(waiting.pop()):
            path = ROOT.joinpath("src", *name.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.is_file() and file not in found and file.relative_to(MERIT).parts[0] in COMPUTING:
                    found.add(file)
                    waiting.append(file)
    return found


def _has_code(file: Path) -> bool:
    """Return whether a file holds more than a docstring."""
    return len(ast.parse(file.read_text(encoding="utf-8")).body) > 1


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_code_that_decides_what_it_makes(stage: str) -> None:
    named = [ROOT / name for name in STAGES[stage]["deps"] if name.startswith("src/")]
    assert [path for path in named if not path.exists()] == []
    declared = {file for path in named for file in ([path] if path.is_file() else path.rglob("*.py"))}
    lacking = {file for file in _needed(declared) - declared if _has_code(file)}
    assert {file.relative_to(ROOT).as_posix() for file in lacking} == NOT_CALLED.get(stage, set())
