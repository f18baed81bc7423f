"""The stages baseline and evaluate: metrics with intervals, slices, calibration curves, the baseline model."""
