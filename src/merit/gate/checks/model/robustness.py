"""Robustness checks: on perturbed test rows, metrics may get worse only by a declared margin.

Perturbations: missing values, unseen categories, noise on numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.config.schema.gate import Perturbation, Robustness
from merit.gate.checks.model.limits import Limit, check_limit
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict

UNSEEN_CATEGORY = "never seen in any row"
PerturbedColumns = dict[str, NDArray[Any]]
PerturbFunction = Callable[[Evidence, float, np.random.Generator], PerturbedColumns]
SEED_SALT = 20
"""Joins the lock's seed in the generator's seed, so that these draws differ from all others of that seed."""
ADVICE_BY_NAME = {
    "missing": "train on rows with missing values, or on fewer nullable columns",
    "unseen": "the model leans on single values: raise features.category.min_count, or use smaller embeddings",
    "noise": "the model turns on small differences of numbers: regularise more, or lower features.number.clip",
}


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return one check per declared perturbation."""
    rule = evidence.lock.gate.robustness
    return {
        f"robustness: {name}": partial(_check_perturbation, rule=rule, name=name, perturbation=perturbation)
        for name in PERTURBATIONS
        if rule is not None and (perturbation := getattr(rule, name)) is not None
    }


def _check_perturbation(evidence: Evidence, *, rule: Robustness, name: str, perturbation: Perturbation) -> CheckResult:
    """Check the candidate's metric on perturbed rows against its metric on the same rows unperturbed."""
    generator = np.random.default_rng([evidence.lock.seed, SEED_SALT, list(PERTURBATIONS).index(name)])
    perturbed = PERTURBATIONS[name](evidence, perturbation.amount, generator)
    if not perturbed:
        return CheckResult("", Verdict.NOT_APPLICABLE, "no column can be perturbed this way", "nothing to judge")
    predictions = evidence.package.predict({**evidence.columns, **perturbed})
    higher_is_better = evidence.is_higher_better(rule.metric)
    signed_margin = -perturbation.margin if higher_is_better else perturbation.margin
    limit = Limit(signed_margin, is_lower_bound=higher_is_better, is_difference=True)
    difference = evidence.compare_perturbed(predictions, rule.metric)
    result = check_limit("", difference, limit, size=evidence.size, advice=ADVICE_BY_NAME[name])
    return replace(result, found=f"{rule.metric} {result.found}")


def _remove_values(evidence: Evidence, share: float, generator: np.random.Generator) -> PerturbedColumns:
    """Remove a share of the values of every nullable column."""
    return {
        each["name"]: _replace_share(
            evidence.columns[each["name"]], share, generator, "" if each["type"] == "string" else np.nan
        )
        for each in evidence.package.inputs
        if each["nullable"]
    }


def _insert_unseen(evidence: Evidence, share: float, generator: np.random.Generator) -> PerturbedColumns:
    """Replace a share of the values of every category by one that occurs in no row."""
    return {
        name: _replace_share(evidence.columns[name], share, generator, _find_unseen_value(evidence.columns[name]))
        for name in _list_features(evidence, "category")
    }


def _replace_share(
    values: NDArray[Any], share: float, generator: np.random.Generator, replacement: Any
) -> NDArray[Any]:
    return np.where(generator.uniform(size=len(values)) < share, replacement, values).astype(values.dtype)


def _find_unseen_value(values: NDArray[Any]) -> str | float:
    """Return a category that the column doesn't contain: a text, or a whole number far above all others."""
    if values.dtype == object:
        return UNSEEN_CATEGORY
    finite = values[np.isfinite(values)]
    return float(np.floor(2 * np.abs(finite).max(initial=0.0)) + 1_000_003)


def _add_noise(evidence: Evidence, deviations: float, generator: np.random.Generator) -> PerturbedColumns:
    """Add normal noise to every number, scaled by `deviations` of its column's standard deviation."""
    noisy = {}
    for name in (*_list_features(evidence, "number"), *_list_features(evidence, "array")):
        if evidence.lock.data.columns[name].type != "boolean":
            values = evidence.columns[name].astype(np.float64)
            noisy[name] = values + generator.normal(size=values.shape) * deviations * np.nanstd(values)
    return noisy


def _list_features(evidence: Evidence, kind: str) -> Iterator[str]:
    """Return the package's input columns that are features of a kind."""
    columns = evidence.lock.data.columns
    return (name for name in evidence.columns if name in columns and columns[name].feature == kind)


PERTURBATIONS: dict[str, PerturbFunction] = {"missing": _remove_values, "unseen": _insert_unseen, "noise": _add_noise}

NAME = "robustness"
FAMILY = CheckFamily(160, build_checks, phase="checking robustness and behaviour")
