"""What a worker and its writer say to each other: each piece in msgpack, its length before it."""

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.prediction_log.settings import PredictionLog

MOST_BYTES = 64 * 2**20
"""Bytes that may wait as bodies in the worker, and again as tables in the writer that could not be written yet."""
HEAD, ARRAY = 4, 5
"""Bytes of a length, and of what begins a list in msgpack."""

Entry = tuple[Any, ...]
"""Of a request: its rows, and what else its kind has."""


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


class Batch:
    """Entries, packed as they come: nothing of them is kept but bytes, so that what answers can use its memory anew.

    Attributes:
        count: entries.
        rows: of all of them.
    """

    def __init__(self) -> None:
        self._content = bytearray(HEAD + ARRAY)
        self.count = self.rows = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._content)

    def add(self, entry: Entry) -> None:
        """Add an entry; its arrays are such of numbers or of texts.

        Raises:
            ValueError, TypeError, OverflowError: it can't be packed; the batch is as it was.
        """
        size = len(self._content)
        try:
            _ENCODER.encode_into(entry, self._content, -1)
        except BaseException:
            del self._content[size:]
            raise
        self.count += 1
        self.rows += entry[0]

    def packed(self) -> memoryview:
        """Return it as it is sent: a list of entries."""
        self._content[:HEAD] = (self.size - HEAD).to_bytes(HEAD, "big")
        self._content[HEAD : HEAD + ARRAY] = b"\xdd" + self.count.to_bytes(4, "big")
        return memoryview(self._content)


def packed(piece: Task | State) -> bytes:
    """Return a piece as it is sent."""
    content = msgspec.msgpack.encode(piece)
    return len(content).to_bytes(HEAD, "big") + content


def entries(content: bytes) -> list[Entry]:
    """Return the entries of a batch that was packed."""
    return _DECODER.decode(content)


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
_DECODER = msgspec.msgpack.Decoder(list[Entry], ext_hook=_array)
