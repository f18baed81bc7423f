"""Records each epoch's metrics and the weights of the best epoch, and stops early."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as lightning
from torch import Tensor

from merit import artifacts
from merit.config import tasks
from merit.errors import MeritError

Row = dict[str, float]
EpochCallback = Callable[[Row], None]


class History(lightning.Callback):
    """Keeps each epoch's metrics and the weights of the best epoch, and stops training when no epoch improves.

    Lightning's own checkpoints are pickles that hold absolute paths; a package needs weights alone.

    Args:
        monitor: the validation metric that determines the best epoch.
        patience: number of epochs without improvement after which training stops.
        on_epoch: called with each epoch's metrics.
        folder: where weights and history are written; None for training/.

    Attributes:
        rows: metrics of each epoch so far.
        best_weights: weights of the best epoch so far, by name; None before the first.
        sign: 1 if a lower metric is better, -1 if a higher one is.
        monitor: name of the monitored metric in `rows`.
    """

    def __init__(self, monitor: str, patience: int, on_epoch: EpochCallback, folder: Path | None = None) -> None:
        self.rows: list[Row] = []
        self.best_weights: dict[str, Tensor] | None = None
        self.sign = -1 if tasks.HIGHER_IS_BETTER[monitor] else 1
        self.monitor = f"validation_{monitor}"
        self._patience = patience
        self._on_epoch = on_epoch
        self._folder = artifacts.WEIGHTS.parent if folder is None else folder

    @property
    def best_metrics(self) -> Row:
        """The metrics of the best epoch; of several equal ones the first."""
        return find_best(self.rows, self.monitor, self.sign)

    def resume_epochs(self, rows: list[Row], weights: dict[str, Tensor] | None, *, repeats_callback: bool) -> None:
        """Resume after the epochs of a checkpoint.

        Args:
            rows: metrics of those epochs.
            weights: weights of the best of them.
            repeats_callback: whether to call `on_epoch` for them again.
        """
        self.rows.extend(rows)
        self.best_weights = weights
        for row in rows if repeats_callback else []:
            self._on_epoch(row)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record the epoch's metrics, keep its weights if it is the best so far, and decide whether to stop.

        Raises:
            MeritError: a loss or the monitored metric is not finite.
        """
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {"epoch": float(trainer.current_epoch), **dict(sorted(metrics.items()))}
        if not math.isfinite(row["train_loss"] + row["validation_loss"] + row[self.monitor]):
            raise MeritError(f"train: the loss is not a number after epoch {trainer.current_epoch}; lower optimizer.lr")
        self.rows.append(row)
        if self.best_metrics is row:
            state = pl_module.predictor.network.state_dict()  # type: ignore[union-attr]  # Learner's
            self.best_weights = {name: value.detach().cpu().clone() for name, value in state.items()}
        if trainer.is_global_zero:
            self._on_epoch(row)
        trainer.should_stop = row["epoch"] - self.best_metrics["epoch"] >= self._patience

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write weights and history on rank 0, which may be a forked process."""
        if trainer.is_global_zero:
            assert self.best_weights is not None
            with artifacts.write_atomically(self._folder / artifacts.HISTORY.name) as aside:
                _write_history(aside, self.rows)
            artifacts.write_arrays(
                self._folder / artifacts.WEIGHTS.name,
                {name: value.numpy() for name, value in self.best_weights.items()},
            )


def find_best(rows: list[Row], monitor: str, sign: int) -> Row:
    """Return the row with the least metric, or with the sign -1 the greatest; of several equal ones the first."""
    return min(rows, key=lambda row: sign * row[monitor])


def read_history() -> list[Row]:
    """Read the metrics of each epoch from `artifacts.HISTORY`."""
    with artifacts.require_path(artifacts.HISTORY, "train").open(newline="", encoding="utf-8") as handle:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(handle)]


def _write_history(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)
