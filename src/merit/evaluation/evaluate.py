"""The stage evaluate: metrics of the model and the baseline on test rows, with intervals, overall and by slice."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.config import targets, trust
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.evaluation import curves
from merit.metrics import estimate, scored
from merit.models import build


def evaluate(lock: Lock) -> dict[str, Any]:
    """Evaluate model and baseline on the test rows; write predictions, metrics and curves; return the metrics.

    Raises:
        MeritError: a prediction is not finite, or the baseline was computed on other rows.
    """
    test = build.read_part("test")
    target = test.target.numpy()
    models = {
        "candidate": _known(build.predictions(build.trained(lock), test)),
        "baseline": _baseline(len(target)),
    }
    rows = artifacts.read_table(artifacts.TEST_ROWS, "features")
    scores = pl.DataFrame({"target": target, "prediction": models["candidate"], "baseline": models["baseline"]})
    report = _report(lock, rows, scores)
    artifacts.write_table(artifacts.PREDICTIONS, scores)
    with artifacts.written_aside(artifacts.PLOTS) as aside:
        curves.write(aside, lock.data.target, target, models)
    artifacts.write_json(artifacts.METRICS, report)
    return report


def _baseline(rows: int) -> NDArray[Any]:
    """Read the predictions of the stage `baseline`, checking their number.

    Raises:
        MeritError: there are more or fewer than test rows.
    """
    found = artifacts.read_table(artifacts.BASELINE, "baseline")
    if found.height != rows:
        raise MeritError(
            f"{artifacts.BASELINE}: of {found.height:,} rows, where the test part has {rows:,}; "
            "make it again with 'merit baseline'"
        )
    return found["baseline"].to_numpy()


def _known(predictions: NDArray[Any]) -> NDArray[Any]:
    """Return the predictions if all of them are finite.

    Raises:
        MeritError: a prediction is NaN or infinite.
    """
    if unknown := int((~np.isfinite(predictions)).reshape(len(predictions), -1).any(axis=1).sum()):
        raise MeritError(
            f"evaluate: the network gives no number for {unknown:,} of {len(predictions):,} test rows; "
            "train it again with a lower optimizer.lr"
        )
    return predictions


def _report(lock: Lock, rows: pl.DataFrame, scores: pl.DataFrame) -> dict[str, Any]:
    """Return the content of metrics.json."""
    own = targets.build_metrics(lock.evaluate.metrics)
    return {
        "rows": scores.height,
        "confidence": lock.evaluate.confidence,
        "candidate": _estimates(lock, scores, "prediction", lock.evaluate.resamples, own),
        "baseline": _estimates(lock, scores, "baseline", lock.evaluate.resamples, own),
        "slices": [each for column in lock.evaluate.slices for each in _slices(lock, rows, scores, column, own)],
    }


def _estimates(
    lock: Lock, scores: pl.DataFrame, model: str, count: int, own: Mapping[str, Any]
) -> dict[str, dict[str, float | None]]:
    """Return each metric of the predictions in the column `model`, with its interval."""
    measured = scored(lock.data.target.task, scores["target"].to_numpy(), scores[model].to_numpy(), own)
    with trust.theirs():
        found = estimate(measured, count=count, confidence=lock.evaluate.confidence, seed=lock.seed)
    return {name: each.as_json() for name, each in found.items()}


def _slices(
    lock: Lock, rows: pl.DataFrame, scores: pl.DataFrame, column: str, own: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the metrics on the rows of each value of a column; a slice of too few rows has no metrics."""
    found = []
    for value in rows[column].unique().sort().to_list():
        inside = rows[column].eq_missing(value)
        within = scores.filter(inside)
        enough = within.height >= lock.evaluate.slice_min_rows
        metrics = _estimates(lock, within, "prediction", lock.evaluate.slice_resamples, own) if enough else None
        found.append(
            {
                "column": column,
                "value": None if value is None else str(value),
                "rows": within.height,
                "target_mean": within["target"].mean(),
                "metrics": metrics,
            }
        )
    return found
