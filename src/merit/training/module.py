"""The Lightning module: what one step of training is, for any network that gives a logit per row."""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from merit.metrics import Scored
from merit.training.batches import Batch


class BinaryClassifier(lightning.LightningModule):
    """Trains a network on the binary cross-entropy of its logits.

    Args:
        network: (codes, numbers) -> logits [rows], in training also [members, rows].
        optimizer: builds the optimizer from the parameters.
        cosine: lets the learning rate fall to zero along half a cosine over the run.
    """

    def __init__(self, network: nn.Module, optimizer: Callable[[Any], Optimizer], *, cosine: bool) -> None:
        super().__init__()
        self.network = network
        self._build = optimizer
        self._cosine = cosine
        self._losses: list[Tensor] = []
        self._scores: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        logits = self.network(batch.codes, batch.numbers)
        loss = functional.binary_cross_entropy_with_logits(logits, batch.target.expand_as(logits))
        self._losses.append(loss.detach())
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Keep the probabilities of a batch."""
        self._scores.append((self.network(batch.codes, batch.numbers).float().sigmoid(), batch.target))

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the epoch: the mean loss of its batches, and what the validation rows say."""
        self.log("train_log_loss", torch.stack(self._losses).mean())
        self._losses.clear()
        probability, target = (torch.cat(each).cpu().numpy() for each in zip(*self._scores, strict=True))
        self._scores.clear()
        measured = Scored(target, probability).point()
        self.log("validation_log_loss", measured["log_loss"])
        self.log("validation_roc_auc", measured["roc_auc"])

    def configure_optimizers(self) -> Any:
        """Return the optimizer and, if asked for, its schedule per step."""
        optimizer = self._build(self.network.parameters())
        if not self._cosine:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        schedule = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
