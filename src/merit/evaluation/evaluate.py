"""evaluate: what the model is worth on test rows, beside a baseline, with intervals, overall and on slices."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from merit import artifacts, network
from merit.config.schema import Lock
from merit.evaluation import baseline
from merit.metrics import Scored, estimate

CURVE_POINTS = 200


def evaluate(lock: Lock) -> dict[str, Any]:
    """Score the test rows by the model and the baseline; write predictions, metrics and curves; return the metrics."""
    parts = {name: network.read_part(name) for name in ("train", "validation", "test")}
    ours = network.probabilities(network.trained(lock), parts["test"])
    arrays = {name: {key: value.numpy() for key, value in part.items()} for name, part in parts.items()}
    theirs = baseline.probabilities(arrays, lock.evaluate.baseline, lock.seed)
    rows = artifacts.read_table(artifacts.TEST_ROWS, "features")
    scores = pl.DataFrame({"target": arrays["test"]["target"], "probability": ours, "baseline": theirs})
    report = _report(lock, rows, scores)
    artifacts.write_table(artifacts.PREDICTIONS, scores)
    with artifacts.written_aside(artifacts.PLOTS) as aside:
        _write_curves(aside, scores)
    artifacts.write_json(artifacts.METRICS, report)
    return report


def _report(lock: Lock, rows: pl.DataFrame, scores: pl.DataFrame) -> dict[str, Any]:
    target = scores["target"].to_numpy()
    return {
        "rows": scores.height,
        "target_share": float(target.mean()),
        "confidence": lock.evaluate.confidence,
        "candidate": _estimates(lock, scores, "probability", lock.evaluate.resamples),
        "baseline": _estimates(lock, scores, "baseline", lock.evaluate.resamples),
        "slices": [each for column in lock.evaluate.slices for each in _slices(lock, rows, scores, column)],
    }


def _estimates(lock: Lock, scores: pl.DataFrame, model: str, count: int) -> dict[str, dict[str, float | None]]:
    scored = Scored(scores["target"].to_numpy(), scores[model].to_numpy())
    found = estimate(scored, count=count, confidence=lock.evaluate.confidence, seed=lock.seed)
    return {name: each.as_json() for name, each in found.items()}


def _slices(lock: Lock, rows: pl.DataFrame, scores: pl.DataFrame, column: str) -> list[dict[str, Any]]:
    """Return the metrics of each value of a column; a slice of too few rows is listed without them."""
    found = []
    for value in rows[column].unique().sort().to_list():
        inside = rows[column].eq_missing(value)
        slice_scores = scores.filter(inside)
        enough = slice_scores.height >= lock.evaluate.slice_min_rows
        metrics = _estimates(lock, slice_scores, "probability", lock.evaluate.slice_resamples) if enough else None
        found.append(
            {
                "column": column,
                "value": None if value is None else str(value),
                "rows": slice_scores.height,
                "target_share": slice_scores["target"].mean(),
                "metrics": metrics,
            }
        )
    return found


def _write_curves(folder: Path, scores: pl.DataFrame) -> None:
    folder.mkdir()
    target = scores["target"].to_numpy()
    models = {"candidate": scores["probability"].to_numpy(), "baseline": scores["baseline"].to_numpy()}
    roc, precision, calibration = [], [], []
    for name, probability in models.items():
        false_positive, true_positive, _ = roc_curve(target, probability)
        roc += [(name, *point) for point in _thinned(false_positive, true_positive)]
        precisions, recalls, _ = precision_recall_curve(target, probability)
        precision += [(name, *point) for point in _thinned(recalls[::-1], precisions[::-1])]
        calibration += [(name, *point) for point in Scored(target, probability).calibration()]
    _write_csv(folder / "roc.csv", ["model", "false_positive_rate", "true_positive_rate"], roc)
    _write_csv(folder / "precision_recall.csv", ["model", "recall", "precision"], precision)
    _write_csv(folder / "calibration.csv", ["model", "predicted", "observed", "rows"], calibration)


def _thinned(x: NDArray[Any], y: NDArray[Any]) -> list[tuple[float, float]]:
    """Return the curve at evenly spaced x: enough to draw, small enough to commit to a report."""
    at = np.linspace(0, 1, CURVE_POINTS)
    return [(float(a), float(b)) for a, b in zip(at, np.interp(at, x, y), strict=True)]


def _write_csv(path: Path, header: list[str], rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows)
