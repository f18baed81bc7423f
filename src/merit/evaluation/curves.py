"""Evaluation curves over the test rows, as small CSV files that DVC and the gate's report plot."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.config.schema.data import Target
from merit.metrics import BinaryMetrics, MulticlassMetrics

POINTS_PER_CURVE = 200
REGRESSION_BINS = 20

Curve = list[tuple[Any, ...]]


def write_curves(folder: Path, config: Target, target: NDArray[Any], models: dict[str, NDArray[Any]]) -> None:
    """Write the curves of the target's task into a new folder.

    Args:
        folder: the folder to create.
        config: the target's configuration.
        target: the true values, [rows].
        models: the predictions of each model, by the model's name.
    """
    folder.mkdir()
    {"binary": _write_binary, "multiclass": _write_multiclass, "regression": _write_regression}[config.task](
        folder, config, target, models
    )


def _write_binary(folder: Path, _: Target, target: NDArray[Any], models: dict[str, NDArray[Any]]) -> None:
    """Write ROC, precision-recall and calibration curves."""
    roc: Curve = []
    precision: Curve = []
    calibration: Curve = []
    for name, probability in models.items():
        metrics = BinaryMetrics(target, probability)
        false_positive, recall, precisions = metrics.compute_curve()
        roc += [(name, *point) for point in _thin_curve(false_positive, recall)]
        precision += [(name, *point) for point in _thin_curve(recall, precisions)]
        calibration += [(name, *point) for point in metrics.compute_calibration()]
    _write_csv(folder / "roc.csv", ["model", "false_positive_rate", "true_positive_rate"], roc)
    _write_csv(folder / "precision_recall.csv", ["model", "recall", "precision"], precision)
    _write_csv(folder / "calibration.csv", ["model", "predicted", "observed", "rows"], calibration)


def _write_multiclass(folder: Path, config: Target, target: NDArray[Any], models: dict[str, NDArray[Any]]) -> None:
    """Write confusion counts and the calibration curve."""
    assert config.classes is not None
    confusion: Curve = []
    calibration: Curve = []
    for name, probabilities in models.items():
        metrics = MulticlassMetrics(target, probabilities)
        calibration += [(name, *point) for point in metrics.compute_calibration()]
        for true, counts in zip(config.classes, metrics.count_confusion().tolist(), strict=True):
            confusion += [
                (name, true, predicted, count) for predicted, count in zip(config.classes, counts, strict=True)
            ]
    _write_csv(folder / "confusion.csv", ["model", "true", "guessed", "rows"], confusion)
    _write_csv(folder / "calibration.csv", ["model", "predicted", "observed", "rows"], calibration)


def _write_regression(folder: Path, _: Target, target: NDArray[Any], models: dict[str, NDArray[Any]]) -> None:
    """Write observed against predicted values in bins, and the distribution of errors."""
    truth: Curve = []
    errors: Curve = []
    edges = _compute_edges(np.concatenate([target - predicted for predicted in models.values()]))
    for name, predicted in models.items():
        for members in np.array_split(np.argsort(predicted, kind="stable"), min(REGRESSION_BINS, len(target))):
            truth.append((name, float(predicted[members].mean()), float(target[members].mean()), len(members)))
        counts, _bin_edges = np.histogram(target - predicted, edges)
        shares = (counts / len(target)).tolist()
        errors += list(zip([name] * len(shares), ((edges[1:] + edges[:-1]) / 2).tolist(), shares, strict=True))
    _write_csv(folder / "predicted.csv", ["model", "predicted", "observed", "rows"], truth)
    _write_csv(folder / "errors.csv", ["model", "error", "share"], errors)


def _compute_edges(errors: NDArray[Any]) -> NDArray[np.float64]:
    """Return the edges of error bins from the 1st to the 99th percentile."""
    low, high = np.quantile(errors, [0.01, 0.99])
    return np.linspace(low, high if high > low else low + 1, 2 * REGRESSION_BINS + 1)


def _thin_curve(x: NDArray[Any], y: NDArray[Any]) -> list[tuple[float, float]]:
    """Return the curve at evenly spaced x, interpolated: enough points to draw, few enough to commit."""
    grid = np.linspace(0, 1, POINTS_PER_CURVE)
    return [(float(a), float(b)) for a, b in zip(grid, np.interp(grid, x, y), strict=True)]


def _write_csv(path: Path, header: list[str], rows: Curve) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows)
