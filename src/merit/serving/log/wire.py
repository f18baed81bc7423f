"""What a worker and its writer say to each other: each piece in msgpack, its length before it."""

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.serving.settings import PredictionLog

MOST_BYTES = 64 * 2**20
"""Bytes that may wait as bodies in the worker, and again as tables in the writer that could not be written yet."""
HEAD = 4
"""Bytes of a length."""


class Task(msgspec.Struct, frozen=True):
    """What a writer is for: the first piece it gets.

    Args:
        kind: what it writes.
        told: the settings.
        worker: whose log it is: two that write at once must not have the same name.
        inputs: the columns of the model's signature.
        output: the signature's output.
        origin: the model, version and commit of all that it gets.
    """

    kind: Literal["predictions", "feedback"]
    told: PredictionLog
    worker: str
    inputs: list[dict[str, Any]]
    output: dict[str, Any]
    origin: dict[str, str]


class Batch(msgspec.Struct, frozen=True):
    """Entries, and the rows of each."""

    entries: list[Any]
    rows: list[int]


class State(msgspec.Struct):
    """How a writer stands, since it began.

    Attributes:
        written: rows in files.
        failed: rows that could be made no table of, and `failure` what was wrong with the last of them.
        faults: attempts to write that failed, and `fault` why the last did; they are made again.
    """

    written: int = 0
    failed: int = 0
    failure: str = ""
    faults: int = 0
    fault: str = ""


def packed(piece: msgspec.Struct) -> bytes:
    """Return a piece as it is sent, arrays of numbers or texts included."""
    content = _ENCODER.encode(piece)
    return len(content).to_bytes(HEAD, "big") + content


def batch(content: bytes) -> Batch:
    """Return the batch that was packed."""
    return _BATCHES.decode(content)


def _ext(value: Any) -> msgspec.msgpack.Ext:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(type(value).__name__)
    if value.dtype == object:
        return msgspec.msgpack.Ext(_TEXTS, msgspec.msgpack.encode(value.tolist()))
    return msgspec.msgpack.Ext(_NUMBERS, msgspec.msgpack.encode((value.dtype.str, value.shape, value.tobytes())))


def _array(code: int, content: memoryview) -> NDArray[Any]:
    found = msgspec.msgpack.decode(content)
    if code == _TEXTS:
        return np.array(found, dtype=object)
    kind, shape, values = found
    return np.frombuffer(values, dtype=kind).reshape(shape)


_TEXTS, _NUMBERS = 1, 2
_ENCODER = msgspec.msgpack.Encoder(enc_hook=_ext)
_BATCHES = msgspec.msgpack.Decoder(Batch, ext_hook=_array)
