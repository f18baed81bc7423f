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
    # Blom's approximation is within 0.01 of them, and 0.5895 for two (exactly: 1/sqrt(pi) = 0.5642).
    for trials, greatest in {10: 1.5388, 20: 1.8675, 100: 2.5076}.items():
        assert selection_bias.estimate_bias(trials) == pytest.approx(greatest, abs=0.01)
    assert selection_bias.estimate_bias(2) == pytest.approx(0.5895, abs=0.0001)
    assert selection_bias.estimate_bias(1) == 0.0


def test_trials_that_differ_in_the_seed_alone_measure_the_luck(workdir: Path) -> None:
    sweep = _sweep(workdir, trials=8, edit=_seeds)
    found = selection_bias.measure_seed_noise(sweep, "log_loss")
    assert found is not None
    assert found.deviation == pytest.approx(math.sqrt(8 * 0.005**2 / 6))
    assert found.degrees_of_freedom == 6
    by = f"{selection_bias.estimate_bias(8) * found.deviation:.4f}"
    assert f"the best look {by} better than it is" in " ".join(selection_bias.describe_selection_bias(sweep))


def test_seeds_are_pooled_over_settings_of_different_size_and_a_repeated_seed_counts_once(workdir: Path) -> None:
    losses = {0: 0.40, 1: 0.42, 2: 0.44, 3: 0.60, 4: 0.64, 5: 0.44}  # the last repeats the seed of the third

    def edit(number: int, told: dict[str, Any]) -> None:
        overrides = {"model": "mlp" if number in {0, 1, 2, 5} else "linear", "seed": str({5: 2}.get(number, number))}
        told.update(overrides=overrides, state="done", values={"log_loss": losses[number]})

    found = selection_bias.measure_seed_noise(_sweep(workdir, trials=6, edit=edit), "log_loss")
    assert found is not None
    assert found.deviation == pytest.approx(math.sqrt((2 * 0.02**2 + 2 * 0.02**2) / 3))
    assert found.degrees_of_freedom == 3


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


@pytest.mark.parametrize(("epochs", "said"), [(1, "rows; the test"), (2, "rows, each at its best epoch; the test")])
def test_a_best_epoch_is_told_where_trials_have_several(workdir: Path, epochs: int, said: str) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        told["epochs"] = epochs

    sweep = _sweep(workdir, trials=3, edit=edit)
    assert f"evaluated on the same validation {said}" in selection_bias.describe_selection_bias(sweep)[0]


@pytest.mark.parametrize(("trials", "compared"), [(8, 2), (9, 3), (12, 4), (15, 5), (30, 5)])
def test_a_third_of_the_trials_is_compared_and_five_at_most(workdir: Path, trials: int, compared: int) -> None:
    def edit(number: int, told: dict[str, Any]) -> None:
        told.update(state="done", values={"log_loss": 0.9 - 0.01 * number})

    told = " ".join(selection_bias.describe_selection_bias(_sweep(workdir, trials=trials, edit=edit)))
    assert f"The {compared} best by log_loss lie within {0.01 * (compared - 1):.4f} of each other" in told
    assert f"Were all {trials} equally good" in told
    assert f"about {selection_bias.estimate_bias(trials):.1f} deviations" in told


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
