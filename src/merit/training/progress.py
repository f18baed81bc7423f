"""Training progress: a progress bar on a terminal, one line per epoch elsewhere."""

import time
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


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
        self._console = Console()
        self._bars = Bars(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: Any = None
        self._batches: Any = None
        self._started = time.monotonic()

    def disable(self) -> None:
        """Disable all output; Lightning calls this on every rank but the first."""
        self._console.quiet = True

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
        """Print the epoch's line."""
        self._bars.remove_task(self._task)
        metrics = "  ".join(f"{name} {float(trainer.callback_metrics[name]):.4f}" for name in self._metric_names)
        seconds = time.monotonic() - self._started
        self._console.print(
            f"epoch {trainer.current_epoch:>3}  {metrics}  {seconds:.1f} s", highlight=False, soft_wrap=True
        )

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Stop the bar, also if training failed."""
        self._bars.stop()
