"""train: fits the network; `train` is the entry point, beside the Lightning module, batches and checkpoints."""
