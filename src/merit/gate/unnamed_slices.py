"""Finds where a candidate is bad although no declared slice says so.

Two errors of each test row are searched: the candidate's loss less the champion's, and what was observed less what the
candidate predicted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema import Lock
from merit.gate.slice_conditions import select_columns
from merit.gate.slice_search import FoundSlice, find_worst_slice, prepare_slices
from merit.metrics import prepare_metrics


@dataclass(frozen=True)
class ScoredRows:
    """The test rows and what the models predict of them.

    Attributes:
        rows: the raw test rows.
        target: 0 or 1, the index of the class, or the number, [rows].
        candidate: the candidate's predictions, in the shape that `merit.metrics.prepare_metrics` takes.
        champion: the champion's predictions; None if there is nothing to compare with.
        deviation: the standard deviation of the target.
        blocks: the block of each row, [rows]; None if rows are independent.
    """

    rows: pl.DataFrame
    target: NDArray[Any]
    candidate: NDArray[Any]
    champion: NDArray[Any] | None
    deviation: float
    blocks: NDArray[np.intp] | None


@dataclass(frozen=True)
class UnnamedSlices:
    """The worst slices that nobody declared.

    Attributes:
        searched: the number of slices that were searched.
        min_rows: the fewest rows of a slice.
        is_finite: whether every prediction is a number.
        worse: where the candidate's loss most surely exceeds the champion's; None without a champion, or if it exceeds
            it nowhere.
        losses: the mean loss of candidate and champion there.
        miscalibrated: where the candidate's predictions are furthest off.
        predicted: what the candidate predicts there, on average: the probability, that of the most probable class, or
            the number.
        observed: what was observed there: the share of positives, the share of right predictions, or the mean.
    """

    searched: int
    min_rows: int
    is_finite: bool = True
    worse: FoundSlice | None = None
    losses: tuple[float, float] = (0.0, 0.0)
    miscalibrated: FoundSlice | None = None
    predicted: float = 0.0
    observed: float = 0.0


def search_slices(lock: Lock, names: Iterable[str], scored: ScoredRows) -> UnnamedSlices | None:
    """Search the slices of the named columns; None if `gate.unnamed_slices` is null."""
    rule, task = lock.gate.unnamed_slices, lock.data.target.task
    if rule is None:
        return None
    min_rows = max(lock.evaluate.slice_min_rows, round(rule.share * scored.rows.height))
    predicted, observed = _compute_outcomes(task, scored.target, scored.candidate)
    if not all(np.isfinite(each).all() for each in (scored.candidate, scored.champion) if each is not None):
        return UnnamedSlices(0, min_rows, is_finite=False)
    residuals = observed - predicted
    table = prepare_slices(select_columns(scored.rows, names), scored.blocks, np.abs(residuals), min_rows)
    if table is None:
        return UnnamedSlices(0, min_rows)
    confidence, seed = lock.gate.confidence, lock.seed
    worse, losses = None, (0.0, 0.0)
    if scored.champion is not None:
        both = [_compute_losses(task, scored, each) for each in (scored.candidate, scored.champion)]
        worse = find_worst_slice(table, both[0] - both[1], confidence=confidence, seed=seed, is_signed=True)
        losses = losses if worse is None else (float(both[0][worse.mask].mean()), float(both[1][worse.mask].mean()))
    off = find_worst_slice(table, residuals, confidence=confidence, seed=seed, is_signed=False)
    means = (0.0, 0.0) if off is None else (float(predicted[off.mask].mean()), float(observed[off.mask].mean()))
    return UnnamedSlices(table.counts.shape[1], min_rows, True, worse, losses, off, *means)


def _compute_losses(task: str, scored: ScoredRows, prediction: NDArray[Any]) -> NDArray[np.float64]:
    """Return each row's loss, [rows]: the log loss, or the squared error in units of the target's variance."""
    losses = prepare_metrics(task, scored.target, prediction).compute_losses()
    return losses / scored.deviation**2 if task == "regression" else losses


def _compute_outcomes(
    task: str, target: NDArray[Any], prediction: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is predicted and what is observed of each row, [rows] each, so that their means can be compared."""
    values = prediction.astype(np.float64)
    if task == "multiclass":
        return values.max(axis=1), (values.argmax(axis=1) == target).astype(np.float64)
    return values, target.astype(np.float64)
