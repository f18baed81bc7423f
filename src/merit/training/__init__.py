"""train: networks, the Lightning module, batches, the run."""
