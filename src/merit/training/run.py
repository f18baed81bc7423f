"""train: fit the network that the lock describes; the best epoch's weights out, the same on every run."""

import csv
import logging
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from merit import artifacts, network, tasks
from merit.config import targets
from merit.config.schema import Lock, Trainer
from merit.errors import MeritError
from merit.training import batches
from merit.training.module import Learner
from merit.training.progress import Progress

OnEpoch = Callable[[dict[str, float]], None]


def train(lock: Lock, on_epoch: OnEpoch = lambda metrics: None) -> dict[str, float]:
    """Train, write `artifacts.WEIGHTS` and `artifacts.HISTORY`, and return the metrics of the best epoch.

    Args:
        lock: the configuration.
        on_epoch: is told each epoch's metrics as they come: `epoch`, `train_loss`, `validation_loss`, `validation_…`.

    Raises:
        MeritError: the arrays are not there, the device is not there, or the loss is no longer a number.
    """
    how = lock.trainer
    prepare(how, lock.seed)
    module = Learner(network.build(lock), optimizer_of(lock), cosine=how.schedule == "cosine")
    history = History(how.monitor, on_epoch)
    try:
        trainer_of(how, history).fit(
            module,
            batches.Batches(network.read_part("train"), how.batch_size, lock.seed),
            batches.Batches(network.read_part("validation"), max(how.batch_size, network.ROWS)),
        )
    except SystemExit as error:  # Lightning's answer to Ctrl-C, which would read as a refusal
        raise KeyboardInterrupt from error
    _write(history)
    return history.best_metrics


def optimizer_of(lock: Lock) -> Callable[[Any], torch.optim.Optimizer]:
    """Return what builds the optimizer of conf/optimizer from a network's parameters."""

    def build(parameters: Any) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = targets.build(lock.optimizer.model_dump(by_alias=True), params=parameters)
        return made

    return build


def prepare(how: Trainer, seed: int) -> None:
    """Make the run a function of its seed."""
    if how.accelerator == "gpu" and not torch.cuda.is_available():
        raise MeritError("trainer.accelerator: found 'gpu', but no CUDA device is there; use trainer=cpu")
    # cuBLAS is deterministic only with a fixed workspace, which it reads before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(how.threads)
    torch.use_deterministic_algorithms(True)
    # Filling memory that is written before it is read makes nothing more certain and takes a twentieth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set through a property
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(seed, verbose=False)


def trainer_of(how: Trainer, history: "History") -> lightning.Trainer:
    """Return Lightning's trainer as conf/trainer describes it."""
    stop = EarlyStopping(f"validation_{how.monitor}", patience=how.patience, mode=history.mode, check_finite=True)
    # Lightning calls a part of torch that torch is about to rename.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    return lightning.Trainer(
        max_epochs=how.max_epochs,
        accelerator=how.accelerator,
        devices=how.devices,
        precision=how.precision,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=True,
        num_sanity_val_steps=0,
        callbacks=[history, stop, Progress(how.monitor)],
    )


class History(lightning.Callback):
    """Keeps each epoch's metrics, and the weights of the best epoch.

    Lightning's own checkpoints are pickles that hold absolute paths; weights alone are what a package needs.

    Args:
        monitor: the validation metric that says which epoch is best.
        on_epoch: is told each epoch's metrics.
    """

    def __init__(self, monitor: str, on_epoch: OnEpoch) -> None:
        self.mode = "max" if tasks.HIGHER_IS_BETTER[monitor] else "min"
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, Tensor] | None = None
        self.best_metrics: dict[str, float] = {}
        self._monitor = f"validation_{monitor}"
        self._on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the epoch's metrics, and its weights if none were better."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {"epoch": float(trainer.current_epoch), **dict(sorted(metrics.items()))}
        if not math.isfinite(row["train_loss"] + row["validation_loss"] + row[self._monitor]):
            raise MeritError(f"train: the loss is not a number after epoch {trainer.current_epoch}; lower optimizer.lr")
        self.rows.append(row)
        if self._is_better(row):
            self.best_metrics = row
            state = pl_module.predictor.network.state_dict()  # type: ignore[union-attr]  # Learner's
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}
        self._on_epoch(row)

    def _is_better(self, row: dict[str, float]) -> bool:
        if not self.best_metrics:
            return True
        found, best = row[self._monitor], self.best_metrics[self._monitor]
        return found > best if self.mode == "max" else found < best


def _write(history: History) -> None:
    assert history.best is not None
    with artifacts.written_aside(artifacts.HISTORY) as aside:
        _write_history(aside, history.rows)
    artifacts.write_arrays(artifacts.WEIGHTS, {name: value.numpy() for name, value in history.best.items()})


def _write_history(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in rows)
