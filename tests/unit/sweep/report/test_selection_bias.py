import math
from pathlib import Path
from typing import Any

import pytest

from merit.sweep import record
from merit.sweep.report import selection_bias
from tests.support import sweep_folders


def _sweep(root: Path, **how: Any) -> record.Sweep:
    sweep_folders.make(root, **how)
    return record.read_sweep("mlp")


def _seeds(number: int, told: dict[str, Any]) -> None:
    """Two settings, four seeds each, 0.01 apart within a setting."""
    told["overrides"] = {"model": "mlp" if number < 4 else "linear", "seed": str(number % 4)}
    told.update(state="done", values={"log_loss": (0.4 if number < 4 else 0.6) + 0.01 * (number % 2)})


def test_the_lead_of_the_best_is_that_of_the_greatest_of_normal_draws() -> None:
    # Expected greatest of n standard normal draws (Harter 1961): 10: 1.5388, 20: 1.8675, 100: 2.5076.
    assert selection_bias.estimate_bias(10) == pytest.approx(1.5388, abs=0.01)
    assert selection_bias.estimate_bias(20) == pytest.approx(1.8675, abs=0.01)
    assert selection_bias.estimate_bias(100) == pytest.approx(2.5076, abs=0.01)
    assert selection_bias.estimate_bias(1) == 0.0


def test_trials_that_differ_in_the_seed_alone_measure_the_luck(workdir: Path) -> None:
    sweep = _sweep(workdir, trials=8, edit=_seeds)
    found = selection_bias.measure_seed_noise(sweep, "log_loss")
    assert found is not None
    assert found.deviation == pytest.approx(math.sqrt(8 * 0.005**2 / 6))
    assert found.degrees_of_freedom == 6
    by = f"{selection_bias.estimate_bias(8) * found.deviation:.4f}"
    assert f"the best look {by} better than it is" in " ".join(selection_bias.describe_selection_bias(sweep))


def test_the_same_setting_tried_twice_with_one_seed_measures_nothing(workdir: Path) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        told.update(overrides={"model": "mlp", "seed": "1"}, state="done", values={"log_loss": 0.4})

    assert selection_bias.measure_seed_noise(_sweep(workdir, trials=4, edit=edit), "log_loss") is None


def test_without_other_seeds_the_spread_of_the_best_is_told_and_no_more_is_claimed(workdir: Path) -> None:
    told = " ".join(selection_bias.describe_selection_bias(_sweep(workdir)))
    assert "20 trials: 16 done, 2 pruned, 1 failed, 1 killed" in told
    assert "The 5 best by log_loss lie within 0.0054 of each other" in told
    assert "the test rows are not read in a sweep" in told
    assert "better than it is" in told


def test_of_few_trials_only_two_are_called_the_best(workdir: Path) -> None:
    assert "The 2 best by log_loss lie within" in " ".join(
        selection_bias.describe_selection_bias(_sweep(workdir, trials=7))
    )


def test_seconds_are_no_metric_that_luck_flatters(workdir: Path) -> None:
    sweep = _sweep(workdir, objectives={"log_loss": "minimize", "train_seconds": "minimize"})
    assert "best by train_seconds" not in " ".join(selection_bias.describe_selection_bias(sweep))


@pytest.mark.parametrize(("trials", "said"), [(0, "No trial is done"), (1, "without a choice")])
def test_of_none_and_of_one_nothing_was_chosen(workdir: Path, trials: int, said: str) -> None:
    assert said in " ".join(selection_bias.describe_selection_bias(_sweep(workdir, trials=trials)))
