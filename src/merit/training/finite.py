"""Diagnoses a loss that is not finite: the first batch, and the likely cause."""

from collections.abc import Sequence

import torch
from torch import Tensor

from merit.errors import MeritError
from merit.models.build import Rows

GROWN = 10.0
"""Factor over the epoch's median loss from which the loss counts as diverging."""


def fault(losses: Sequence[Tensor], begun: int, block: Sequence[Rows], epoch: int) -> MeritError:
    """Return the error for an epoch whose losses are not all finite.

    Args:
        losses: losses of the epoch's batches so far.
        begun: number of losses before this block.
        block: the block's batches.
        epoch: number of the epoch, from 0.
    """
    values = torch.stack(list(losses)).cpu()
    first = begun + int((~values[begun:].isfinite()).nonzero()[0])
    return MeritError(
        f"train: the loss is {float(values[first])} from batch {first} of epoch {epoch} on; "
        f"{_cause(values[:first], block[first - begun])}"
    )


def _cause(before: Tensor, batch: Rows) -> str:
    kinds = ["codes", "numbers", *(f"array{place}" for place in range(len(batch.inputs) - 2))]
    for name, values in [*zip(kinds, batch.inputs, strict=True), ("target", batch.target)]:
        if not values.isfinite().all():
            return f"its rows hold non-finite {name} values: check the output of 'merit features'"
    if not len(before):
        return "the first batch already: the network's weights start too large, or its loss is undefined there"
    last, usual = float(before[-1]), float(before.median())
    if last > GROWN * abs(usual):
        return f"it grew from {usual:.3g} to {last:.3g} before: lower optimizer.lr"
    return f"it was {last:.3g} just before: lower optimizer.lr, or look for a logarithm or a division in the network"
