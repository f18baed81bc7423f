"""Search: the Optuna study that proposes trials, and its storage."""
