"""Explains selection bias: how much better than it is the best of many trials is expected to look."""

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import NormalDist, fmean

from merit.config import tasks
from merit.sweep.record import Sweep, Trial
from merit.sweep.report import labels

MAX_COMPARED_TRIALS = 5
"""Trials compared when no two differ in the seed alone; never more than a third of all, nor fewer than two."""
SEED_KEY = "seed"


@dataclass(frozen=True)
class SeedNoise:
    """The standard deviation of a metric among trials that differ in their seed alone."""

    deviation: float
    degrees_of_freedom: int
    """Degrees of freedom: trials minus groups."""


def estimate_bias(trials: int) -> float:
    """Return the expected selection bias of the best of `trials` equally good trials, in standard deviations.

    The expected maximum of `trials` draws from a standard normal distribution, by the approximation of Blom (1958).
    """
    return NormalDist().inv_cdf((trials - 0.375) / (trials + 0.25)) if trials > 1 else 0.0


def measure_seed_noise(sweep: Sweep, metric: str) -> SeedNoise | None:
    """Return a metric's standard deviation between seeds, pooled over groups of trials that are otherwise equal.

    None if no two trials differ in the seed alone.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Trial]] = defaultdict(list)
    for trial in labels.list_done(sweep):
        groups[tuple(sorted(pair for pair in trial.overrides.items() if pair[0] != SEED_KEY))].append(trial)
    squares, degrees_of_freedom = 0.0, 0
    for group in groups.values():
        values = list({trial.overrides.get(SEED_KEY): trial.values[metric] for trial in group}.values())
        squares += sum((value - fmean(values)) ** 2 for value in values)
        degrees_of_freedom += len(values) - 1
    return SeedNoise(math.sqrt(squares / degrees_of_freedom), degrees_of_freedom) if degrees_of_freedom else None


def describe_selection_bias(sweep: Sweep) -> list[str]:
    """Return sentences on how many trials ran, why the best metric is optimistic and, if it is known, by how much."""
    lines = [
        f"{labels.format_counts(sweep)[0].upper()}{labels.format_counts(sweep)[1:]}. {_describe_evaluation(sweep)}"
    ]
    finished = labels.list_done(sweep)
    if not finished:
        return [*lines, "No trial is done, so there is nothing to choose from."]
    if len(finished) == 1:
        return [*lines, "Only one trial is done: without a choice there is no selection bias."]
    lines.append(
        f"The best of {len(finished)} is best by merit and by luck, and its metric alone can't tell how much is luck; "
        "the more trials, the larger this selection bias. Expect it to do somewhat worse on new rows."
    )
    lines += [_describe_bias(sweep, metric) for metric in sweep.objectives if metric in tasks.HIGHER_IS_BETTER]
    return [*lines, "The figure to quote is the gate's, on the test rows, after the trial was adopted."]


def _describe_evaluation(sweep: Sweep) -> str:
    has_epochs = any(trial.epochs > 1 for trial in sweep.trials)
    suffix = ", each at its best epoch" if has_epochs else ""
    return f"All were evaluated on the same validation rows{suffix}; the test rows are not read in a sweep."


def _describe_bias(sweep: Sweep, metric: str) -> str:
    finished = sorted(labels.list_done(sweep), key=lambda trial: labels.compute_cost(sweep, trial, metric))
    if seed_noise := measure_seed_noise(sweep, metric):
        bias = estimate_bias(len(finished)) * seed_noise.deviation
        return (
            f"Trials that differ in the seed alone scatter in {metric} by {labels.format_number(seed_noise.deviation)} "
            "(standard "
            f"deviation, {seed_noise.degrees_of_freedom} degrees of freedom). Were all {len(finished)} equally good, "
            "such luck alone "
            f"would have the best look {labels.format_number(bias)} better than it is."
        )
    best_trials = finished[: max(2, min(MAX_COMPARED_TRIALS, len(finished) // 3))]
    spread = abs(best_trials[-1].values[metric] - best_trials[0].values[metric])
    return (
        f"The {len(best_trials)} best by {metric} lie within {labels.format_number(spread)} of each other. A sweep "
        "that tries each "
        "setting once can't tell how much of that is luck: trust no lead of that size until other seeds confirm it "
        f"('merit train -m ... seed=1,2,3'). Were all {len(finished)} equally good, the best would look about "
        f"{estimate_bias(len(finished)):.1f} deviations between seeds better than it is."
    )
