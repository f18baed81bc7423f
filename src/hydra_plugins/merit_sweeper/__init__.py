"""Hydra plugins of merit: a sweeper based on Optuna, and launchers for local CPU cores and for Ray."""
