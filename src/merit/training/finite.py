"""Diagnoses a loss that is not finite: the first batch, and the likely cause."""

from collections.abc import Sequence

import torch
from torch import Tensor

from merit.errors import MeritError
from merit.models.build import Examples

DIVERGENCE_FACTOR = 10.0
"""Factor over the epoch's median loss from which the loss counts as diverging."""


def build_error(losses: Sequence[Tensor], block_start: int, block: Sequence[Examples], epoch: int) -> MeritError:
    """Return the error for an epoch whose losses are not all finite.

    Args:
        losses: losses of the epoch's batches so far.
        block_start: number of losses before this block.
        block: the block's batches.
        epoch: number of the epoch, from 0.
    """
    values = torch.stack(list(losses)).cpu()
    first_batch = block_start + int((~values[block_start:].isfinite()).nonzero()[0])
    return MeritError(
        f"train: the loss is {float(values[first_batch])} from batch {first_batch} of epoch {epoch} on; "
        f"{_find_cause(values[:first_batch], block[first_batch - block_start])}"
    )


def _find_cause(previous_losses: Tensor, batch: Examples) -> str:
    names = ["codes", "numbers", *(f"array{index}" for index in range(len(batch.inputs) - 2))]
    for name, values in [*zip(names, batch.inputs, strict=True), ("target", batch.target)]:
        if not values.isfinite().all():
            return f"its rows hold non-finite {name} values: check the output of 'merit features'"
    if not len(previous_losses):
        return "the first batch already: the network's weights start too large, or its loss is undefined there"
    last, median = float(previous_losses[-1]), float(previous_losses.median())
    if last > DIVERGENCE_FACTOR * abs(median):
        return f"it grew from {median:.3g} to {last:.3g} before: lower optimizer.lr"
    return f"it was {last:.3g} just before: lower optimizer.lr, or look for a logarithm or a division in the network"
