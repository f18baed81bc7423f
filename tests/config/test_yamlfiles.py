"""libyaml reads files fast; what it refuses is told by Python's parser. Both must say the same of every file."""

from pathlib import Path

import pytest
import yaml

from merit.config import yamlfiles
from tests.conftest import ROOT

TEXTS = [
    "a: 1\nb: [1, 2.5, 1e-5, null, yes, 2013-01-01]\n",
    "# a comment\n# @package _global_\na: {b: c, d: 'e', f: \"g\\n\"}\n",
    "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n",
    "a: |\n  two\n  lines\nb: >-\n  folded\n  text\n",
    "a: 1\na: 2\n",
    "a: !!python/name:os.system\nb: !mine 1\n",
    "1: a\nyes: b\nnull: c\n",
    "'': a\n\"quoted\": ''\n",
    "a: ${b}\nc: '${d:e}'\nf: ???\n",
    "a: 1\n---\nb: 2\n",
    "- a\n- b\n",
    "",
    "---\n",
    "a: \N{SNOWMAN} \U0001f600\n",
    "defaults:\n  - x: y\n  - _self_\na: 1\n",
    "a: [1, 2\nb: 3\n",
    "a: {b: 1\n",
    "a: 'open\n",
    "a:\n\t- b\n",
    "a: b: c\n",
    "a: *nothing\n",
    "a: \x00\n",
    "a: @b\n",
    "%YAML 9.9\n---\na: 1\n",
    "? [a]\n: b\n",
]


def _read(folder: Path, text: str) -> yamlfiles.YamlFile:
    file = folder / "a.yaml"
    file.write_text(text, encoding="utf-8", newline="")
    return yamlfiles.read(file, ("model",))


@pytest.mark.parametrize("text", TEXTS)
def test_both_parsers_find_the_same_values_lines_and_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    fast = _read(tmp_path, text)
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert _read(tmp_path, text) == fast


def test_both_parsers_find_the_same_in_conf(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = yamlfiles.read_all(ROOT / "conf")
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert yamlfiles.read_all(ROOT / "conf") == fast
