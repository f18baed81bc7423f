from pathlib import Path
from typing import Any

import pytest

from merit.dvc import cache
from merit.errors import MeritError
from merit.reproduce import compare
from merit.reproduce.compare import StageDifference

LOCK = """
schema: '2.0'
stages:
  train:
    cmd: merit train
    deps:
    - {path: data/features, hash: md5, md5: f1.dir}
    - {path: src/train.py, hash: md5, md5: s1}
    params:
      params.yaml:
        seed: 7
        optimizer: {lr: 1e-05, betas: [0.9, 0.99]}
    outs:
    - {path: training/weights.safetensors, hash: md5, md5: w1}
  features:
    cmd: merit features
    outs:
    - {path: data/features/train.safetensors, hash: md5, md5: t1}
  package:
    cmd: merit package
    deps:
    - {path: training/weights.safetensors, hash: md5, md5: w1}
    outs:
    - {path: model, hash: md5, md5: m1.dir}
"""


def _stages(**edits: str) -> compare.LockedStages:
    text = LOCK
    for old, new in edits.items():
        text = text.replace(old, new)
    return compare.parse_stages(text, "dvc.lock")


def _never(path: str, md5: str) -> bool:
    return False


def test_stages_come_after_those_that_they_need() -> None:
    assert list(_stages()) == ["features", "train", "package"]


@pytest.mark.parametrize("text", ["", "stages: 3", "stages: {a: {outs: [x]}}", "a: [", "stages: {a: {deps: [{}]}}"])
def test_what_is_no_lock_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(MeritError, match=r"^dvc\.lock at abc: not .*restore it from Git$"):
        compare.parse_stages(text, "dvc.lock at abc")


def test_the_same_locks_are_identical() -> None:
    found = compare.compare_stages(_stages(), _stages(), _never)
    assert found == [StageDifference(name, [], [], []) for name in ("features", "train", "package")]


def test_the_first_stage_that_differs_with_the_same_inputs_is_told_from_those_that_follow() -> None:
    features, train, package = compare.compare_stages(_stages(), _stages(w1="w2", m1="m2"), _never)
    assert (features.changed_outputs, features.is_first_difference) == ([], False)
    assert train == StageDifference("train", [], [], ["training/weights.safetensors"])
    assert train.is_first_difference
    assert package == StageDifference("package", [], ["training/weights.safetensors"], ["model"])
    assert not package.is_first_difference


def test_a_folder_that_holds_another_output_is_what_a_stage_follows() -> None:
    _, train, _ = compare.compare_stages(_stages(), _stages(t1="t2", f1="f2", w1="w2"), _never)
    assert train == StageDifference("train", [], ["data/features"], ["training/weights.safetensors"])


def test_changed_values_and_files_are_named_as_inputs() -> None:
    now = _stages(**{"seed: 7": "seed: 8", "0.99": "0.9", "s1": "s2", "merit train": "merit train --fast"})
    _, train, _ = compare.compare_stages(_stages(), now, _never)
    assert train.changed_inputs == [
        "dvc.yaml: its command was 'merit train', is 'merit train --fast'",
        "src/train.py differs",
        "params.yaml: seed was 7, is 8",
        "params.yaml: optimizer.betas was [0.9, 0.99], is [0.9, 0.9]",
    ]


def test_an_output_that_is_the_same_by_other_means_does_not_differ() -> None:
    asked: list[Any] = []

    def same(path: str, md5: str) -> bool:
        asked.append((path, md5))
        return True

    found = compare.compare_stages(_stages(), _stages(m1="m2"), same)
    assert asked == [("model", "m1.dir")]
    assert not any(stage.changed_outputs for stage in found)


def test_a_stage_that_did_not_come_out_differs() -> None:
    now = {name: stage for name, stage in _stages().items() if name != "package"}
    assert compare.compare_stages(_stages(), now, _never)[-1].changed_outputs == ["model"]


def test_inputs_are_compared_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "train.py"
    source.write_text("1")
    (tmp_path / "params.yaml").write_text("seed: 7\noptimizer: {lr: 1.0e-5, betas: [0.9, 0.99]}\n")
    old = _stages(s1=cache.hash_file(source))
    assert compare.find_changed_inputs(old, tmp_path) == {}
    source.write_text("2")
    (tmp_path / "params.yaml").write_text("optimizer: {lr: 1.0e-5, betas: [0.9, 0.99]}\n")
    found = compare.find_changed_inputs(old, tmp_path)
    assert found == {"train": ["src/train.py differs", "params.yaml: seed was 7, is None"]}


def test_a_long_value_is_cut_after_sixty_characters_and_a_new_key_is_named(tmp_path: Path) -> None:
    now = _stages(**{"seed: 7": f"seed: {'x' * 59}\n        depth: {'y' * 58}"})
    _, train, _ = compare.compare_stages(_stages(), now, _never)
    assert train.changed_inputs == [
        f"params.yaml: seed was 7, is '{'x' * 59}...",
        f"params.yaml: depth was None, is '{'y' * 58}'",
    ]


def test_an_input_folder_is_compared_by_its_content_and_a_missing_file_differs(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    digest = cache.hash_folder(tmp_path / "src")
    old = {"train": {"cmd": "c", "deps": [{"path": "src", "md5": digest}, {"path": "data", "md5": "d"}]}}
    assert compare.find_changed_inputs(old, tmp_path) == {"train": ["data differs"]}
    (tmp_path / "src" / "a.py").write_text("2")
    assert compare.find_changed_inputs(old, tmp_path) == {"train": ["src differs", "data differs"]}


def test_only_whole_names_make_one_path_lie_in_another() -> None:
    pairs = [("a/b", "a/b"), ("a", "a/b/c"), ("a/b/c", "a"), ("a", "ab"), ("a/b", "a/c")]
    assert [compare._overlaps(*pair) for pair in pairs] == [True, True, True, False, False]
