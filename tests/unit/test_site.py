"""What the site says of the code: its generated reference is whole, and paths that texts name are there."""

import importlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import yaml

from merit.cli.group import main
from tests.conftest import ROOT

PAGE = re.compile(r"docs/[\w/-]+\.md\b")
NAMED_IN = ("src", "conf", ".github", ".gitlab-ci.yml", "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
ELSEWHERE = "https://"


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a module of tools/reference, whose files import one another as MkDocs lets them."""
    monkeypatch.syspath_prepend(ROOT / "tools/reference")
    return importlib.import_module


def _properties(schema: Any) -> Iterator[str]:
    """Yield the names of all properties in a schema, at any depth, but for those of classes."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                yield from value
            if key not in {"if", "then", "else"}:
                yield from _properties(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _properties(each)


@pytest.mark.parametrize("group", ["data", "evaluate", "gate", "serve", "sweep", "environment"])
def test_every_key_of_a_group_is_in_its_page(reference: Callable[[str], ModuleType], group: str) -> None:
    page = reference("configuration").configuration_pages()[f"reference/configuration/{group}.md"]
    schema = json.loads((ROOT / f"conf/.schema/{group}.json").read_text(encoding="utf-8"))
    shown = {part for path in re.findall(r"^##+ `([^`]+)`", page, re.M) for part in re.split(r"[.\[\]]+", path)}
    assert set(_properties(schema)) - {"defaults", "_target_"} <= shown


def test_a_key_is_shown_with_its_type_default_meaning_and_an_example(reference: Callable[[str], ModuleType]) -> None:
    page = reference("configuration").configuration_pages()["reference/configuration/serve.md"]
    assert (
        "### `serve.port` { #serve-port }\n\ninteger at least 1 and at most 65535; required; for example `3000`" in page
    )
    assert "### `serve.max_connections` { #serve-max-connections }\n\ninteger above 0; default `12000`" in page


def test_every_command_is_in_the_reference_with_its_options(reference: Callable[[str], ModuleType]) -> None:
    page = reference("commands").cli_page()
    assert "\n## merit run { #run }\n" in page
    assert "\n### merit registry show { #registry-show }\n" in page
    assert "| `--target COLUMN` |" in page


def test_text_of_the_code_adds_no_mark_up_to_a_page(reference: Callable[[str], ModuleType]) -> None:
    prose = reference("markdown_text").prose
    assert prose("a <b> of [x](y), but `<c>`") == r"a &lt;b&gt; of \[x\](y), but `<c>`"
    assert prose("docs/how-to/own-python.md") == "[own python](/how-to/own-python.md)"


def test_pages_that_code_and_files_name_are_there() -> None:
    listed = subprocess.run(["git", "ls-files", *NAMED_IN], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.splitlines() if not name.endswith(".png")]
    named = {
        (file.relative_to(ROOT).as_posix(), page) for file in files for page in PAGE.findall(file.read_text("utf-8"))
    }
    assert len(named) > 20
    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []


def test_files_that_contributing_names_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|tools|docs|conf)/[\w./-]*)`", text))
    assert len(named) > 15
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_nothing_of_the_site_is_fetched_from_elsewhere() -> None:
    """A font, script or plugin from another server would need the network, and tell it who reads."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in text
    assert ELSEWHERE not in text
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    assert not [
        page for page in pages if "```mermaid" in page or (f"]({ELSEWHERE}" in page and f"![]({ELSEWHERE}" in page)
    ]


def test_each_word_of_the_path_is_a_command_whose_folder_and_tests_are_there() -> None:
    text = (ROOT / "docs/explanation/path.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z, ]+) \| `([a-z_]+)` \|", text, re.M)
    words = [(word, room) for names, room in rows for word in names.split(", ")]
    assert {word for word, _ in words} <= set(main.commands)
    assert {*yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]} <= {word for word, _ in words}
    for _, room in words:
        assert (ROOT / "src/merit" / room / "__init__.py").is_file(), room
        assert any((ROOT / "tests" / place / room).is_dir() for place in ("", "unit")), room
