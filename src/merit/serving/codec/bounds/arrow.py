"""Computes the decoded size of Arrow IPC streams and files from their metadata.

The metadata is encoded in FlatBuffers: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
https://github.com/apache/arrow/blob/main/format/Message.fbs, File.fbs
"""

import struct
from typing import Any

from merit.serving.codec.bounds.budget import BROKEN_METADATA, ByteBudget

MIN_MESSAGE_BYTES, MIN_BUFFER_BYTES = 1024, 64
"""Minimum size counted for a message and for a buffer."""
CONTINUATION = b"\xff\xff\xff\xff"
END_OF_STREAM = CONTINUATION + bytes(4)
MAGIC = b"ARROW1"
TRAILER_BYTES = 4 + len(MAGIC)
"""Bytes after a file's footer: its length and MAGIC."""
DICTIONARY_BATCH, RECORD_BATCH = 2, 3
BLOCK_FORMAT, BUFFER_FORMAT = "<qi4xq", "<qq"
"""struct formats: a file's Block (offset, metadata length, body length) and a message's Buffer (offset, length)."""


def measure_stream(body: bytes, max_bytes: int) -> tuple[int, bytes]:
    """Return the number of rows of a stream, and a stream that contains only its schema.

    Raises:
        ValueError: it is not an Arrow IPC stream, or expands to too many bytes.
    """
    budget = ByteBudget(max_bytes)
    rows = offset = 0
    schema, view = b"", memoryview(body)
    try:
        while offset < len(body) and (message := _read_message(view, offset)) is not None:
            metadata, start, offset = message
            schema = schema or body[:offset] + END_OF_STREAM
            rows += _spend_message(view, metadata, start, budget)
    except (struct.error, IndexError) as error:
        raise ValueError(BROKEN_METADATA) from error
    return rows, schema


def measure_file(body: bytes, max_bytes: int) -> int:
    """Return the number of rows of a file.

    Raises:
        ValueError: it is not an Arrow IPC file, or expands to too many bytes.
    """
    size = int.from_bytes(body[-TRAILER_BYTES : -len(MAGIC)], "little")
    if body[-len(MAGIC) :] != MAGIC or size > len(body) - TRAILER_BYTES:
        raise ValueError("it has no footer of Arrow")
    budget = ByteBudget(max_bytes)
    rows, view = 0, memoryview(body)
    try:
        footer = _read_root(view[-TRAILER_BYTES - size : -TRAILER_BYTES])
        for offset, _, _ in (*footer.read_structs(2, BLOCK_FORMAT), *footer.read_structs(3, BLOCK_FORMAT)):
            if (message := _read_message(view, offset)) is not None:
                metadata, start, _ = message
                rows += _spend_message(view, metadata, start, budget)
    except (struct.error, IndexError) as error:
        raise ValueError(BROKEN_METADATA) from error
    return rows


def _read_message(body: memoryview, offset: int) -> "tuple[_FlatTable, int, int] | None":
    """Return a message's metadata and the start and end of its body; None at the end of a stream."""
    if offset < 0:
        raise ValueError(BROKEN_METADATA)
    offset += 4 if body[offset : offset + 4] == CONTINUATION else 0
    size = struct.unpack_from("<i", body, offset)[0]
    start = offset + 4 + size
    if size == 0:
        return None
    if size < 0:
        raise ValueError(BROKEN_METADATA)
    metadata = _read_root(body[offset + 4 : start])
    end = start + metadata.read_number(3, "<q")
    if not start <= end <= len(body):
        raise ValueError(BROKEN_METADATA)
    return metadata, start, end


def _spend_message(body: memoryview, metadata: "_FlatTable", start: int, budget: ByteBudget) -> int:
    """Count the decoded size of a message; return its number of rows."""
    kind, content = metadata.read_number(1, "<B"), metadata.read_table(2)
    budget.spend(0, MIN_MESSAGE_BYTES)
    if content is None or kind not in (DICTIONARY_BATCH, RECORD_BATCH):
        return 0
    batch = content.read_table(1) if kind == DICTIONARY_BATCH else content
    if batch is None:
        raise ValueError(BROKEN_METADATA)
    is_compressed = batch.read_table(3) is not None
    for offset, length in batch.read_structs(2, BUFFER_FORMAT):
        expanded = struct.unpack_from("<q", body, start + offset)[0] if is_compressed and length else length
        budget.spend(length if expanded == -1 else expanded, MIN_BUFFER_BYTES)  # -1: this buffer is not compressed
    return batch.read_number(0, "<q") if kind == RECORD_BATCH else 0


class _FlatTable:
    """A FlatBuffers table.

    Args:
        data: the buffer that contains it.
        offset: its offset.
    """

    def __init__(self, data: memoryview, offset: int) -> None:
        self._data, self._offset = data, offset
        self._vtable_offset = offset - struct.unpack_from("<i", data, offset)[0]
        self._vtable_bytes = struct.unpack_from("<H", data, self._vtable_offset)[0]

    def read_number(self, field: int, struct_format: str) -> int:
        """Return a number field; 0 if it is absent."""
        position = self._find_field(field)
        value: int = struct.unpack_from(struct_format, self._data, position)[0] if position else 0
        return value

    def read_table(self, field: int) -> "_FlatTable | None":
        """Return a table field; None if it is absent."""
        position = self._find_field(field)
        return (
            _FlatTable(self._data, position + struct.unpack_from("<I", self._data, position)[0]) if position else None
        )

    def read_structs(self, field: int, struct_format: str) -> list[tuple[Any, ...]]:
        """Return the structs of a vector field; empty if it is absent."""
        if not (position := self._find_field(field)):
            return []
        start = position + struct.unpack_from("<I", self._data, position)[0]
        count = struct.unpack_from("<I", self._data, start)[0]
        return list(
            struct.iter_unpack(
                struct_format, self._data[start + 4 : start + 4 + count * struct.calcsize(struct_format)]
            )
        )

    def _find_field(self, field: int) -> int:
        entry = 4 + 2 * field
        offset = (
            struct.unpack_from("<H", self._data, self._vtable_offset + entry)[0] if entry < self._vtable_bytes else 0
        )
        return self._offset + offset if offset else 0


def _read_root(data: memoryview) -> _FlatTable:
    return _FlatTable(data, struct.unpack_from("<I", data, 0)[0])
