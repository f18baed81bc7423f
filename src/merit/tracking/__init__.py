"""tracking: every training run in MLflow."""
