"""Serves batches in blocks: one shuffle per epoch, one gather per block, then contiguous slices of the block.

Lightning's overhead per step is paid once per block and shared by all of its batches. Collating row by row, as a plain
DataLoader does, costs more than the network itself at these sizes (`benchmarks/training.py`).
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor, distributed

from merit.models.build import Rows

TOGETHER = 32
"""Batches in a block of training rows."""
CHUNK = 32
"""Adjacent rows that stay together when rows are read from a file: reading single rows would read a page for each."""


class Table(Protocol):
    """The interface of a table of rows, in memory or in a file."""

    @property
    def count(self) -> int:
        """How many rows there are."""

    def at(self, rows: Tensor | slice) -> Rows:
        """Return the rows at these indices."""


class Batches:
    """Iterates over one epoch of blocks; every block but the last holds `together` full batches.

    If several processes train together, each of n ranks takes every n-th shuffled row; unshuffled rows go to all ranks.

    Args:
        table: all rows of the part.
        size: rows in a batch, over all ranks; the last batch may be smaller.
        seed: seeds a different shuffle for each epoch, the same on every run; None keeps the order of the rows.
        together: batches in a block.
        chunk: adjacent rows that are assigned to the same block, within which rows are shuffled; 1 shuffles all
            rows among all blocks.

    Attributes:
        together: batches in a block.
        drawn_from: state of the shuffle's generator at the start of this epoch.

    Example:
        for block in Batches(table("train", lock.trainer), size=512, seed=0):
            first = block.at(slice(0, 512))
    """

    def __init__(
        self, table: Table, size: int, seed: int | None = None, *, together: int = TOGETHER, chunk: int = 1
    ) -> None:
        self._table = table
        self._size = size
        self._block = size * together
        self.together = together
        self._chunk = chunk
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._skip = 0
        self.drawn_from = torch.empty(0, dtype=torch.uint8)

    def __len__(self) -> int:
        return math.ceil(self._table.count / self._block)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return math.ceil(self._table.count / self._size)

    def __iter__(self) -> Iterator[Rows]:
        skip, self._skip = self._skip, 0
        chosen = (slice(0, 0) if place < skip else rows for place, rows in enumerate(self._blocks()))
        if self._chunk == 1:
            yield from map(self._table.at, chosen)
        else:
            yield from self._ahead(chosen)

    def _ahead(self, chosen: Iterator[Tensor | slice]) -> Iterator[Rows]:
        """Read each block from the file while the previous one is used."""
        with ThreadPoolExecutor(1, "read") as reader:
            waiting = deque(reader.submit(self._table.at, rows) for rows in islice(chosen, 1))
            for rows in chosen:
                waiting.append(reader.submit(self._table.at, rows))
                yield waiting.popleft().result()
            yield from (each.result() for each in waiting)

    def resume(self, drawn_from: Tensor, skip: int) -> None:
        """Resume an epoch: the next iteration shuffles from that state, and yields its first `skip` blocks empty."""
        assert self._generator is not None
        self._generator.set_state(drawn_from)
        self._skip = skip

    def _blocks(self) -> Iterator[Tensor | slice]:
        count = self._table.count
        if self._generator is None:
            for start in range(0, count, self._block):
                yield slice(start, start + self._block)
            return
        rank, ranks = _place()
        count -= count % ranks  # all ranks must take the same number of steps
        self.drawn_from = self._generator.get_state()
        chunks = torch.randperm(math.ceil(count / self._chunk), generator=self._generator)
        for some in torch.split(chunks, self._block // self._chunk):
            rows = self._within(some) if self._chunk > 1 else some
            yield rows[rows < count][rank::ranks]

    def _within(self, chunks: Tensor) -> Tensor:
        """Return the indices of the chunks' rows, shuffled."""
        rows = (chunks[:, None] * self._chunk + torch.arange(self._chunk)).flatten()
        return rows[torch.randperm(len(rows), generator=self._generator)]


def _place() -> tuple[int, int]:
    """Return this process's rank and the number of ranks."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
