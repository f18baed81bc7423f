"""Shows the progress of training: a bar on a terminal, and a line of the log per epoch."""

import time
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from merit.console import logging


class EpochProgress(ProgressBar):
    """Shows the progress of an epoch in batches, and its metrics at its end.

    Args:
        monitor: the metric that is shown in addition to the losses.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__()
        # A classifier's loss is its log loss, which is shown already.
        self._metric_names = [
            "train_loss",
            "validation_loss",
            *([] if monitor == "log_loss" else [f"validation_{monitor}"]),
        ]
        self._is_silent = False
        screen = Console()
        self._bars = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches"),
            TimeElapsedColumn(),
            console=screen,
            transient=True,
            disable=not logging.shows_bars(screen),
        )
        self._task: Any = None
        self._batches: Any = None
        self._started = time.monotonic()

    def disable(self) -> None:
        """Disable all output; Lightning calls this on every rank but the first."""
        self._is_silent, self._bars.disable = True, True

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the epoch's bar."""
        self._started = time.monotonic()
        self._bars.start()
        self._batches = trainer.train_dataloader
        self._task = self._bars.add_task("", total=self._batches.steps, epoch=trainer.current_epoch)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance the bar by the batches of a block."""
        trained = (batch_idx + 1) * self._batches.batches_per_block
        self._bars.update(self._task, completed=min(trained, self._batches.steps))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the epoch's line."""
        self._bars.remove_task(self._task)
        metrics = "  ".join(f"{name} {float(trainer.callback_metrics[name]):.4f}" for name in self._metric_names)
        seconds = time.monotonic() - self._started
        if not self._is_silent:
            logging.show_line(f"epoch {trainer.current_epoch:>3}  {metrics}  {seconds:.1f} s")

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Stop the bar, also if training failed."""
        self._bars.stop()
