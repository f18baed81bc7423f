"""Parameter importance: the share of a metric's variance that each parameter explains, by Optuna's evaluators."""

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from merit.sweep import axes, labels
from merit.sweep.record import Sweep

if TYPE_CHECKING:
    import optuna

FEWEST = 10
"""Minimum number of trials: with fewer, an importance is mostly noise."""
MANY = 200
"""Number of trials from which fewer trees give the same result in a quarter of the time."""


@dataclass(frozen=True)
class Importance:
    """The share of a metric's variation that each parameter explains, or the reason why it can't be estimated.

    Attributes:
        metric: the objective.
        shares: each parameter's share, from 0 to 1.
        method: name of the evaluator.
        why_not: the reason, if `shares` is empty.
    """

    metric: str
    shares: dict[str, float] = field(default_factory=dict)
    method: str = ""
    why_not: str = ""
    left_out: tuple[str, ...] = ()
    """Parameters that some trials don't set."""


def measure(sweep: Sweep, metric: str) -> Importance:
    """Return how much each parameter of a sweep matters to a metric, over the trials that are done."""
    trials = labels.done(sweep)
    keys = labels.parameters(sweep)
    here = [key for key in keys if all(key in trial.overrides for trial in trials)]
    varied = [key for key in here if len({trial.overrides[key] for trial in trials}) > 1]
    left_out = tuple(key for key in keys if key not in here)
    if len(trials) < FEWEST:
        why = f"{len(trials)} trials are done; fewer than {FEWEST} say too little about which parameter matters."
    elif not varied:
        why = "No parameter differs among all trials that are done."
    elif len({trial.values[metric] for trial in trials}) == 1:
        why = "All trials that are done came out the same."
    else:
        shares, method = _shares(_study(sweep, metric, varied))
        return Importance(metric, shares, method, left_out=left_out)
    return Importance(metric, why_not=why, left_out=left_out)


def _study(sweep: Sweep, metric: str, keys: list[str]) -> "optuna.Study":
    """Return the trials as an in-memory study, its distributions derived from the values that were drawn."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.study import StudyDirection

    trials = labels.done(sweep)
    scales = {key: axes.of(key, (t.overrides[key] for t in trials), sweep.space.get(key, "")) for key in keys}
    kinds: dict[str, BaseDistribution] = {
        key: CategoricalDistribution(scale.words)
        if scale.words
        else FloatDistribution(scale.low, scale.high, log=scale.log)
        for key, scale in scales.items()
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=StudyDirection[sweep.objectives[metric].upper()])
    for trial in trials:
        drawn = {key: t if scales[key].words else float(t) for key in keys if (t := trial.overrides[key])}
        study.add_trial(optuna.trial.create_trial(params=drawn, distributions=kinds, value=trial.values[metric]))
    return study


def _shares(study: "optuna.Study") -> tuple[dict[str, float], str]:
    from optuna import importance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna marks these evaluators as experimental
        try:
            fanova = importance.FanovaImportanceEvaluator(n_trees=64 if len(study.trials) < MANY else 16, seed=0)
            return importance.get_param_importances(study, evaluator=fanova), "fANOVA"
        except (ImportError, RuntimeError, ValueError):  # scikit-learn is not installed, or its trees have no splits
            ped = importance.PedAnovaImportanceEvaluator()
            return importance.get_param_importances(study, evaluator=ped), "PED-ANOVA"
