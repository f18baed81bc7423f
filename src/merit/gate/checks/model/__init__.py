"""gate.model: checks of the candidate model: comparisons, slices, robustness, behaviour, parity, replay and cost."""
