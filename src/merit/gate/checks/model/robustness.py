"""Robustness checks: on perturbed test rows, metrics may get worse only by a declared margin.

Perturbations: missing values, unseen categories, noise on numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.config.schema.gate import Margin, Robustness, Spoiling
from merit.gate.checks.model.limits import no_worse
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict

UNSEEN = "never seen in any row"
Spoiled = dict[str, NDArray[Any]]
Spoil = Callable[[Evidence, float, np.random.Generator], Spoiled]
SEED = 20
"""Joins the lock's seed in the generator's seed, so that these draws differ from all others of that seed."""
ADVICE = {
    "missing": "train on rows with missing values, or on fewer nullable columns",
    "unseen": "the model leans on single values: raise features.category.min_count, or use smaller embeddings",
    "noise": "the model turns on small differences of numbers: regularise more, or lower features.number.clip",
}


def check(evidence: Evidence) -> list[Check]:
    """Return one check per declared perturbation."""
    rule = evidence.lock.gate.robustness
    if rule is None:
        return []
    ways = {name: (spoiling, spoil) for name, spoil in SPOILS.items() if (spoiling := getattr(rule, name)) is not None}
    return [_judged(evidence, rule, name, *way) for name, way in ways.items()]


def _judged(evidence: Evidence, rule: Robustness, name: str, how: Spoiling, spoil: Spoil) -> Check:
    """Check the candidate's metric on perturbed rows against its metric on the same rows unperturbed."""
    draw = np.random.default_rng([evidence.lock.seed, SEED, list(SPOILS).index(name)])
    spoiled = spoil(evidence, how.amount, draw)
    title = f"robustness: {name}"
    if not spoiled:
        return Check(title, Verdict.PASS, "no column can be perturbed this way", "nothing to judge")
    answers = evidence.package.predict({**evidence.columns, **spoiled})
    count = evidence.lock.evaluate.slice_resamples
    found = evidence.difference(evidence.candidate, [rule.metric], candidate=answers, count=count)[rule.metric]
    made = no_worse(title, found, evidence, Margin(metric=rule.metric, margin=how.margin), ADVICE[name])
    return replace(made, found=f"{rule.metric} {made.found}")


def _missing(evidence: Evidence, share: float, draw: np.random.Generator) -> Spoiled:
    """Remove a share of the values of every nullable column."""
    return {
        each["name"]: _replaced(evidence.columns[each["name"]], share, draw, "" if each["type"] == "string" else np.nan)
        for each in evidence.package.inputs
        if each["nullable"]
    }


def _unseen(evidence: Evidence, share: float, draw: np.random.Generator) -> Spoiled:
    """Replace a share of the values of every category by one that occurs in no row."""
    return {
        name: _replaced(evidence.columns[name], share, draw, _beyond(evidence.columns[name]))
        for name in _features(evidence, "category")
    }


def _replaced(values: NDArray[Any], share: float, draw: np.random.Generator, instead: Any) -> NDArray[Any]:
    return np.where(draw.uniform(size=len(values)) < share, instead, values).astype(values.dtype)


def _beyond(values: NDArray[Any]) -> str | float:
    """Return a category that the column doesn't contain: a text, or a whole number far above all others."""
    if values.dtype == object:
        return UNSEEN
    known = values[np.isfinite(values)]
    return float(np.floor(2 * np.abs(known).max(initial=0.0)) + 1_000_003)


def _noise(evidence: Evidence, deviations: float, draw: np.random.Generator) -> Spoiled:
    """Add normal noise to every number, scaled by `deviations` of its column's standard deviation."""
    made = {}
    for name in (*_features(evidence, "number"), *_features(evidence, "array")):
        if evidence.lock.data.columns[name].type != "boolean":
            values = evidence.columns[name].astype(np.float64)
            made[name] = values + draw.normal(size=values.shape) * deviations * np.nanstd(values)
    return made


def _features(evidence: Evidence, kind: str) -> Iterator[str]:
    """Return the package's input columns that are features of a kind."""
    columns = evidence.lock.data.columns
    return (name for name in evidence.columns if name in columns and columns[name].feature == kind)


SPOILS: dict[str, Spoil] = {"missing": _missing, "unseen": _unseen, "noise": _noise}
