"""The prediction tasks, and the metrics of each.

Imports nothing: every command checks the configuration against these names, so this must load fast.
"""

METRICS: dict[str, dict[str, bool]] = {
    "binary": {
        "roc_auc": True,
        "average_precision": True,
        "log_loss": False,
        "brier": False,
        "calibration_error": False,
    },
    "multiclass": {
        "accuracy": True,
        "macro_f1": True,
        "log_loss": False,
        "brier": False,
        "calibration_error": False,
    },
    "regression": {"mae": False, "rmse": False, "r2": True},
}
"""Each task's metrics, in the order of reports, and whether higher is better.

Log loss is in nats, `mae` and `rmse` in the target's unit; the others are shares, and `r2` at most 1.
"""

HIGHER_IS_BETTER = {name: up for metrics in METRICS.values() for name, up in metrics.items()}
