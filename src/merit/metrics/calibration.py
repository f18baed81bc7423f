"""Calibration: predicted probabilities against observed frequencies, in bins of equal mass (Naeini et al. 2015)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.metrics.bootstrap import Array

BIN_COUNT = 10


class CalibrationBins:
    """Groups rows, sorted by probability, into bins of equal mass.

    Args:
        predicted: probabilities, highest first, [rows].
        observed: 1 where the event happened, else 0, in the same order, [rows].
    """

    def __init__(self, predicted: NDArray[Any], observed: NDArray[Any]) -> None:
        self._predicted, self._observed = predicted, observed.astype(np.float64)
        starts = np.unique(np.linspace(0, len(predicted), BIN_COUNT + 1)[:-1].astype(int))
        self._members = np.split(np.arange(len(predicted)), starts[1:])

    def compute_gaps(self) -> Array:
        """Return observed minus predicted of each row in the column of its bin, 0 elsewhere, [rows, bins].

        The expected calibration error is the sum of the columns' absolute means.
        """
        gaps = np.zeros((len(self._predicted), len(self._members)))
        for index, members in enumerate(self._members):
            gaps[members, index] = self._observed[members] - self._predicted[members]
        return gaps

    def compute_curve(self) -> list[tuple[float, float, int]]:
        """Return, per bin from the lowest, the mean prediction, the observed frequency and the number of rows."""
        return [
            (float(self._predicted[members].mean()), float(self._observed[members].mean()), len(members))
            for members in reversed(self._members)
        ]
