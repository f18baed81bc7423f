import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.sweep import plan, record
from merit.sweep.trials import prepare, process


def test_a_full_disk_is_told_with_the_file_that_it_has_no_room_for(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    for file in [artifacts.FEATURES_REPORT, *map(artifacts.part_path, prepare.PARTS)]:
        artifacts.write_text(file, "x")
    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(MeritError, match=r"^sweeps/one/features/features\.json: can't be written: No space left"):
        prepare._link_features(Path("sweeps/one/features"))


FEATURES = [artifacts.FEATURES_REPORT, *map(artifacts.part_path, ("train", "validation"))]


@pytest.fixture
def asked(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return the plan of a sweep of which the definition is that of any other; the features are there."""
    for file in FEATURES:
        artifacts.write_text(file, file.name)

    def build_sweep_json(sweep_plan: Any, features: str, machine: dict[str, Any]) -> dict[str, Any]:
        keys = dict.fromkeys(("name", "created", "sampler", "objectives", "overrides", "space", "commit"), "")
        return keys | {"planned": sweep_plan.planned_trials, "features": features, "definition": {}, "machine": machine}

    monkeypatch.setattr(plan, "build_sweep_json", build_sweep_json)
    monkeypatch.setattr(plan, "refuse_other_definition", lambda stored, sweep_plan: None)

    def make(planned: int = 2, resume: str | None = None, storage: str | None = None) -> Any:
        settings = SimpleNamespace(resume=resume, storage=storage)
        return SimpleNamespace(name="one", settings=settings, planned_trials=planned)

    return make


def test_a_folder_is_of_one_sweep_which_may_go_on_or_be_shared(asked: Callable[..., Any]) -> None:
    folder = prepare.prepare_folder(asked())
    assert folder == record.SWEEPS / "one"
    assert {path.name for path in (folder / process.FEATURES_FOLDER).iterdir()} == {file.name for file in FEATURES}
    with pytest.raises(MeritError, match=r"^sweeps/one: is there already; .* go on with it by sweep\.resume=one$"):
        prepare.prepare_folder(asked())
    before = record.read_sweep_json("one")
    for planned, how in ((3, {"resume": "one"}), (4, {"storage": "sqlite:///studies.db"})):
        prepare.prepare_folder(asked(planned, **how))
        assert record.read_sweep_json("one") == before | {"planned": planned}


@pytest.mark.parametrize("file", FEATURES)
def test_a_sweep_goes_on_with_the_features_that_it_began_with_alone(asked: Callable[..., Any], file: Path) -> None:
    prepare.prepare_folder(asked())
    artifacts.write_text(artifacts.part_path("test"), "what no trial reads")
    prepare.prepare_folder(asked(resume="one"))
    artifacts.write_text(file, "other")
    with pytest.raises(MeritError, match="began with other features than data/features holds now; begin a new sweep"):
        prepare.prepare_folder(asked(resume="one"))


def test_no_trial_may_read_the_projects_data_its_source_or_the_stores(
    asked: Callable[..., Any], lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare.write_denied_paths(Path(), lock, [Path("../cache")])
    denied = artifacts.read_json(Path(process.DENIED_JSON), "train")["closed"]
    names = (".dvc", ".git", "data", "mlruns", "model", "reports", "source.parquet", "training")
    assert denied == sorted(map(str, [*(Path(name).resolve() for name in names), Path("../cache").resolve()]))

    def fail(*_: object) -> None:
        raise AttributeError("files")

    monkeypatch.setattr(prepare.targets, "build_component", fail)  # a source that reads no files
    prepare.write_denied_paths(Path(), lock, [])
    assert len(artifacts.read_json(Path(process.DENIED_JSON), "train")["closed"]) == 7
