"""Explains selection bias: how much better than it is the best of many trials is expected to look."""

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import NormalDist, fmean

from merit.config import tasks
from merit.sweep import labels
from merit.sweep.record import Sweep, Trial

TOP = 5
"""Trials compared when no two differ in the seed alone; never more than a third of all, nor fewer than two."""
SEED = "seed"


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a metric among trials that differ in their seed alone."""

    deviation: float
    freedom: int
    """Degrees of freedom: trials minus groups."""


def lead(count: int) -> float:
    """Return the expected selection bias of the best of `count` equally good trials, in standard deviations.

    The expected maximum of `count` draws from a standard normal distribution, by the approximation of Blom (1958).
    """
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def noise(sweep: Sweep, metric: str) -> Noise | None:
    """Return a metric's standard deviation between seeds, pooled over groups of trials that are otherwise equal.

    None if no two trials differ in the seed alone.
    """
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
    """Return sentences on how many trials ran, why the best metric is optimistic and, if it is known, by how much."""
    told = [f"{labels.counts(sweep)[0].upper()}{labels.counts(sweep)[1:]}. {_judged(sweep)}"]
    finished = labels.done(sweep)
    if not finished:
        return [*told, "No trial is done, so there is nothing to choose from."]
    if len(finished) == 1:
        return [*told, "Only one trial is done: without a choice there is no selection bias."]
    told.append(
        f"The best of {len(finished)} is best by merit and by luck, and its metric alone can't tell how much is luck; "
        "the more trials, the larger this selection bias. Expect it to do somewhat worse on new rows."
    )
    told += [_how_much(sweep, metric) for metric in sweep.objectives if metric in tasks.HIGHER_IS_BETTER]
    return [*told, "The figure to quote is the gate's, on the test rows, after the trial was adopted."]


def _judged(sweep: Sweep) -> str:
    several = any(trial.epochs > 1 for trial in sweep.trials)
    best = ", each at its best epoch" if several else ""
    return f"All were evaluated on the same validation rows{best}; the test rows are not read in a sweep."


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
        f"The {len(top)} best by {metric} lie within {labels.number(spread)} of each other. A sweep that tries each "
        "setting once can't tell how much of that is luck: trust no lead of that size until other seeds confirm it "
        f"('merit train -m ... seed=1,2,3'). Were all {len(finished)} equally good, the best would look about "
        f"{lead(len(finished)):.1f} deviations between seeds better than it is."
    )
