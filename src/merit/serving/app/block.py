"""Provides a reusable, preallocated column buffer for rows.

All numbers share one block of memory; each string and each array column has its own array.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from merit.scoring.package import LANES, Columns

MOST = 64
"""Maximum rows scored together, a multiple of LANES."""


class Block:
    """Columns that grow row by row until they are taken; later rows then overwrite the columns that were returned.

    Args:
        numbers: names of the number columns, the first values of a row.
        strings: names of the string columns, the next values.
        arrays: names and shapes of the array columns, the last values.
        capacity: maximum rows.
    """

    def __init__(
        self, numbers: Sequence[str], strings: Sequence[str], arrays: Mapping[str, Sequence[int]], capacity: int
    ) -> None:
        self._width, self._capacity = len(numbers), capacity
        self._rows = np.zeros((capacity, self._width), dtype=np.float64)
        self._packed = self._rows.data.cast("B") if self._rows.size else memoryview(bytearray())
        self._pack = struct.Struct(f"{self._width}d").pack
        others: dict[str, Any] = {name: np.full(capacity, "", dtype=object) for name in strings}
        others |= {name: np.zeros((capacity, *shape), dtype=np.float64) for name, shape in arrays.items()}
        self._others = others
        self._strings = list(enumerate([others[name] for name in strings], self._width))
        self._arrays = list(enumerate([others[name] for name in arrays], self._width + len(strings)))
        self._numbers = list(numbers)
        self._views: dict[int, tuple[Any, Any, Columns]] = {}
        self._count = 0

    @property
    def room(self) -> int:
        """Number of rows that still fit."""
        return self._capacity - self._count

    def put(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows, at most as many as fit; None marks a missing value.

        Raises:
            OverflowError: a number does not fit 64 bits; no row was appended.
        """
        start, end, width = self._count, self._count + len(rows), self._width
        try:
            packed = b"".join([self._pack(*row[:width]) for row in rows])
        except struct.error:  # None can't be packed: replace it by NaN, which is slower
            packed = b"".join([self._pack(*map(_number, row[:width])) for row in rows])
        self._packed[start * width * 8 : end * width * 8] = packed
        for place, texts in self._strings:
            texts[start:end] = ["" if row[place] is None else row[place] for row in rows]
        for place, stack in self._arrays:
            stack[start:end] = [row[place] for row in rows]
        self._count = end

    def taken(self) -> Columns:
        """Empty the buffer and return its columns.

        They are padded with stale rows to a multiple of LANES, but not beyond the capacity.
        """
        height = min(-(-self._count // LANES) * LANES, self._capacity)
        self._count = 0
        if height not in self._views:
            self._views[height] = self._viewed(height)
        block, rows, columns = self._views[height]
        np.copyto(block, rows)
        return columns

    def _viewed(self, height: int) -> tuple[Any, Any, Columns]:
        block = np.empty((self._width, height), dtype=np.float64)
        columns = dict(zip(self._numbers, block, strict=True))
        others = {name: values[:height] for name, values in self._others.items()}
        return block, self._rows[:height].T, columns | others


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
