"""Robustness: the test rows are spoiled as the world spoils rows, and the model may do only so much worse on them."""

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
"""Added to the lock's seed, that no other draw is this one."""
ADVICE = {
    "missing": "train on rows that lack such values, or on fewer columns that may lack them",
    "unseen": "the model leans on single values: raise features.category.min_count, or use smaller embeddings",
    "noise": "the model turns on small differences of numbers: regularise more, or lower features.number.clip",
}


def check(evidence: Evidence) -> list[Check]:
    """Return a check for each way of spoiling that is declared."""
    rule = evidence.lock.gate.robustness
    if rule is None:
        return []
    ways = {name: (spoiling, spoil) for name, spoil in SPOILS.items() if (spoiling := getattr(rule, name)) is not None}
    return [_judged(evidence, rule, name, *way) for name, way in ways.items()]


def _judged(evidence: Evidence, rule: Robustness, name: str, how: Spoiling, spoil: Spoil) -> Check:
    """Compare the candidate on spoiled rows with itself on the same rows as they are."""
    draw = np.random.default_rng([evidence.lock.seed, SEED, list(SPOILS).index(name)])
    spoiled = spoil(evidence, how.amount, draw)
    title = f"robustness: {name}"
    if not spoiled:
        return Check(title, Verdict.PASS, "no column can be spoiled so", "nothing to judge")
    answers = evidence.package.predict({**evidence.columns, **spoiled})
    count = evidence.lock.evaluate.slice_resamples
    found = evidence.difference(evidence.candidate, [rule.metric], candidate=answers, count=count)[rule.metric]
    made = no_worse(title, found, evidence, Margin(metric=rule.metric, margin=how.margin), ADVICE[name])
    return replace(made, found=f"{rule.metric} {made.found}")


def _missing(evidence: Evidence, share: float, draw: np.random.Generator) -> Spoiled:
    """Take values out of the columns that may lack them."""
    return {
        each["name"]: _replaced(evidence.columns[each["name"]], share, draw, "" if each["type"] == "string" else np.nan)
        for each in evidence.package.inputs
        if each["nullable"]
    }


def _unseen(evidence: Evidence, share: float, draw: np.random.Generator) -> Spoiled:
    """Put values that no row has into the categories."""
    return {
        name: _replaced(evidence.columns[name], share, draw, _beyond(evidence.columns[name]))
        for name in _features(evidence, "category")
    }


def _replaced(values: NDArray[Any], share: float, draw: np.random.Generator, instead: Any) -> NDArray[Any]:
    return np.where(draw.uniform(size=len(values)) < share, instead, values).astype(values.dtype)


def _beyond(values: NDArray[Any]) -> str | float:
    """Return a category that a column doesn't hold: a text, or a whole number far above all others."""
    if values.dtype == object:
        return UNSEEN
    known = values[np.isfinite(values)]
    return float(np.floor(2 * np.abs(known).max(initial=0.0)) + 1_000_003)


def _noise(evidence: Evidence, deviations: float, draw: np.random.Generator) -> Spoiled:
    """Move every number by a draw of so many of its column's deviations."""
    made = {}
    for name in (*_features(evidence, "number"), *_features(evidence, "array")):
        if evidence.lock.data.columns[name].type != "boolean":
            values = evidence.columns[name].astype(np.float64)
            made[name] = values + draw.normal(size=values.shape) * deviations * np.nanstd(values)
    return made


def _features(evidence: Evidence, kind: str) -> Iterator[str]:
    """Yield the columns of a kind that the package takes."""
    columns = evidence.lock.data.columns
    return (name for name in evidence.columns if name in columns and columns[name].feature == kind)


SPOILS: dict[str, Spoil] = {"missing": _missing, "unseen": _unseen, "noise": _noise}
