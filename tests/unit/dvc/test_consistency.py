"""What of dvc.lock was edited by hand, found without running a stage."""

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from merit import artifacts
from merit.dvc import cache
from merit.gate.checks import outputs
from merit.gate.verdict import Check, Verdict
from tests.support import planted_outputs

OTHER = "0" * 32


def _describe(path: str) -> dict[str, Any]:
    return {"path": path, "hash": "md5", "md5": hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()}


@pytest.fixture
def locked(git_repo: Callable[..., str]) -> dict[str, Any]:
    """The stages of a dvc.lock: one makes weights of code and a parameter, the next a package and a score of them."""
    planted_outputs.make(git_repo)
    Path("code.py").write_text("pass")
    Path("data").mkdir()
    for name in ("weights", "score"):
        Path("data", name).write_text(name)
    artifacts.PACKAGE.mkdir()
    (artifacts.PACKAGE / "a.json").write_text("{}")
    Path("params.yaml").write_text("seed: 7\n")
    declared = {
        "train": {"cmd": "true", "deps": ["code.py"], "params": ["seed"], "outs": ["data/weights"]},
        "package": {"cmd": "true", "deps": ["data/weights"], "outs": ["data/score", "model"]},
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": declared}))
    package = {"path": "model", "hash": "md5", "md5": cache.hash_folder(artifacts.PACKAGE)}
    return {
        "train": {
            "cmd": "true",
            "deps": [_describe("code.py")],
            "params": {"params.yaml": {"seed": 7}},
            "outs": [_describe("data/weights")],
        },
        "package": {"cmd": "true", "deps": [_describe("data/weights")], "outs": [_describe("data/score"), package]},
    }


def _check(stages: dict[str, Any]) -> Check:
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    return outputs.check_outputs()


def test_a_lock_as_the_stages_left_it_passes_with_its_files_here_or_not(locked: dict[str, Any]) -> None:
    assert (_check(locked).verdict, _check(locked).found) == (Verdict.PASS, "3 outputs, as judged")
    Path("data/weights").unlink()
    assert _check(locked).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("stage", "kind", "place", "found"),
    [
        ("package", "outs", 1, "dvc.lock names another package than model/"),
        ("package", "outs", 0, "data/score is not what dvc.lock names"),
        (
            "package",
            "deps",
            0,
            "dvc.lock names another data/weights where it is made than where the stage package reads",
        ),
        ("train", "outs", 0, "data/weights is not what dvc.lock names"),
        ("train", "deps", 0, "code.py is not what the stage train read"),
    ],
)
def test_a_hash_edited_by_hand_is_refused(
    locked: dict[str, Any], stage: str, kind: str, place: int, found: str
) -> None:
    edited = copy.deepcopy(locked)
    entry = edited[stage][kind][place]
    entry["md5"] = f"{OTHER}.dir" if entry["path"] == "model" else OTHER
    check = _check(edited)
    assert check.verdict is Verdict.FAIL
    assert found in check.found


def test_one_hash_edited_in_all_its_places_is_refused_by_the_file(locked: dict[str, Any]) -> None:
    locked["train"]["outs"][0]["md5"] = locked["package"]["deps"][0]["md5"] = OTHER
    assert _check(locked).found == "data/weights is not what dvc.lock names"


def test_a_file_changed_after_its_stage_is_refused(locked: dict[str, Any]) -> None:
    Path("code.py").write_text("other")
    assert _check(locked).found == "code.py is not what the stage train read"
    Path("code.py").unlink()
    assert _check(locked).found == "code.py is not what the stage train read"


def test_other_parameters_than_a_stage_read_are_refused(locked: dict[str, Any]) -> None:
    Path("params.yaml").write_text("seed: 8\n")
    assert _check(locked).found == "params.yaml is not what the stage train read"
    del locked["train"]["params"]
    assert _check(locked).verdict is Verdict.FAIL


def test_a_dependency_taken_out_of_the_lock_is_refused(locked: dict[str, Any]) -> None:
    del locked["train"]["deps"]
    assert _check(locked).found == "code.py is not what the stage train read"


def test_a_package_of_other_weights_or_other_data_than_the_lock_names_is_refused(locked: dict[str, Any]) -> None:
    """As an older package is, whose hash was written into dvc.lock and then checked out."""
    text = yaml.safe_dump(locked).replace("data/weights", "training/weights.safetensors")
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace("data/weights", "training/weights.safetensors"))
    (artifacts.PACKAGE / artifacts.PACKAGED_WEIGHTS).write_text("weights")
    artifacts.write_json(artifacts.PACKAGE / artifacts.MANIFEST, {"data_sha256": OTHER})

    def check() -> Check:
        stages = yaml.safe_load(text)
        stages["package"]["outs"][1]["md5"] = cache.hash_folder(artifacts.PACKAGE)
        return _check(stages)

    assert check().verdict is Verdict.PASS
    (artifacts.PACKAGE / artifacts.PACKAGED_WEIGHTS).write_text("others")
    assert check().found == "model/ has other weights than dvc.lock names for training/weights.safetensors"
    (artifacts.PACKAGE / artifacts.PACKAGED_WEIGHTS).write_text("weights")
    artifacts.RAW.write_text("rows")
    assert check().found == "model/ was made with other data than data/raw.parquet"
    artifacts.write_json(artifacts.PACKAGE / artifacts.MANIFEST, {"data_sha256": artifacts.hash_file(artifacts.RAW)})
    assert check().verdict is Verdict.PASS
