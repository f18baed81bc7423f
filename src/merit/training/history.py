"""What each epoch came to, and the weights of the best one."""

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
OnEpoch = Callable[[Row], None]


class History(lightning.Callback):
    """Keeps each epoch's metrics and the weights of the best, and stops when none has been better for long.

    Lightning's own checkpoints are pickles that hold absolute paths; weights alone are what a package needs.

    Args:
        monitor: the validation metric that says which epoch is best.
        patience: epochs without a better one before training stops.
        on_epoch: is told each epoch's metrics.
    """

    def __init__(self, monitor: str, patience: int, on_epoch: OnEpoch) -> None:
        self.rows: list[Row] = []
        self.best: dict[str, Tensor] | None = None
        self.sign = -1 if tasks.HIGHER_IS_BETTER[monitor] else 1
        self.monitor = f"validation_{monitor}"
        self._patience = patience
        self._on_epoch = on_epoch

    @property
    def best_metrics(self) -> Row:
        """The first of the best epochs."""
        return best(self.rows, self.monitor, self.sign)

    def resume(self, rows: list[Row], weights: dict[str, Tensor] | None, *, is_told: bool) -> None:
        """Go on after those epochs, of which the best had those weights; they are told once more."""
        self.rows.extend(rows)
        self.best = weights
        for row in rows if is_told else []:
            self._on_epoch(row)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the epoch's metrics, and its weights if none were better."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {"epoch": float(trainer.current_epoch), **dict(sorted(metrics.items()))}
        if not math.isfinite(row["train_loss"] + row["validation_loss"] + row[self.monitor]):
            raise MeritError(f"train: the loss is not a number after epoch {trainer.current_epoch}; lower optimizer.lr")
        self.rows.append(row)
        if self.best_metrics is row:
            state = pl_module.predictor.network.state_dict()  # type: ignore[union-attr]  # Learner's
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}
        if trainer.is_global_zero:
            self._on_epoch(row)
        trainer.should_stop = row["epoch"] - self.best_metrics["epoch"] >= self._patience

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write `artifacts.WEIGHTS` and `artifacts.HISTORY`: here, for of several processes this is one."""
        if trainer.is_global_zero:
            assert self.best is not None
            with artifacts.written_aside(artifacts.HISTORY) as aside:
                _write(aside, self.rows)
            artifacts.write_arrays(artifacts.WEIGHTS, {name: value.numpy() for name, value in self.best.items()})


def best(rows: list[Row], monitor: str, sign: int) -> Row:
    """Return the row whose metric is least, or, with the sign -1, greatest; the first of several."""
    return min(rows, key=lambda row: sign * row[monitor])


def read() -> list[Row]:
    """Return what was written."""
    with artifacts.require(artifacts.HISTORY, "train").open(newline="", encoding="utf-8") as handle:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(handle)]


def _write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)
