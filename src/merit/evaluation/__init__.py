"""evaluate: metrics with intervals, slices, calibration, the baseline."""
