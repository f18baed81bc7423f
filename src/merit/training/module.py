"""The Lightning module: what one step of training is, for any network and task."""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from merit.errors import MeritError
from merit.metrics import scored
from merit.network import Predictor, Rows


class Learner(lightning.LightningModule):
    """Trains a network on the loss of its task.

    Args:
        predictor: the network and its task.
        optimizer: builds the optimizer from the parameters.
        cosine: lets the learning rate fall to zero along half a cosine over the run.
    """

    def __init__(self, predictor: Predictor, optimizer: Callable[[Any], Optimizer], *, cosine: bool) -> None:
        super().__init__()
        self.predictor = predictor
        self._build = optimizer
        self._cosine = cosine
        self._losses: list[Tensor] = []
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Rows) -> Tensor:
        """Return the loss of a batch."""
        loss = self.predictor.loss(self._given(batch), batch.target)
        self._losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Rows) -> None:
        """Keep what the network gives for a batch."""
        self._outputs.append((self._given(batch).float(), batch.target))

    def _given(self, batch: Rows) -> Tensor:
        """Return the network's outputs, whose shape is all that ties a network to its task."""
        outputs = self.predictor.network(*batch.inputs)
        if not isinstance(outputs, Tensor) or outputs.dim() not in {2, 3} or outputs.shape[-2] != len(batch.target):
            found = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise MeritError(
                f"model: {type(self.predictor.network).__name__} gave {found} for {len(batch.target)} rows; "
                "it must give [rows, outputs] or [members, rows, outputs]"
            )
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the epoch: the mean loss of its batches, and what the validation rows say."""
        self.log("train_loss", torch.stack(self._losses).mean())
        self._losses.clear()
        parts, targets = zip(*self._outputs, strict=True)
        outputs, target = torch.cat(parts, dim=-2), torch.cat(targets)
        self._outputs.clear()
        self.log("validation_loss", self.predictor.loss(outputs, target))
        predicted = self.predictor.predicted(outputs)
        measured = scored(self.predictor.task, target.cpu().numpy(), predicted.cpu().numpy()).point()
        for name, value in measured.items():
            self.log(f"validation_{name}", value)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and, if asked for, its schedule per step."""
        optimizer = self._build(self.predictor.parameters())
        if not self._cosine:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        schedule = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
