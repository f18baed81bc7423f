"""The Lightning module that trains any network for any task on blocks of batches."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from merit.errors import MeritError
from merit.metrics import prepare_metrics
from merit.models.build import Examples, Predictor
from merit.training import finite


class Learner(lightning.LightningModule):
    """Trains a network on the loss of its task.

    It uses Lightning's manual optimization: Lightning passes one block of batches at a time, so its overhead per step
    is paid once per block.

    Args:
        predictor: the network and its task.
        optimizer: builds the optimizer from the parameters.
        batch_size: rows in a batch on this rank.
        steps: maximum number of steps of the run, over which the learning rate falls to zero along half a cosine; None
            keeps it constant.

    Attributes:
        losses: losses of the epoch's batches so far.
        schedule: the learning rate's schedule; None if the rate is constant.
    """

    def __init__(
        self,
        predictor: Predictor,
        optimizer: Callable[[Any], Optimizer],
        *,
        batch_size: int,
        steps: int | None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.predictor = predictor
        self.losses: list[Tensor] = []
        self.schedule: LambdaLR | None = None
        self._build_optimizer = optimizer
        self._batch_size = batch_size
        self._steps = steps
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def training_step(self, block: Examples) -> None:
        """Take a step for each batch of a block.

        Raises:
            MeritError: the loss is not finite; the message names the first such batch and the likely cause.
        """
        start = len(self.losses)
        for batch in self._split_block(block):
            self.losses.append(self._train_batch(batch))
        if start == len(self.losses):  # an empty block: trained before the checkpoint
            return
        losses = torch.stack(self.losses[start:])
        if not losses.isfinite().all():
            raise finite.build_error(self.losses, start, list(self._split_block(block)), self.trainer.current_epoch)
        # Averaged to be equal on all ranks: rank 0 writes the checkpoint from which all ranks resume.
        self.losses[start:] = self.trainer.strategy.reduce(losses, reduce_op="mean").unbind()

    def _split_block(self, block: Examples) -> Iterator[Examples]:
        for start in range(0, block.count, self._batch_size):
            yield block.select(slice(start, start + self._batch_size))

    def _train_batch(self, batch: Examples) -> Tensor:
        """Take an optimizer step, and return the batch's loss."""
        optimizer = self.optimizers()
        optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]  # there is one
        loss = self.predictor.loss(self._compute_outputs(batch), batch.target)
        with self._disable_autocast():
            self.manual_backward(loss)
            optimizer.step()  # type: ignore[union-attr]
        if self.schedule is not None:
            self.schedule.step()
        return loss.detach()

    def _disable_autocast(self) -> AbstractContextManager[object]:
        """Return a context without mixed precision, in which Lightning wraps the block, for backward pass and step."""
        if not torch.is_autocast_enabled(self.device.type):
            return nullcontext()
        torch.clear_autocast_cache()  # it holds the weights as they were before the step
        return torch.autocast(self.device.type, enabled=False)

    def validation_step(self, batch: Examples) -> None:
        """Keep the network's outputs and the targets of a batch."""
        self._outputs.append((self._compute_outputs(batch).float(), batch.target))

    def _compute_outputs(self, batch: Examples) -> Tensor:
        """Return the network's outputs for a batch, after checking their shape.

        Raises:
            MeritError: they are not [rows, outputs] or [members, rows, outputs].
        """
        outputs = self.predictor.network(*batch.inputs)
        if not isinstance(outputs, Tensor) or outputs.dim() not in {2, 3} or outputs.shape[-2] != len(batch.target):
            actual = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise MeritError(
                f"model: {type(self.predictor.network).__name__} gave {actual} for {len(batch.target)} rows; "
                "it must give [rows, outputs] or [members, rows, outputs]"
            )
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's metrics: the mean loss of its batches, and the loss and metrics of the validation rows."""
        metrics = {"train_loss": torch.stack(self.losses).mean()}
        self.losses.clear()
        output_parts, targets = zip(*self._outputs, strict=True)
        outputs, target = torch.cat(output_parts, dim=-2), torch.cat(targets)
        self._outputs.clear()
        metrics["validation_loss"] = self.predictor.loss(outputs, target)
        predicted = self.predictor.to_predictions(outputs)
        points = prepare_metrics(self.predictor.task, target.cpu().numpy(), predicted.cpu().numpy()).compute_point()
        metrics |= {f"validation_{name}": torch.tensor(value, device=self.device) for name, value in points.items()}
        self.log_dict(metrics, sync_dist=True)

    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer; the schedule, if there is one, is stepped manually after each step."""
        optimizer = self._build_optimizer(self.predictor.parameters())
        if self._steps is not None:
            total_steps = self._steps
            self.schedule = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / total_steps))) / 2)
        return optimizer
