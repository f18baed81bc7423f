import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from merit import artifacts, dvc
from merit.dvc import cache
from merit.errors import MeritError
from merit.reproduce import output_diff

Git = Callable[..., str]
METRICS = {"candidate": {"roc_auc": {"value": 0.7, "low": 0.68, "high": 0.72}}}


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder whose files DVC has."""
    there = tmp_path / "locked"
    there.mkdir()

    def fetch(commit: str, path: Path, place: Path) -> None:
        if not (there / path.name).exists():
            raise MeritError("nobody has it")
        place.write_bytes((there / path.name).read_bytes())

    monkeypatch.setattr(dvc, "copy_output", fetch)
    return there


def _commit(git: Git, text: str) -> str:
    Path("a").write_text(text)
    git("add", "a")
    git("commit", "--quiet", "-m", text)
    return git("rev-parse", "HEAD")


def _package(folder: Path, commit: str, *, dirty: bool, weights: bytes = b"w") -> Path:
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(weights)
    artifacts.write_json(folder / artifacts.MANIFEST, {"model": "m", "commit": commit, "dirty": dirty, "files": {}})
    return folder


@pytest.mark.parametrize("dirty", [True, False])
def test_a_package_made_at_an_earlier_commit_is_the_same(git_repo: Git, fetched: Path, dirty: bool) -> None:
    made, _, locked = (_commit(git_repo, text) for text in "123")
    before = _package(Path("before"), made, dirty=dirty)
    now = _package(Path("now"), locked, dirty=not dirty)
    assert output_diff.is_same_package(now, cache.hash_folder(before), locked)


@pytest.mark.parametrize("dirty", [True, False])
def test_a_package_that_names_no_commit_is_the_same_as_one_that_did(git_repo: Git, fetched: Path, dirty: bool) -> None:
    commit = _commit(git_repo, "1")
    before = _package(Path("before"), commit, dirty=dirty)
    now = _package(Path("now"), commit, dirty=dirty)
    artifacts.write_json(now / artifacts.MANIFEST, {"model": "m", "files": {}})
    assert output_diff.is_same_package(now, cache.hash_folder(before), commit)


def test_a_package_of_other_weights_is_another(git_repo: Git, fetched: Path) -> None:
    commit = _commit(git_repo, "1")
    before = _package(Path("before"), commit, dirty=False)
    now = _package(Path("now"), commit, dirty=False, weights=b"x")
    assert not output_diff.is_same_package(now, cache.hash_folder(before), commit)
    assert not output_diff.is_same_package(Path("nowhere"), cache.hash_folder(before), commit)


def test_a_package_made_on_a_branch_that_was_squashed_is_known_by_its_own_manifest(
    git_repo: Git, fetched: Path
) -> None:
    commit = _commit(git_repo, "1")
    before = _package(Path("before"), "b" * 40, dirty=False)
    now = _package(Path("now"), commit, dirty=False)
    assert not output_diff.is_same_package(now, cache.hash_folder(before), commit)
    (fetched / artifacts.MANIFEST).write_bytes((before / artifacts.MANIFEST).read_bytes())
    assert output_diff.is_same_package(now, cache.hash_folder(before), commit)


def test_the_largest_difference_of_each_tensor_is_told_the_greatest_first(fetched: Path, tmp_path: Path) -> None:
    same, row = np.zeros(3, np.float32), np.array([1, 2], np.float32)
    save_file({"a": row, "b": row, "c": same, "gone": same}, fetched / "w.safetensors")
    save_file({"a": np.array([1, 2.25], np.float32), "b": row * 2, "c": same}, tmp_path / "w.safetensors")
    assert output_diff.describe_differences("w.safetensors", tmp_path, "HEAD") == [
        "tensors that only one of the two has: gone",
        "b: differs by up to 2.00e+00",
        "a: differs by up to 2.50e-01",
    ]


def test_a_tensor_of_another_shape_is_told_so(fetched: Path, tmp_path: Path) -> None:
    save_file({"a": np.zeros(3)}, fetched / "w.safetensors")
    save_file({"a": np.zeros((3, 1))}, tmp_path / "w.safetensors")
    assert output_diff.describe_differences("w.safetensors", tmp_path, "HEAD") == ["a: its shape was [3], is [3, 1]"]


def test_metrics_are_told_before_and_after(fetched: Path, tmp_path: Path) -> None:
    (fetched / "metrics.json").write_text(json.dumps(METRICS))
    (tmp_path / "metrics.json").write_text(json.dumps({"candidate": {"roc_auc": {"value": 0.71}}}))
    assert output_diff.describe_differences("metrics.json", tmp_path, "HEAD") == [
        "roc_auc: was 0.700000, is 0.710000 (+1.0e-02)"
    ]


def test_what_cannot_be_looked_at_is_told_so(fetched: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"cut")
    told = output_diff.describe_differences("w.safetensors", tmp_path, "HEAD")
    assert told == ["what dvc.lock names can't be compared: nobody has it"]
    (fetched / "w.safetensors").write_bytes(b"cut too")
    assert output_diff.describe_differences("w.safetensors", tmp_path, "HEAD")[0].startswith(
        "what dvc.lock names can't be compared"
    )
    assert output_diff.describe_differences("other.json", tmp_path, "HEAD") == ["it was not produced"]
    assert output_diff.describe_differences("data/raw.parquet", tmp_path, "HEAD") == []


@pytest.mark.parametrize(("value", "near"), [(0.7099, True), (0.6901, True), (0.711, False), (float("nan"), False)])
def test_a_metric_is_within_the_tolerance_by_the_width_of_its_interval(
    fetched: Path, tmp_path: Path, value: float, near: bool
) -> None:
    (fetched / "metrics.json").write_text(json.dumps(METRICS))
    now = tmp_path / artifacts.METRICS
    now.parent.mkdir()
    now.write_text(json.dumps({"candidate": {"roc_auc": {"value": value}}}))
    assert output_diff.is_within_tolerance(tmp_path, "HEAD") is near


def test_without_the_locked_metrics_the_tolerance_tells_nothing(fetched: Path, tmp_path: Path) -> None:
    assert output_diff.is_within_tolerance(tmp_path, "HEAD") is None
