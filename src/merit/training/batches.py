"""Batches cut from tensors that stay in memory: one shuffle per epoch, then contiguous slices.

Collating row by row, as a plain DataLoader does, costs more than the network itself at these sizes
(`benchmarks/training.py` measures it).
"""

import math
from collections.abc import Iterator

import torch

from merit.network import Rows


class Batches:
    """An epoch of batches at each iteration.

    Args:
        rows: all rows of the part.
        size: rows in a batch; the last one may be smaller.
        seed: shuffles the rows of each epoch differently, the same on every run; None keeps their order.
    """

    def __init__(self, rows: Rows, size: int, seed: int | None = None) -> None:
        self._rows = rows
        self._size = size
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return math.ceil(len(self._rows.target) / self._size)

    def __iter__(self) -> Iterator[Rows]:
        rows = self._rows
        if self._generator is not None:
            order = torch.randperm(len(rows.target), generator=self._generator)
            rows = rows.at(order)
        for start in range(0, len(rows.target), self._size):
            yield rows.at(slice(start, start + self._size))
