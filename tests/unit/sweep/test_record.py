from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from merit import artifacts
from merit.cli import main
from merit.errors import MeritError
from merit.sweep import record


def _sweep(name: str, objectives: dict[str, str], created: str, *trials: dict[str, Any]) -> Path:
    folder = record.SWEEPS / name
    about = {"name": name, "created": created, "sampler": "grid", "objectives": objectives, "overrides": ["seed=1,2"],
             "space": {"seed": "1,2"}, "planned": len(trials), "commit": "c"}  # fmt: skip
    artifacts.write_json(folder / record.SWEEP_JSON, about)
    for number, told in enumerate(trials):
        record.update_trial_json(
            record.locate_trial(folder, number), number=number, overrides={"seed": str(number)}, **told
        )
    return folder


def _done(**values: float) -> dict[str, Any]:
    return {"state": "done", "values": values, "epochs": 1, "seconds": 2.0, "started": 1.0}


def test_the_best_goes_where_the_objective_says_and_only_what_is_done_counts(workdir: Path) -> None:
    trials = [_done(auc=0.6), _done(auc=0.8), {"state": "pruned", "values": {"auc": 0.9}}, {"state": "running"}]
    _sweep("up", {"auc": "maximize"}, "2026-01-02", *trials)
    _sweep("down", {"auc": "minimize"}, "2026-01-01", *trials)
    best, worst = record.read_sweep("up").find_best(), record.read_sweep("down").find_best()
    assert best is not None and best.number == 1
    assert worst is not None and worst.number == 0
    assert record.list_names() == ["down", "up"]
    assert record.find_latest() == "up"


def test_the_front_is_what_none_beats_in_all_objectives(workdir: Path) -> None:
    points = [(0.5, 10.0), (0.4, 20.0), (0.5, 20.0), (0.6, 5.0), (0.4, 20.0)]
    _sweep(
        "two", {"loss": "minimize", "parameters": "minimize"}, "1", *(_done(loss=a, parameters=b) for a, b in points)
    )
    found = record.read_sweep("two")
    assert [trial.number for trial in found.find_front()] == [0, 1, 3, 4]
    assert found.find_best() is None


def test_the_front_follows_the_direction_of_each_objective_and_takes_no_trial_without_both(workdir: Path) -> None:
    points = [(0.8, 10.0), (0.9, 20.0), (0.9, 10.0), (0.7, 10.0), (0.95, 30.0)]
    trials = [*(_done(auc=a, parameters=b) for a, b in points), _done(auc=0.99), {"state": "pruned", "values": {}}]
    _sweep("two", {"auc": "maximize", "parameters": "minimize"}, "1", *trials)
    assert [trial.number for trial in record.read_sweep("two").find_front()] == [2, 4]


def test_sweeps_are_listed_by_their_time_and_those_of_one_second_by_name(workdir: Path) -> None:
    for name, created in {"b": "2026-01-02", "a": "2026-01-02", "z": "2026-01-01"}.items():
        _sweep(name, {"auc": "maximize"}, created)
    assert record.list_names() == ["z", "a", "b"]


def test_a_trial_without_its_times_has_run_for_no_time(workdir: Path) -> None:
    folder = record.locate_trial(_sweep("one", {"auc": "maximize"}, "1", {"state": "running"}), 0)
    found = record.read_trial(folder)
    assert (found.started, found.seconds, found.epochs, found.values, found.max_epochs) == (0.0, 0.0, 0, {}, None)
    assert record.read_trial(folder, epochs=3).epochs == 3
    assert [record.is_final(folder), record.is_final(workdir)] == [False, False]
    for state in ("done", "pruned", "failed", "killed"):
        record.update_trial_json(folder, state=state)
        assert record.is_final(folder)


def test_a_sweep_that_is_not_there_is_told_with_those_that_are(workdir: Path) -> None:
    with pytest.raises(MeritError, match="no sweep; 'merit train -m model=linear,mlp' makes one"):
        record.find_latest()
    _sweep("one", {"auc": "maximize"}, "1")
    with pytest.raises(MeritError, match="sweeps/nix: no such sweep; allowed: one"):
        record.read_sweep("nix")


def test_a_line_that_is_still_written_is_no_epoch_yet(workdir: Path) -> None:
    assert record.read_epochs(workdir) == []
    (workdir / record.HISTORY_CSV).write_text("epoch,train_loss\n0,0.5\n1,0.2", encoding="utf-8")
    assert record.read_epochs(workdir) == [{"epoch": 0.0, "train_loss": 0.5}]


@pytest.mark.parametrize("text", ["{", "[]", "7", "{}", '{"number": 0, "overrides": {}, "state": "odd"}'])
def test_a_damaged_trial_is_lost_and_the_others_are_not(workdir: Path, text: str) -> None:
    folder = _sweep("one", {"auc": "maximize"}, "1", _done(auc=0.6), _done(auc=0.8))
    (record.locate_trial(folder, 1) / record.TRIAL_JSON).write_text(text)
    assert [trial.number for trial in record.read_sweep("one").trials] == [0]
    lost = record.find_damaged(folder)
    assert lost.keys() == {1}
    assert lost[1].startswith("sweeps/one/trials/0001/trial.json: ")
    if text in {"[]", "{}"}:
        assert ": damaged, for it lacks number, overrides, state; " in lost[1]
    assert lost[1].endswith("'merit train -m sweep.resume=one' trains it again")


@pytest.mark.parametrize("text", ["{", "[]", "7", "{}"])
def test_a_damaged_sweep_is_named_and_the_others_are_listed(workdir: Path, text: str) -> None:
    _sweep("one", {"auc": "maximize"}, "1", _done(auc=0.6))
    folder = _sweep("two", {"auc": "maximize"}, "2", _done(auc=0.7))
    (folder / record.SWEEP_JSON).write_text(text)
    done = CliRunner().invoke(main, ["sweep", "list"])
    assert done.output.splitlines()[:2] == ["two  damaged", "one  1 of 1 trials  trial 0: auc 0.6000"]
    assert isinstance(done.exception, MeritError) or done.exit_code == 2
    with pytest.raises(MeritError, match=r"^sweeps/two/sweep.json: .*give the sweep's command again with sweep.name="):
        record.read_sweep("two")
