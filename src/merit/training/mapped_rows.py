"""A memory-mapped table: rows are read when a block needs them, so that memory does not grow with the table."""

import json
import mmap
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from merit import artifacts
from merit.models.build import Examples

ROWS_PER_READ = 2048
"""Rows read before their pages are released: the system maps up to two megabytes around each address that is read."""
DTYPES = {"I32": np.int32, "F32": np.float32}


class MappedRows:
    """The rows of a part, memory-mapped.

    Args:
        name: name of the part: train, validation or test; see `artifacts.part`.

    Raises:
        MeritError: the part's file is missing.
    """

    def __init__(self, name: str) -> None:
        path = artifacts.require_path(artifacts.part_path(name), "features")
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = _read_arrays(path, self._map)
        others = (arrays[f"array{index}"] for index in range(len(arrays) - 3))
        self._inputs = (arrays["codes"], arrays["numbers"], *others)
        self._target = arrays["target"]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._target)

    def select(self, rows: Tensor | slice) -> Examples:
        """Return the rows at these indices, in memory; codes become int64, as embeddings need."""
        index = np.arange(*rows.indices(self.count)) if isinstance(rows, slice) else rows.numpy()
        order = np.argsort(index)
        arrays = [np.empty((len(index), *each.shape[1:]), each.dtype) for each in (*self._inputs, self._target)]
        for start in range(0, len(index), ROWS_PER_READ):
            positions = order[start : start + ROWS_PER_READ]
            for destination, each in zip(arrays, (*self._inputs, self._target), strict=True):
                destination[positions] = each[index[positions]]
            self._map.madvise(mmap.MADV_DONTNEED)
        codes, *others, target = (torch.from_numpy(each) for each in arrays)
        return Examples((codes.long(), *others), target)


def _read_arrays(path: Path, buffer: mmap.mmap) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file, whose header holds each one's dtype, shape and offsets.

    The format is described in the README of safetensors.
    """
    length = int.from_bytes(buffer[:8], "little")
    header = json.loads(buffer[8 : 8 + length])
    header.pop("__metadata__", None)
    arrays = {}
    for name, each in header.items():
        start = 8 + length + each["data_offsets"][0]
        flat = np.frombuffer(buffer, DTYPES[each["dtype"]], prod(each["shape"]), start)
        arrays[name] = flat.reshape(each["shape"])
    return arrays
