"""docs/explanation/threat-model.md: each promise names tests, and they are there."""

import ast
import re
from functools import cache

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs/explanation/threat-model.md").read_text(encoding="utf-8")
NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
ROWS = re.findall(r"\| promised \| held by \|\n\|---\|---\|\n((?:\|.*\n)+)", TEXT)
PROMISES = [tuple(cell.strip() for cell in line.strip("|").split("|")) for rows in ROWS for line in rows.splitlines()]


@cache
def _tests(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(TEXT))))
def test_a_test_that_holds_a_promise_is_there(file: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in _tests(file)


def test_every_promise_names_a_test() -> None:
    assert len(ROWS) == TEXT.count("\n| promised |") == 6
    assert [promise for promise, held in PROMISES if not NAMED.search(held)] == []


def test_whoever_may_do_something_has_a_part_of_the_page_that_says_what_is_not_promised() -> None:
    parts = TEXT.split("\n## ")[1:]
    assert [part.count("\nNot promised: ") for part in parts] == [1] * 6
