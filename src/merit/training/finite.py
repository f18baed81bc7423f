"""A loss that is no number: from which batch on, and why, as far as that can be seen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from merit.errors import MeritError
from merit.models.build import Rows

GROWN = 10.0
"""Times the epoch's median loss that count as having grown."""


def fault(losses: Sequence[Tensor], begun: int, block: Sequence[Rows], epoch: int) -> MeritError:
    """Return the error for an epoch's losses, some of which are no numbers.

    Args:
        losses: of the epoch's batches so far.
        begun: how many of them came before this block.
        block: its batches.
        epoch: counted from 0.
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
            return f"its rows hold such {name} themselves: look at what 'merit features' made"
    if not len(before):
        return "the first batch already: the network's weights start too large, or its loss is undefined there"
    last, usual = float(before[-1]), float(before.median())
    if last > GROWN * abs(usual):
        return f"it grew from {usual:.3g} to {last:.3g} before: lower optimizer.lr"
    return f"it was {last:.3g} just before: lower optimizer.lr, or look for a logarithm or a division in the network"
