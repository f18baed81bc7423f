"""The stage evaluate: metrics of the model and the baseline on test rows, with intervals, overall and by slice."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.config.components import targets, trusted_packages
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.evaluation import curves
from merit.metrics import Resampling, blocks, estimate_intervals, prepare_metrics
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
    resampling = Resampling(
        lock.evaluate.resamples, lock.evaluate.confidence, lock.seed, blocks.number_blocks(lock, rows)
    )
    return {
        "rows": scores.height,
        "blocks": {"of": blocks.describe_blocks(lock), "count": resampling.count_units(scores.height)},
        "confidence": lock.evaluate.confidence,
        "candidate": _estimate_metrics(lock, scores, "prediction", resampling, custom_metrics),
        "baseline": _estimate_metrics(lock, scores, "baseline", resampling, custom_metrics),
        "slices": _evaluate_slices(lock, rows, scores, resampling, custom_metrics),
    }


def _estimate_metrics(
    lock: Lock, scores: pl.DataFrame, model: str, resampling: Resampling, custom_metrics: Mapping[str, Any]
) -> dict[str, dict[str, float | None]]:
    """Return each metric of the predictions in the column `model`, with its interval."""
    metrics = prepare_metrics(
        lock.data.target.task, scores["target"].to_numpy(), scores[model].to_numpy(), custom_metrics
    )
    with trusted_packages.convert_project_errors():
        estimates = estimate_intervals(metrics, resampling)
    return {name: each.as_json() for name, each in estimates.items()}


def _evaluate_slices(
    lock: Lock, rows: pl.DataFrame, scores: pl.DataFrame, resampling: Resampling, custom_metrics: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the metrics on the rows of each value of each slice column; a slice of too few rows has no metrics."""
    resampling = replace(resampling, count=lock.evaluate.slice_resamples)
    slices = []
    for column, value in ((name, each) for name in lock.evaluate.slices for each in rows[name].unique().sort()):
        mask = rows[column].eq_missing(value)
        slice_scores, slice_resampling = scores.filter(mask), resampling.select_rows(mask.to_numpy())
        is_large_enough = slice_scores.height >= lock.evaluate.slice_min_rows
        metrics = (
            _estimate_metrics(lock, slice_scores, "prediction", slice_resampling, custom_metrics)
            if is_large_enough
            else None
        )
        slices.append(
            {
                "column": column,
                "value": None if value is None else str(value),
                "rows": slice_scores.height,
                "blocks": slice_resampling.count_units(slice_scores.height),
                "target_mean": slice_scores["target"].mean(),
                "metrics": metrics,
            }
        )
    return slices
