"""The stage evaluate: metrics of the model and the baseline on test rows, with intervals, overall and by slice."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.config.components import targets, trusted_packages
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.evaluation import curves
from merit.metrics import estimate_intervals, prepare_metrics
from merit.models import build


def evaluate(lock: Lock) -> dict[str, Any]:
    """Evaluate model and baseline on the test rows; write predictions, metrics and curves; return the metrics.

    Raises:
        MeritError: a prediction is not finite, or the baseline was computed on other rows.
    """
    test = build.read_part("test")
    target = test.target.numpy()
    models = {
        "candidate": _require_finite(build.predict_rows(build.load_trained(lock), test)),
        "baseline": _read_baseline(len(target)),
    }
    rows = artifacts.read_table(artifacts.TEST_ROWS, "features")
    scores = pl.DataFrame({"target": target, "prediction": models["candidate"], "baseline": models["baseline"]})
    report = _build_report(lock, rows, scores)
    artifacts.write_table(artifacts.PREDICTIONS, scores)
    with artifacts.write_atomically(artifacts.PLOTS) as temporary_folder:
        curves.write_curves(temporary_folder, lock.data.target, target, models)
    artifacts.write_json(artifacts.METRICS, report)
    return report


def _read_baseline(rows: int) -> NDArray[Any]:
    """Read the predictions of the stage `baseline`, checking their number.

    Raises:
        MeritError: there are more or fewer than test rows.
    """
    table = artifacts.read_table(artifacts.BASELINE, "baseline")
    if table.height != rows:
        raise MeritError(
            f"{artifacts.BASELINE}: of {table.height:,} rows, where the test part has {rows:,}; "
            "make it again with 'merit baseline'"
        )
    return table["baseline"].to_numpy()


def _require_finite(predictions: NDArray[Any]) -> NDArray[Any]:
    """Return the predictions if all of them are finite.

    Raises:
        MeritError: a prediction is NaN or infinite.
    """
    if non_finite := int((~np.isfinite(predictions)).reshape(len(predictions), -1).any(axis=1).sum()):
        raise MeritError(
            f"evaluate: the network gives no number for {non_finite:,} of {len(predictions):,} test rows; "
            "train it again with a lower optimizer.lr"
        )
    return predictions


def _build_report(lock: Lock, rows: pl.DataFrame, scores: pl.DataFrame) -> dict[str, Any]:
    """Return the content of metrics.json."""
    custom_metrics = targets.build_metrics(lock.evaluate.metrics)
    return {
        "rows": scores.height,
        "confidence": lock.evaluate.confidence,
        "candidate": _estimate_metrics(lock, scores, "prediction", lock.evaluate.resamples, custom_metrics),
        "baseline": _estimate_metrics(lock, scores, "baseline", lock.evaluate.resamples, custom_metrics),
        "slices": [
            each
            for column in lock.evaluate.slices
            for each in _evaluate_slices(lock, rows, scores, column, custom_metrics)
        ],
    }


def _estimate_metrics(
    lock: Lock, scores: pl.DataFrame, model: str, count: int, custom_metrics: Mapping[str, Any]
) -> dict[str, dict[str, float | None]]:
    """Return each metric of the predictions in the column `model`, with its interval."""
    metrics = prepare_metrics(
        lock.data.target.task, scores["target"].to_numpy(), scores[model].to_numpy(), custom_metrics
    )
    with trusted_packages.convert_project_errors():
        estimates = estimate_intervals(metrics, count=count, confidence=lock.evaluate.confidence, seed=lock.seed)
    return {name: each.as_json() for name, each in estimates.items()}


def _evaluate_slices(
    lock: Lock, rows: pl.DataFrame, scores: pl.DataFrame, column: str, custom_metrics: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the metrics on the rows of each value of a column; a slice of too few rows has no metrics."""
    slices = []
    for value in rows[column].unique().sort().to_list():
        mask = rows[column].eq_missing(value)
        slice_scores = scores.filter(mask)
        is_large_enough = slice_scores.height >= lock.evaluate.slice_min_rows
        metrics = (
            _estimate_metrics(lock, slice_scores, "prediction", lock.evaluate.slice_resamples, custom_metrics)
            if is_large_enough
            else None
        )
        slices.append(
            {
                "column": column,
                "value": None if value is None else str(value),
                "rows": slice_scores.height,
                "target_mean": slice_scores["target"].mean(),
                "metrics": metrics,
            }
        )
    return slices
