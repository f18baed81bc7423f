"""Behavioural checks that conf/ declares, independent of metrics (CheckList, Ribeiro et al. 2020).

Invariance: changing a column must not change predictions. Direction: changing a column may move predictions only one
way. Golden: a known row must be predicted within bounds.
"""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.config.schema.gate import ColumnChange, DirectionTest, GoldenRow, InvarianceTest
from merit.errors import MeritError
from merit.gate.checks.model.limits import Limit, check_limit
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict
from merit.metrics import estimate_mean


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return one check per declared expectation, in the order of conf/."""
    rules = evidence.lock.gate.behaviour
    return {
        **{f"invariance: {name}": partial(_check_invariance, rule=each) for name, each in rules.invariance.items()},
        **{f"direction: {name}": partial(_check_direction, rule=each) for name, each in rules.direction.items()},
        **{f"golden: {name}": partial(_check_golden_row, name=name, rule=each) for name, each in rules.golden.items()},
    }


def _check_invariance(evidence: Evidence, *, rule: InvarianceTest) -> CheckResult:
    """Check that no prediction, nor any class probability, moves by more than the tolerance."""
    changes = np.abs(_predict_changed(evidence, rule) - evidence.candidate)
    max_change = float(changes.max(initial=0.0))
    verdict = Verdict.PASS if max_change <= rule.tolerance else Verdict.FAIL
    rows = int((changes.reshape(len(changes), -1).max(axis=1) > rule.tolerance).sum())
    text = f"moved by at most {max_change:.4f}" + (f", {rows:,} rows by more than allowed" if rows else "")
    advice = f"the answers follow '{rule.column}': leave it out by 'feature: none', or regularise more"
    return CheckResult("", verdict, text, f"at most {rule.tolerance:g}, {_describe_change(rule)}", advice)


def _check_direction(evidence: Evidence, *, rule: DirectionTest) -> CheckResult:
    """Check that the mean prediction moves in the expected direction or stays, within the tolerance.

    The verdict uses the confidence interval of the mean change per row.
    """
    changes = _select_prediction(evidence, _predict_changed(evidence, rule), rule.label) - _select_prediction(
        evidence, evidence.candidate, rule.label
    )
    mean = estimate_mean(changes, evidence.build_resampling(1))
    tolerance, is_least = rule.tolerance or 0.0, rule.expect == "not_lower"
    limit = Limit(-tolerance if is_least else tolerance, is_lower_bound=is_least, is_difference=True)
    tolerance_text = f" by more than {tolerance:g}" if tolerance else ""
    advice = f"the answers go the wrong way with '{rule.column}': look for a leak, or too few rows that show it"
    result = check_limit("", mean, limit, size=evidence.size, advice=advice)
    return replace(
        result,
        found=f"{result.found} on average",
        allowed=f"{rule.expect.replace('_', ' ')}{tolerance_text}, {_describe_change(rule)}",
    )


def _check_golden_row(evidence: Evidence, *, name: str, rule: GoldenRow) -> CheckResult:
    """Check that the prediction for a declared row lies within the declared bounds."""
    low, high = rule.bounds
    allowed = f"from {low:g} to {high:g}" if np.isfinite([low, high]).all() else _format_bound(low, high)
    try:
        columns = {each: _build_column(evidence, each, [rule.row.get(each)]) for each in evidence.package.graph.inputs}
    except MeritError as error:
        advice = f"correct the row in gate.behaviour.golden.{name}"
        return CheckResult("", Verdict.INCONCLUSIVE, str(error), allowed, advice)
    prediction = float(_select_prediction(evidence, evidence.package.predict(columns), rule.label)[0])
    verdict = Verdict.PASS if low <= prediction <= high else Verdict.FAIL
    advice = "the model mispredicts a known row: look at the training rows like it"
    return CheckResult("", verdict, f"{prediction:.4f}", allowed, advice)


def _format_bound(low: float, high: float) -> str:
    """Return a range with one finite bound, as a report shows it."""
    return f"at least {low:g}" if np.isfinite(low) else f"at most {high:g}"


def _describe_change(rule: ColumnChange) -> str:
    """Return the change of the column, as a report shows it."""
    return f"{rule.column} {rule.by:+g}" if rule.by is not None else f"{rule.column} to {rule.to}"


def _predict_changed(evidence: Evidence, rule: ColumnChange) -> NDArray[Any]:
    """Return the predictions for the test rows with one column changed; `by` leaves missing values missing."""
    values = evidence.columns[rule.column]
    if rule.by is None:
        changed_values = _build_column(evidence, rule.column, [rule.to] * len(values))
    else:
        column = evidence.lock.data.columns[rule.column]
        changed_values = values + rule.by
        # Clip what the change pushes out of the declared bounds; a value already outside them stays where it is.
        changed_values = (
            changed_values if column.min is None else np.maximum(changed_values, np.minimum(values, column.min))
        )
        changed_values = (
            changed_values if column.max is None else np.minimum(changed_values, np.maximum(values, column.max))
        )
    return evidence.package.predict({**evidence.columns, rule.column: changed_values})


def _select_prediction(evidence: Evidence, predictions: NDArray[Any], label: Any) -> NDArray[np.float64]:
    """Return one number per row: the prediction, or the probability of the class `label`."""
    classes = evidence.lock.data.target.classes
    return (predictions if classes is None else predictions[:, classes.index(label)]).astype(np.float64)


def _build_column(evidence: Evidence, name: str, values: list[Any]) -> NDArray[Any]:
    """Return values from YAML as an array that the package takes for the column.

    Raises:
        MeritError: an array value doesn't have the shape of its column.
    """
    column = evidence.lock.data.columns[name]
    if evidence.package.graph.inputs[name] == "string":
        return np.array(["" if value is None else value for value in values], dtype=object)
    if column.type == "datetime":
        return np.array([_to_epoch_seconds(value) for value in values], dtype=np.float64)
    try:
        array = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError):  # ragged, or not numbers
        array = np.empty((len(values), 0))
    if list(array.shape[1:]) != (column.shape or []):
        raise MeritError(f"'{name}' is not of the shape {column.shape}")
    return array


def _to_epoch_seconds(value: Any) -> float:
    """Return a wall-clock time as seconds since 1970, whatever its time zone, NaN for None."""
    return np.nan if value is None else datetime.fromisoformat(str(value)).replace(tzinfo=UTC).timestamp()


NAME = "behaviour"
# Each check scores all test rows again on a single thread, so they run side by side.
FAMILY = CheckFamily(170, build_checks, schedule="side by side")
