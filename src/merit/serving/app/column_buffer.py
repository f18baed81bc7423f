"""Provides a reusable, preallocated column buffer for rows.

All numbers share one block of memory; each string and each array column has its own array.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from merit.scoring.package import LANES, Columns

MAX_BATCH_ROWS = 64
"""Maximum rows scored together, a multiple of LANES."""


class ColumnBuffer:
    """Columns that grow row by row until they are taken; later rows then overwrite the columns that were returned.

    Args:
        number_columns: names of the number columns, the first values of a row.
        string_columns: names of the string columns, the next values.
        array_shapes: names and shapes of the array columns, the last values.
        capacity: maximum rows.
    """

    def __init__(
        self,
        number_columns: Sequence[str],
        string_columns: Sequence[str],
        array_shapes: Mapping[str, Sequence[int]],
        capacity: int,
    ) -> None:
        self._width, self._capacity = len(number_columns), capacity
        self._rows = np.zeros((capacity, self._width), dtype=np.float64)
        self._row_bytes = self._rows.data.cast("B") if self._rows.size else memoryview(bytearray())
        self._pack = struct.Struct(f"{self._width}d").pack
        object_columns: dict[str, Any] = {name: np.full(capacity, "", dtype=object) for name in string_columns}
        object_columns |= {name: np.zeros((capacity, *shape), dtype=np.float64) for name, shape in array_shapes.items()}
        self._object_columns = object_columns
        self._indexed_strings = list(enumerate([object_columns[name] for name in string_columns], self._width))
        self._indexed_arrays = list(
            enumerate([object_columns[name] for name in array_shapes], self._width + len(string_columns))
        )
        self._number_columns = list(number_columns)
        self._views: dict[int, tuple[Any, Any, Columns]] = {}
        self._count = 0

    @property
    def free_rows(self) -> int:
        """Number of rows that still fit."""
        return self._capacity - self._count

    def append_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows, at most as many as fit; None marks a missing value."""
        start, end, width = self._count, self._count + len(rows), self._width
        try:
            packed = b"".join([self._pack(*row[:width]) for row in rows])
        except struct.error:  # None can't be packed: replace it by NaN, which is slower
            packed = b"".join([self._pack(*map(_to_float, row[:width])) for row in rows])
        self._row_bytes[start * width * 8 : end * width * 8] = packed
        for index, texts in self._indexed_strings:
            texts[start:end] = ["" if row[index] is None else row[index] for row in rows]
        for index, array in self._indexed_arrays:
            array[start:end] = [row[index] for row in rows]
        self._count = end

    def take_columns(self) -> Columns:
        """Empty the buffer and return its columns.

        They are padded with stale rows to a multiple of LANES, but not beyond the capacity.
        """
        height = min(-(-self._count // LANES) * LANES, self._capacity)
        self._count = 0
        if height not in self._views:
            self._views[height] = self._create_view(height)
        block, rows, columns = self._views[height]
        np.copyto(block, rows)
        return columns

    def _create_view(self, height: int) -> tuple[Any, Any, Columns]:
        block = np.empty((self._width, height), dtype=np.float64)
        columns = dict(zip(self._number_columns, block, strict=True))
        object_columns = {name: values[:height] for name, values in self._object_columns.items()}
        return block, self._rows[:height].T, columns | object_columns


def _to_float(value: float | None) -> float:
    return math.nan if value is None else float(value)
