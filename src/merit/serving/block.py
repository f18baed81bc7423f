"""Arrays that rows are put into one by one, made once.

Numbers are in one block of memory, strings in arrays of their own.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from merit.scoring import LANES, Columns

MOST = 64
"""Rows at most, a multiple of LANES."""


class Block:
    """Columns that grow row by row; what was taken is overwritten by the rows that follow.

    Args:
        numbers: the columns of numbers: the first values of a row.
        strings: those of strings: the values after them.
    """

    def __init__(self, numbers: Sequence[str], strings: Sequence[str]) -> None:
        self._width = len(numbers)
        self._rows = np.zeros((MOST, self._width), dtype=np.float64)
        self._packed = self._rows.data.cast("B") if self._width else memoryview(bytearray(1))
        self._pack = struct.Struct(f"{self._width}d").pack_into
        self._texts = [np.full(MOST, "", dtype=object) for _ in strings]
        self._names = list(numbers), list(strings)
        self._views: dict[int, tuple[Any, Any, Columns]] = {}
        self._count = 0

    @property
    def is_full(self) -> bool:
        """Whether no row can be put before they are taken."""
        return self._count == MOST

    def put(self, values: tuple[Any, ...]) -> None:
        """Put a row; None is missing.

        Raises:
            OverflowError, struct.error: a number does not fit 64 bits; the row was not put.
        """
        numbers = values[: self._width]
        if None in numbers:
            numbers = tuple([math.nan if value is None else value for value in numbers])
        place = self._count
        self._pack(self._packed, place * self._width * 8, *numbers)
        for texts, value in zip(self._texts, values[self._width :], strict=True):
            texts[place] = "" if value is None else value
        self._count = place + 1

    def taken(self) -> Columns:
        """Return the columns of all rows that were put, and of some more up to a multiple of LANES; begin anew."""
        height = -(-self._count // LANES) * LANES
        self._count = 0
        if height not in self._views:
            self._views[height] = self._viewed(height)
        block, rows, columns = self._views[height]
        np.copyto(block, rows)
        return columns

    def _viewed(self, height: int) -> tuple[Any, Any, Columns]:
        numbers, strings = self._names
        block = np.empty((self._width, height), dtype=np.float64)
        columns = {name: block[at] for at, name in enumerate(numbers)}
        texts = {name: texts[:height] for name, texts in zip(strings, self._texts, strict=True)}
        return block, self._rows[:height].T, columns | texts
