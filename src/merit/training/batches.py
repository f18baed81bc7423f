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

from merit.models.build import Examples

BATCHES_PER_BLOCK = 32
"""Batches in a block of training rows."""
CHUNK_ROWS = 32
"""Adjacent rows that stay together when rows are read from a file: reading single rows would read a page for each."""


class Table(Protocol):
    """The interface of a table of rows, in memory or in a file."""

    @property
    def count(self) -> int:
        """How many rows there are."""

    def select(self, rows: Tensor | slice) -> Examples:
        """Return the rows at these indices."""


class Batches:
    """Iterates over one epoch of blocks; every block but the last holds `batches_per_block` full batches.

    If several processes train together, each of n ranks takes every n-th shuffled row; unshuffled rows go to all ranks.

    Args:
        table: all rows of the part.
        batch_size: rows in a batch, over all ranks; the last batch may be smaller.
        seed: seeds a different shuffle for each epoch, the same on every run; None keeps the order of the rows.
        batches_per_block: batches in a block.
        chunk_rows: adjacent rows that are assigned to the same block, within which rows are shuffled; 1 shuffles all
            rows among all blocks.

    Attributes:
        batches_per_block: batches in a block.
        generator_state: state of the shuffle's generator at the start of this epoch.

    Example:
        for block in Batches(open_table("train", lock.trainer), batch_size=512, seed=0):
            first = block.select(slice(0, 512))
    """

    def __init__(
        self,
        table: Table,
        batch_size: int,
        seed: int | None = None,
        *,
        batches_per_block: int = BATCHES_PER_BLOCK,
        chunk_rows: int = 1,
    ) -> None:
        self._table = table
        self._batch_size = batch_size
        self._block_rows = batch_size * batches_per_block
        self.batches_per_block = batches_per_block
        self._chunk_rows = chunk_rows
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._skip = 0
        self.generator_state = torch.empty(0, dtype=torch.uint8)

    def __len__(self) -> int:
        return math.ceil(self._table.count / self._block_rows)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return math.ceil(self._table.count / self._batch_size)

    def __iter__(self) -> Iterator[Examples]:
        skip, self._skip = self._skip, 0
        selections = (slice(0, 0) if index < skip else rows for index, rows in enumerate(self._iterate_blocks()))
        if self._chunk_rows == 1:
            yield from map(self._table.select, selections)
        else:
            yield from self._read_ahead(selections)

    def _read_ahead(self, selections: Iterator[Tensor | slice]) -> Iterator[Examples]:
        """Read each block from the file while the previous one is used."""
        with ThreadPoolExecutor(1, "read") as reader:
            pending = deque(reader.submit(self._table.select, rows) for rows in islice(selections, 1))
            for rows in selections:
                pending.append(reader.submit(self._table.select, rows))
                yield pending.popleft().result()
            yield from (each.result() for each in pending)

    def resume_epoch(self, generator_state: Tensor, skip: int) -> None:
        """Resume an epoch: the next iteration shuffles from that state, and yields its first `skip` blocks empty."""
        assert self._generator is not None
        self._generator.set_state(generator_state)
        self._skip = skip

    def _iterate_blocks(self) -> Iterator[Tensor | slice]:
        count = self._table.count
        if self._generator is None:
            for start in range(0, count, self._block_rows):
                yield slice(start, start + self._block_rows)
            return
        rank, ranks = _read_rank()
        count -= count % ranks  # all ranks must take the same number of steps
        self.generator_state = self._generator.get_state()
        chunks = torch.randperm(math.ceil(count / self._chunk_rows), generator=self._generator)
        for block_chunks in torch.split(chunks, self._block_rows // self._chunk_rows):
            rows = self._expand_chunks(block_chunks) if self._chunk_rows > 1 else block_chunks
            yield rows[rows < count][rank::ranks]

    def _expand_chunks(self, chunks: Tensor) -> Tensor:
        """Return the indices of the chunks' rows, shuffled."""
        rows = (chunks[:, None] * self._chunk_rows + torch.arange(self._chunk_rows)).flatten()
        return rows[torch.randperm(len(rows), generator=self._generator)]


def _read_rank() -> tuple[int, int]:
    """Return this process's rank and the number of ranks."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
