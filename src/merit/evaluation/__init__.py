"""evaluate: metrics with intervals, slices, calibration, the baseline, which is a stage of its own."""
