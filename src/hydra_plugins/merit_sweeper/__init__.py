"""merit's plugins for Hydra: a sweeper over Optuna, and launchers for this machine's cores and for Ray."""
