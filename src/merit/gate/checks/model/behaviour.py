"""Behavioural checks that conf/ declares, independent of metrics (CheckList, Ribeiro et al. 2020).

Invariance: changing a column must not change predictions. Direction: changing a column may move predictions only one
way. Golden: a known row must be predicted within bounds.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.config.schema.gate import Change, Direction, Golden, Invariance
from merit.errors import MeritError
from merit.gate.checks.model.limits import Limit, judged
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.metrics import Estimate


def check(evidence: Evidence) -> list[Check]:
    """Return one check per declared expectation, in the order of conf/."""
    told = evidence.lock.gate.behaviour
    asked: list[Callable[[], Check]] = [
        *(partial(_invariance, evidence, f"invariance: {name}", each) for name, each in told.invariance.items()),
        *(partial(_direction, evidence, f"direction: {name}", each) for name, each in told.direction.items()),
        *(partial(_golden, evidence, f"golden: {name}", each) for name, each in told.golden.items()),
    ]
    # Each check scores all test rows again on a single thread, so they run side by side.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda judge: judge(), asked))


def _invariance(evidence: Evidence, name: str, rule: Invariance) -> Check:
    """Check that no prediction, nor any class probability, moves by more than the tolerance."""
    moved = np.abs(_changed(evidence, rule) - evidence.candidate)
    greatest = float(moved.max(initial=0.0))
    verdict = Verdict.PASS if greatest <= rule.tolerance else Verdict.FAIL
    rows = int((moved.reshape(len(moved), -1).max(axis=1) > rule.tolerance).sum())
    found = f"moved by at most {greatest:.4f}" + (f", {rows:,} rows by more than allowed" if rows else "")
    advice = f"the answers follow '{rule.column}': leave it out by 'feature: none', or regularise more"
    return Check(name, verdict, found, f"at most {rule.tolerance:g}, {_said(rule)}", advice)


def _direction(evidence: Evidence, name: str, rule: Direction) -> Check:
    """Check that the mean prediction moves in the expected direction or stays, within the tolerance.

    The verdict uses a normal confidence interval of the mean change per row.
    """
    moved = _answers(evidence, _changed(evidence, rule), rule.label) - _answers(
        evidence, evidence.candidate, rule.label
    )
    mean, count = float(moved.mean()), len(moved)
    half = NormalDist().inv_cdf((1 + evidence.lock.gate.confidence) / 2) * float(moved.std()) / count**0.5
    tolerance, is_least = rule.tolerance or 0.0, rule.expect == "not_lower"
    limit = Limit(-tolerance if is_least else tolerance, is_least=is_least, signed=True)
    more = f" by more than {tolerance:g}" if tolerance else ""
    advice = f"the answers go the wrong way with '{rule.column}': look for a leak, or too few rows that show it"
    made = judged(name, Estimate(mean, mean - half, mean + half), limit, rows=count, advice=advice)
    return Check(
        made.name,
        made.verdict,
        f"{made.found} on average",
        f"{rule.expect.replace('_', ' ')}{more}, {_said(rule)}",
        made.advice,
        rows_needed=made.rows_needed,
    )


def _golden(evidence: Evidence, name: str, rule: Golden) -> Check:
    """Check that the prediction for a declared row lies within the declared bounds."""
    low, high = rule.bounds
    allowed = f"from {low:g} to {high:g}" if np.isfinite([low, high]).all() else _half(low, high)
    try:
        columns = {each: _column(evidence, each, [rule.row.get(each)]) for each in evidence.package.graph.inputs}
    except MeritError as error:
        advice = f"correct the row in gate.behaviour.{name.replace(': ', '.', 1)}"
        return Check(name, Verdict.INCONCLUSIVE, str(error), allowed, advice)
    answer = float(_answers(evidence, evidence.package.predict(columns), rule.label)[0])
    verdict = Verdict.PASS if low <= answer <= high else Verdict.FAIL
    advice = "the model mispredicts a known row: look at the training rows like it"
    return Check(name, verdict, f"{answer:.4f}", allowed, advice)


def _half(low: float, high: float) -> str:
    """Return a range with one finite bound, as a report shows it."""
    return f"at least {low:g}" if np.isfinite(low) else f"at most {high:g}"


def _said(rule: Change) -> str:
    """Return the change of the column, as a report shows it."""
    return f"{rule.column} {rule.by:+g}" if rule.by is not None else f"{rule.column} to {rule.to}"


def _changed(evidence: Evidence, rule: Change) -> NDArray[Any]:
    """Return the predictions for the test rows with one column changed; `by` leaves missing values missing."""
    values = evidence.columns[rule.column]
    if rule.by is None:
        made = _column(evidence, rule.column, [rule.to] * len(values))
    else:
        column = evidence.lock.data.columns[rule.column]
        made = values + rule.by
        # Clip what the change pushes out of the declared bounds; a value already outside them stays where it is.
        made = made if column.min is None else np.maximum(made, np.minimum(values, column.min))
        made = made if column.max is None else np.minimum(made, np.maximum(values, column.max))
    return evidence.package.predict({**evidence.columns, rule.column: made})


def _answers(evidence: Evidence, predictions: NDArray[Any], label: Any) -> NDArray[np.float64]:
    """Return one number per row: the prediction, or the probability of the class `label`."""
    classes = evidence.lock.data.target.classes
    return (predictions if classes is None else predictions[:, classes.index(label)]).astype(np.float64)


def _column(evidence: Evidence, name: str, values: list[Any]) -> NDArray[Any]:
    """Return values from YAML as an array that the package takes for the column.

    Raises:
        MeritError: an array value doesn't have the shape of its column.
    """
    column = evidence.lock.data.columns[name]
    if evidence.package.graph.inputs[name] == "string":
        return np.array(["" if value is None else value for value in values], dtype=object)
    if column.type == "datetime":
        return np.array([_seconds(value) for value in values], dtype=np.float64)
    try:
        made = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError):  # ragged, or not numbers
        made = np.empty((len(values), 0))
    if list(made.shape[1:]) != (column.shape or []):
        raise MeritError(f"'{name}' is not of the shape {column.shape}")
    return made


def _seconds(value: Any) -> float:
    """Return a wall-clock time as seconds since 1970, whatever its time zone, NaN for None."""
    return np.nan if value is None else datetime.fromisoformat(str(value)).replace(tzinfo=UTC).timestamp()
