"""The protocol between a worker and its writer process: length-prefixed msgpack messages."""

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.prediction_log.settings import PredictionLog

MAX_QUEUE_BYTES = 64 * 2**20
"""Size limit in bytes of the queue in the worker, and also of the unwritten tables in the writer."""
LENGTH_BYTES, ARRAY_HEADER_BYTES = 4, 5
"""Bytes of a length prefix, and of the header of a msgpack array."""

LogEntry = tuple[Any, ...]
"""The log entry of a request: its number of rows, then the fields of its kind (see the `build_table` methods)."""


class WriterTask(msgspec.Struct, frozen=True):
    """The configuration of a writer, and the first message to it.

    Args:
        kind: whether it writes predictions or feedback.
        settings: the settings of the prediction log.
        worker: the name of the worker; unique among concurrent workers.
        inputs: the input columns of the model's signature.
        output: the output of the signature.
        origin: model, version and commit of all its entries.
    """

    kind: Literal["predictions", "feedback"]
    settings: PredictionLog
    worker: str
    inputs: list[dict[str, Any]]
    output: dict[str, Any]
    origin: dict[str, str]


class WriterState(msgspec.Struct):
    """The counts of a writer since its start.

    Attributes:
        written: rows in files.
        failed: rows lost because no table could be built from them.
        failure: the error of the last such row.
        faults: failed attempts to write; they are retried.
        fault: the error of the last such attempt.
    """

    written: int = 0
    failed: int = 0
    failure: str = ""
    faults: int = 0
    fault: str = ""


class EntryBatch:
    """A batch of entries, packed at once, so that the memory of each request is free after its response.

    Attributes:
        count: number of entries.
        rows: number of rows of all entries.
    """

    def __init__(self) -> None:
        self._content = bytearray(LENGTH_BYTES + ARRAY_HEADER_BYTES)
        self.count = self.rows = 0

    @property
    def size(self) -> int:
        """Packed size in bytes."""
        return len(self._content)

    def add(self, entry: LogEntry) -> None:
        """Pack an entry; its arrays hold numbers or strings.

        Raises:
            ValueError, TypeError, OverflowError: the entry can't be packed; the batch is unchanged.
        """
        size = len(self._content)
        try:
            _ENCODER.encode_into(entry, self._content, -1)
        except BaseException:
            del self._content[size:]
            raise
        self.count += 1
        self.rows += entry[0]

    def pack(self) -> memoryview:
        """Return the message to send: a length and a msgpack array of entries."""
        self._content[:LENGTH_BYTES] = (self.size - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "big")
        self._content[LENGTH_BYTES : LENGTH_BYTES + ARRAY_HEADER_BYTES] = b"\xdd" + self.count.to_bytes(4, "big")
        return memoryview(self._content)


def pack_message(message: WriterTask | WriterState) -> bytes:
    """Return a task or state as a message to send."""
    content = msgspec.msgpack.encode(message)
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def unpack_entries(content: bytes) -> list[LogEntry]:
    """Return the entries of a packed batch."""
    return _DECODER.decode(content)


def _encode_array(value: Any) -> msgspec.msgpack.Ext:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(type(value).__name__)
    if value.dtype == object:
        return msgspec.msgpack.Ext(_TEXTS, msgspec.msgpack.encode(value.tolist()))
    return msgspec.msgpack.Ext(_NUMBERS, msgspec.msgpack.encode((value.dtype.str, value.shape, value.tobytes())))


def _decode_array(code: int, content: memoryview) -> NDArray[Any]:
    decoded = msgspec.msgpack.decode(content)
    if code == _TEXTS:
        return np.array(decoded, dtype=object)
    dtype, shape, values = decoded
    return np.frombuffer(values, dtype=dtype).reshape(shape)


_TEXTS, _NUMBERS = 1, 2
_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_DECODER = msgspec.msgpack.Decoder(list[LogEntry], ext_hook=_decode_array)
