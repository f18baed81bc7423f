"""libyaml reads files fast; what it refuses is told by Python's parser. Both must say the same of every file."""

from pathlib import Path

import pytest
import yaml

from merit.config.composition import yaml_files
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


def _read(folder: Path, text: str) -> yaml_files.YamlFile:
    file = folder / "a.yaml"
    file.write_text(text, encoding="utf-8", newline="")
    return yaml_files.read_file(file, ("model",))


@pytest.mark.parametrize("text", TEXTS)
def test_both_parsers_find_the_same_values_lines_and_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    fast = _read(tmp_path, text)
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert _read(tmp_path, text) == fast


def test_both_parsers_find_the_same_in_conf(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = yaml_files.read_all_files(ROOT / "conf")
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert yaml_files.read_all_files(ROOT / "conf") == fast


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("12:30", "12:30, which YAML reads as a number in base 60"),
        ("1:30.5", "1:30.5, which YAML reads as a number in base 60"),
        ("1" + ":1" * 400, "1:1:1:1:1:1:1:1:1:1:, which YAML reads as a number in base 60"),
        ("010", "010, which YAML reads as a number in base 8"),
        ("9" * 65, "a number of 65 characters"),
        ("0x" + "f" * 63, "a number of 65 characters"),
        ("1." + "0" * 63, "a number of 65 characters"),
    ],
)
@pytest.mark.parametrize("text", ["a: %s", "a: {b: [%s]}", "a: {%s : b}"])
def test_a_number_that_is_another_than_it_looks_like_is_refused_with_its_line(
    tmp_path: Path, value: str, found: str, text: str
) -> None:
    problem, *_ = _read(tmp_path, "# first\n" + text % value).problems
    assert problem.found == found
    assert problem.where.endswith(":2")
    assert problem.key.startswith("model.a")


def test_numbers_that_are_what_they_look_like_and_texts_in_quotes_are_taken(tmp_path: Path) -> None:
    text = "a: [0, 00, 08, 1_000, -7, 0x1F, 0b11, 1e-5, '12:30', \"010\", 12:3x, 1.5, 0.10, '" + "9" * 65 + "']"
    file = _read(tmp_path, text)
    assert file.problems == []
    assert file.root.to_plain()["a"][:4] == [0, 0, "08", 1000]


def test_the_faults_of_a_long_file_are_told_by_the_fast_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaders, parse = [], yaml.parse
    monkeypatch.setattr(yaml, "parse", lambda text, Loader: loaders.append(Loader) or parse(text, Loader))  # noqa: N803
    for size in (yaml_files.MAX_REPARSE_LENGTH, 10):
        assert _read(tmp_path, "a: " + "x" * size + "\n]").problems[0].found.startswith("not valid YAML")
    assert loaders == [yaml.CSafeLoader, yaml.CSafeLoader, yaml.SafeLoader]
