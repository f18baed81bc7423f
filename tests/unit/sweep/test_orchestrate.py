from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from merit.errors import MeritError
from merit.sweep import orchestrate, ownership
from merit.sweep.search import study
from tests.support.file_locks import is_locked


def test_a_study_is_opened_under_the_lock_of_the_sweep_and_a_refused_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def refuse(plan: object, folder: Path, worker_index: int) -> None:
        seen.append((worker_index, is_locked(folder / ownership.CLAIM_LOCK_FILE)))
        raise MeritError("sweep.storage: can't be used")

    monkeypatch.setattr(study, "Study", refuse)
    monkeypatch.setattr(orchestrate.run, "update_features", list)
    monkeypatch.setattr(orchestrate.prepare, "prepare_folder", lambda _: tmp_path)
    monkeypatch.setattr(orchestrate.prepare, "write_denied_paths", lambda *_: None)
    monkeypatch.setattr(orchestrate.prepare, "remove_unused_folder", seen.append)
    sweep_plan: Any = SimpleNamespace(base_lock=None)
    with pytest.raises(MeritError, match=r"sweep\.storage"):
        orchestrate._orchestrate(sweep_plan, lambda _: pytest.fail("a launcher"), SimpleNamespace())  # type: ignore[arg-type]
    assert seen == [(0, True), tmp_path]
    assert list((tmp_path / ownership.OWNERS_FOLDER).iterdir()) == []


class Recorder:
    """Stands for the study, the executor, the loop and the logger of a sweep; records what was called, in `calls`."""

    def __init__(self, calls: list[Any], name: str) -> None:
        self._calls, self._name = calls, name

    def __call__(self, *given: Any, **settings: Any) -> "Recorder":
        """Return itself as the object that was created."""
        self._calls.append((f"{self._name}", *given[:2]))
        return self

    def __getattr__(self, method: str) -> Any:
        """Return a method that is recorded."""
        return lambda *_: self._calls.append(f"{self._name}.{method}") or f"the result of {self._name}.{method}"


def test_a_sweep_denies_its_paths_before_a_trial_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    lock = SimpleNamespace(trainer=SimpleNamespace(threads=1, devices=1, accelerator="cpu"))
    sweep_plan = SimpleNamespace(base_lock=lock, name="one", settings=SimpleNamespace(workers=2))
    monkeypatch.setattr(orchestrate.plan, "make_plan", lambda arguments: sweep_plan)
    monkeypatch.setattr(orchestrate.run, "update_features", lambda: ["a store"])
    monkeypatch.setattr(orchestrate.prepare, "prepare_folder", lambda _: tmp_path)
    monkeypatch.setattr(orchestrate.prepare, "write_denied_paths", Recorder(calls, "deny"))
    monkeypatch.setattr(study, "Study", Recorder(calls, "study"))
    for name in ("TrialExecutor", "SweepLoop", "SweepLogger"):
        monkeypatch.setattr(orchestrate, name, Recorder(calls, name))
    result: Any = orchestrate.run_sweep(["seed=1,2"], lambda folder: f"the launcher of {folder.name}")  # type: ignore[arg-type,return-value]
    assert result == "the result of SweepLoop.run"
    assert calls == [
        ("SweepLogger", lock, "one"),
        ("deny", tmp_path, lock),
        ("study", sweep_plan, tmp_path),
        "SweepLogger.start_sweep",
        ("TrialExecutor", f"the launcher of {tmp_path.name}", 2),
        ("SweepLoop", sweep_plan, tmp_path),
        "SweepLoop.run",
        "TrialExecutor.close",
        "study.close",
        "SweepLogger.close",
    ]
    assert list((tmp_path / ownership.OWNERS_FOLDER).iterdir()) == []


@pytest.mark.parametrize(("arguments", "starts"), [(["seed=1,2"], True), (["seed=1,2", "hydra/launcher=ray"], False)])
def test_only_the_local_launcher_warms_a_process_up_and_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], starts: bool
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(orchestrate, "local_machine", Recorder(calls, "machine"))
    monkeypatch.setattr(orchestrate.hydra_multirun, "run_multirun", lambda given, job: calls.append("run") or given)
    assert orchestrate.run_multirun(arguments) is arguments
    assert calls == ["machine.start_forkserver"] * starts + ["run", "machine.stop_forkserver"]
