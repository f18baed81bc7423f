"""gate.model: checks of the candidate model, a file each: floors, rivals, slices, robustness, parity, replay, ..."""
