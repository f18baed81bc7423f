import math
from pathlib import Path
from typing import Any

import pytest

from merit.sweep import record
from merit.sweep.report import importance
from tests.support import sweep_folders


def _measure(root: Path, trials: int, edit: sweep_folders.Edit, **sweep: Any) -> importance.Importance:
    sweep_folders.make(root, trials=trials, edit=edit, **sweep)
    return importance.measure_importance(record.read_sweep("mlp"), "log_loss")


def _decided_by_rate(number: int, told: dict[str, Any]) -> None:
    told["overrides"].pop("model.hidden", None)
    loss = abs(math.log10(float(told["overrides"]["optimizer.lr"])) + 2.5)
    told.update(state="done", values={"log_loss": loss})


def test_ten_trials_are_the_least_from_which_an_importance_is_estimated(workdir: Path) -> None:
    few = _measure(workdir, 9, _decided_by_rate)
    assert (few.shares, few.method) == ({}, "")
    assert few.reason == "9 trials are done; fewer than 10 say too little about which parameter matters."
    enough = _measure(workdir, 10, _decided_by_rate)
    assert (set(enough.shares), enough.reason) == ({"model", "optimizer.lr", "trainer.batch_size"}, "")
    assert sum(enough.shares.values()) == pytest.approx(1.0)


def test_a_parameter_that_never_varies_or_that_some_trials_lack_has_no_share(workdir: Path) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        _decided_by_rate(number, told)
        told["overrides"] |= {"model": "mlp"} | ({"seed": "1"} if number % 2 else {})

    found = _measure(workdir, 12, edit)
    assert set(found.shares) == {"optimizer.lr", "trainer.batch_size"}
    assert found.excluded == ("model.hidden", "seed")
    assert found.shares["optimizer.lr"] > 0.5


def test_a_study_has_the_direction_the_scales_and_the_values_of_the_sweep(workdir: Path) -> None:
    sweep_folders.make(workdir, trials=12, edit=_decided_by_rate, objectives={"log_loss": "maximize"})
    sweep = record.read_sweep("mlp")
    study = importance._build_study(sweep, "log_loss", ["model", "optimizer.lr"])
    assert study.direction.name == "MAXIMIZE"
    assert [trial.value for trial in study.trials] == [trial.values["log_loss"] for trial in sweep.trials]
    distributions = study.trials[0].distributions
    rates = [float(trial.overrides["optimizer.lr"]) for trial in sweep.trials]
    assert distributions["optimizer.lr"].log  # type: ignore[attr-defined]
    assert distributions["optimizer.lr"].low <= min(rates)  # type: ignore[attr-defined]
    assert set(distributions["model"].choices) == {"linear", "mlp"}  # type: ignore[attr-defined]
    assert [trial.params["optimizer.lr"] for trial in study.trials] == rates


def test_the_parameter_that_decided_is_the_most_important(workdir: Path) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        if told["values"]:
            told["values"] = {"log_loss": abs(math.log10(float(told["overrides"]["optimizer.lr"])) + 2.5)}

    sweep_folders.make(workdir, trials=40, edit=edit)
    found = importance.measure_importance(record.read_sweep("mlp"), "log_loss")
    assert next(iter(found.shares)) == "optimizer.lr"
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.method == "fANOVA"
    assert found.excluded == ("model.hidden",)


def test_where_fanova_fails_ped_anova_tells(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    def broken(**_: object) -> None:
        raise ImportError("no scikit-learn")

    monkeypatch.setattr(optuna.importance, "FanovaImportanceEvaluator", broken)
    sweep_folders.make(workdir, trials=40)
    found = importance.measure_importance(record.read_sweep("mlp"), "log_loss")
    assert found.method == "PED-ANOVA"
    assert set(found.shares) == {"model", "optimizer.lr", "trainer.batch_size"}


def test_no_importance_is_told_where_nothing_differs(workdir: Path) -> None:
    def same(number: int, told: dict[str, Any]) -> None:
        told.update(state="done", values={"log_loss": 0.5})

    def one(number: int, told: dict[str, Any]) -> None:
        told.update(state="done", overrides={"model": "mlp"}, values={"log_loss": 0.5 + number})

    sweep_folders.make(workdir, "same", trials=12, edit=same)
    sweep_folders.make(workdir, "one", trials=12, edit=one)
    assert "came out the same" in importance.measure_importance(record.read_sweep("same"), "log_loss").reason
    assert "No parameter differs" in importance.measure_importance(record.read_sweep("one"), "log_loss").reason
