"""Curves of the test rows, as small CSV files that DVC and the report draw."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.config.schema.data import Target
from merit.metrics import Binary, Multiclass

POINTS = 200
BINS = 20

Curve = list[tuple[Any, ...]]


def write(folder: Path, of: Target, target: NDArray[Any], models: dict[str, NDArray[Any]]) -> None:
    """Write the curves that the task has into a new folder.

    Args:
        folder: where to.
        of: what is predicted.
        target: the truth, [rows].
        models: each model's predictions.
    """
    folder.mkdir()
    {"binary": _binary, "multiclass": _multiclass, "regression": _regression}[of.task](folder, of, target, models)


def _binary(folder: Path, _: Target, target: NDArray[Any], models: dict[str, NDArray[Any]]) -> None:
    roc: Curve = []
    precision: Curve = []
    calibration: Curve = []
    for name, probability in models.items():
        measured = Binary(target, probability)
        false_positive, recall, precisions = measured.curve()
        roc += [(name, *point) for point in _thinned(false_positive, recall)]
        precision += [(name, *point) for point in _thinned(recall, precisions)]
        calibration += [(name, *point) for point in measured.calibration()]
    _write(folder / "roc.csv", ["model", "false_positive_rate", "true_positive_rate"], roc)
    _write(folder / "precision_recall.csv", ["model", "recall", "precision"], precision)
    _write(folder / "calibration.csv", ["model", "predicted", "observed", "rows"], calibration)


def _multiclass(folder: Path, of: Target, target: NDArray[Any], models: dict[str, NDArray[Any]]) -> None:
    assert of.classes is not None
    confusion: Curve = []
    calibration: Curve = []
    for name, probabilities in models.items():
        measured = Multiclass(target, probabilities)
        calibration += [(name, *point) for point in measured.calibration()]
        for true, counts in zip(of.classes, measured.confusion().tolist(), strict=True):
            confusion += [(name, true, guessed, count) for guessed, count in zip(of.classes, counts, strict=True)]
    _write(folder / "confusion.csv", ["model", "true", "guessed", "rows"], confusion)
    _write(folder / "calibration.csv", ["model", "predicted", "observed", "rows"], calibration)


def _regression(folder: Path, _: Target, target: NDArray[Any], models: dict[str, NDArray[Any]]) -> None:
    truth: Curve = []
    errors: Curve = []
    edges = _edges(np.concatenate([target - predicted for predicted in models.values()]))
    for name, predicted in models.items():
        for members in np.array_split(np.argsort(predicted, kind="stable"), min(BINS, len(target))):
            truth.append((name, float(predicted[members].mean()), float(target[members].mean()), len(members)))
        counts, _edges_again = np.histogram(target - predicted, edges)
        shares = (counts / len(target)).tolist()
        errors += list(zip([name] * len(shares), ((edges[1:] + edges[:-1]) / 2).tolist(), shares, strict=True))
    _write(folder / "predicted.csv", ["model", "predicted", "observed", "rows"], truth)
    _write(folder / "errors.csv", ["model", "error", "share"], errors)


def _edges(errors: NDArray[Any]) -> NDArray[np.float64]:
    """Return the edges of bins that hold all but the outermost hundredth of the errors on either side."""
    low, high = np.quantile(errors, [0.01, 0.99])
    return np.linspace(low, high if high > low else low + 1, 2 * BINS + 1)


def _thinned(x: NDArray[Any], y: NDArray[Any]) -> list[tuple[float, float]]:
    """Return the curve at evenly spaced x: enough to draw, small enough to commit to a report."""
    at = np.linspace(0, 1, POINTS)
    return [(float(a), float(b)) for a, b in zip(at, np.interp(at, x, y), strict=True)]


def _write(path: Path, header: list[str], rows: Curve) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows)
