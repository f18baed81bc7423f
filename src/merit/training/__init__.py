"""train: fits the network; `run` is the entry point, beside the Lightning module, batches and checkpoints."""
