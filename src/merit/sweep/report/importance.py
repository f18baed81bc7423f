"""Parameter importance: the share of a metric's variance that each parameter explains, by Optuna's evaluators."""

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from merit.sweep.record import Sweep
from merit.sweep.report import axes, labels

if TYPE_CHECKING:
    import optuna

MIN_TRIALS = 10
"""Minimum number of trials: with fewer, an importance is mostly noise."""
MANY_TRIALS = 200
"""Number of trials from which fewer trees give the same result in a quarter of the time."""


@dataclass(frozen=True)
class Importance:
    """The share of a metric's variation that each parameter explains, or the reason why it can't be estimated.

    Attributes:
        metric: the objective.
        shares: each parameter's share, from 0 to 1.
        method: name of the evaluator.
        reason: why there is no estimate, if `shares` is empty.
    """

    metric: str
    shares: dict[str, float] = field(default_factory=dict)
    method: str = ""
    reason: str = ""
    excluded: tuple[str, ...] = ()
    """Parameters that some trials don't set."""


def measure_importance(sweep: Sweep, metric: str) -> Importance:
    """Return how much each parameter of a sweep matters to a metric, over the trials that are done."""
    trials = labels.list_done(sweep)
    keys = labels.list_parameters(sweep)
    shared_keys = [key for key in keys if all(key in trial.overrides for trial in trials)]
    varying_keys = [key for key in shared_keys if len({trial.overrides[key] for trial in trials}) > 1]
    excluded = tuple(key for key in keys if key not in shared_keys)
    if len(trials) < MIN_TRIALS:
        reason = f"{len(trials)} trials are done; fewer than {MIN_TRIALS} say too little about which parameter matters."
    elif not varying_keys:
        reason = "No parameter differs among all trials that are done."
    elif len({trial.values[metric] for trial in trials}) == 1:
        reason = "All trials that are done came out the same."
    else:
        shares, method = _estimate_shares(_build_study(sweep, metric, varying_keys))
        return Importance(metric, shares, method, excluded=excluded)
    return Importance(metric, reason=reason, excluded=excluded)


def _build_study(sweep: Sweep, metric: str, keys: list[str]) -> "optuna.Study":
    """Return the trials as an in-memory study, its distributions derived from the values that were drawn."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.study import StudyDirection

    trials = labels.list_done(sweep)
    scales = {key: axes.from_values(key, (t.overrides[key] for t in trials), sweep.space.get(key, "")) for key in keys}
    distributions: dict[str, BaseDistribution] = {
        key: CategoricalDistribution(scale.labels)
        if scale.labels
        else FloatDistribution(scale.low, scale.high, log=scale.log)
        for key, scale in scales.items()
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=StudyDirection[sweep.objectives[metric].upper()])
    for trial in trials:
        params = {key: t if scales[key].labels else float(t) for key in keys if (t := trial.overrides[key])}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=trial.values[metric])
        )
    return study


def _estimate_shares(study: "optuna.Study") -> tuple[dict[str, float], str]:
    from optuna import importance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna marks these evaluators as experimental
        try:
            fanova = importance.FanovaImportanceEvaluator(n_trees=64 if len(study.trials) < MANY_TRIALS else 16, seed=0)
            return importance.get_param_importances(study, evaluator=fanova), "fANOVA"
        except (ImportError, RuntimeError, ValueError):  # scikit-learn is not installed, or its trees have no splits
            ped = importance.PedAnovaImportanceEvaluator()
            return importance.get_param_importances(study, evaluator=ped), "PED-ANOVA"
