"""How far the best of many trials can be trusted: what is known of luck, in sentences."""

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import NormalDist, fmean

from merit.config import tasks
from merit.sweep import labels
from merit.sweep.record import Sweep, Trial

TOP = 5
"""Trials that are called the best, but never more than a third of all."""
SEED = "seed"


@dataclass(frozen=True)
class Noise:
    """How far trials that differ in their seed alone scatter."""

    deviation: float
    freedom: int
    """Degrees of freedom: trials less groups."""


def lead(count: int) -> float:
    """Return by how many deviations the best of `count` equally good trials is expected to look better than it is.

    The greatest of so many draws of a normal distribution, by the approximation of Blom (1958).
    """
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def noise(sweep: Sweep, metric: str) -> Noise | None:
    """Return the scatter of a metric between seeds, pooled; None if no two trials differ in the seed alone."""
    groups: dict[tuple[tuple[str, str], ...], list[Trial]] = defaultdict(list)
    for trial in labels.done(sweep):
        groups[tuple(sorted(pair for pair in trial.overrides.items() if pair[0] != SEED))].append(trial)
    squares, freedom = 0.0, 0
    for group in groups.values():
        values = list({trial.overrides.get(SEED): trial.values[metric] for trial in group}.values())
        squares += sum((value - fmean(values)) ** 2 for value in values)
        freedom += len(values) - 1
    return Noise(math.sqrt(squares / freedom), freedom) if freedom else None


def sentences(sweep: Sweep) -> list[str]:
    """Return how many trials were tried, why the best is optimistic, and by how much as far as that is known."""
    told = [f"{labels.counts(sweep)[0].upper()}{labels.counts(sweep)[1:]}. {_judged(sweep)}"]
    finished = labels.done(sweep)
    if not finished:
        return [*told, "No trial is done, so there is nothing to choose from."]
    if len(finished) == 1:
        return [*told, "Only one trial is done: nothing was chosen, so nothing flatters it."]
    told.append(
        f"The best of {len(finished)} is best by merit and by luck, and nobody can see from its figure which: the more "
        "trials, the more luck there is to pick from. Expect it to do somewhat worse on new rows."
    )
    told += [_how_much(sweep, metric) for metric in sweep.objectives if metric in tasks.HIGHER_IS_BETTER]
    return [*told, "The figure to quote is the gate's, on the test rows, after the trial was adopted."]


def _judged(sweep: Sweep) -> str:
    several = any(trial.epochs > 1 for trial in sweep.trials)
    best = ", each at its best epoch" if several else ""
    return f"All were judged on the same validation rows{best}; the test rows are not read in a sweep."


def _how_much(sweep: Sweep, metric: str) -> str:
    finished = sorted(labels.done(sweep), key=lambda trial: labels.cost(sweep, trial, metric))
    if found := noise(sweep, metric):
        by = lead(len(finished)) * found.deviation
        return (
            f"Trials that differ in the seed alone scatter in {metric} by {labels.number(found.deviation)} (standard "
            f"deviation, {found.freedom} degrees of freedom). Were all {len(finished)} equally good, such luck alone "
            f"would have the best look {labels.number(by)} better than it is."
        )
    top = finished[: max(2, min(TOP, len(finished) // 3))]
    spread = abs(top[-1].values[metric] - top[0].values[metric])
    return (
        f"The {len(top)} best by {metric} lie within {labels.number(spread)} of each other. How much of that is luck a "
        "sweep can't tell that tries each setting once: take a lead of that size for none until other seeds confirm it "
        f"('merit train -m ... seed=1,2,3'). Were all {len(finished)} equally good, the best would look about "
        f"{lead(len(finished)):.1f} deviations between seeds better than it is."
    )
