"""Computes the decoded size of Arrow IPC streams and files from their metadata.

The metadata is encoded in FlatBuffers: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
https://github.com/apache/arrow/blob/main/format/Message.fbs, File.fbs
"""

import struct
from typing import Any

from merit.serving.codec.bounds.budget import BROKEN, Budget

MESSAGE_BYTES, BUFFER_BYTES = 1024, 64
"""Minimum size counted for a message and for a buffer."""
CONTINUED = b"\xff\xff\xff\xff"
ENDS = CONTINUED + bytes(4)
MAGIC = b"ARROW1"
TAIL = 4 + len(MAGIC)
"""Bytes after a file's footer: its length and MAGIC."""
DICTIONARY, RECORDS = 2, 3
BLOCK, BUFFER = "<qi4xq", "<qq"
"""struct formats: a file's Block (offset, metadata length, body length) and a message's Buffer (offset, length)."""


def stream(body: bytes, most: int) -> tuple[int, bytes]:
    """Return the number of rows of a stream, and a stream that contains only its schema.

    Raises:
        ValueError: it is not an Arrow IPC stream, or expands to too many bytes.
    """
    budget = Budget(most)
    rows = at = 0
    schema, whole = b"", memoryview(body)
    try:
        while at < len(body) and (message := _message(whole, at)) is not None:
            head, start, at = message
            schema = schema or body[:at] + ENDS
            rows += _spend_message(whole, head, start, budget)
    except (struct.error, IndexError) as error:
        raise ValueError(BROKEN) from error
    return rows, schema


def file(body: bytes, most: int) -> int:
    """Return the number of rows of a file.

    Raises:
        ValueError: it is not an Arrow IPC file, or expands to too many bytes.
    """
    size = int.from_bytes(body[-TAIL : -len(MAGIC)], "little")
    if body[-len(MAGIC) :] != MAGIC or size > len(body) - TAIL:
        raise ValueError("it has no footer of Arrow")
    budget = Budget(most)
    rows, whole = 0, memoryview(body)
    try:
        footer = _root(whole[-TAIL - size : -TAIL])
        for at, _, _ in (*footer.structs(2, BLOCK), *footer.structs(3, BLOCK)):
            if (message := _message(whole, at)) is not None:
                head, start, _ = message
                rows += _spend_message(whole, head, start, budget)
    except (struct.error, IndexError) as error:
        raise ValueError(BROKEN) from error
    return rows


def _message(body: memoryview, at: int) -> "tuple[_Table, int, int] | None":
    """Return a message's metadata and the start and end of its body; None at the end of a stream."""
    if at < 0:
        raise ValueError(BROKEN)
    at += 4 if body[at : at + 4] == CONTINUED else 0
    size = struct.unpack_from("<i", body, at)[0]
    start = at + 4 + size
    if size == 0:
        return None
    if not 0 < size <= len(body) - at - 4:
        raise ValueError(BROKEN)
    head = _root(body[at + 4 : start])
    end = start + head.number(3, "<q")
    if not start <= end <= len(body):
        raise ValueError(BROKEN)
    return head, start, end


def _spend_message(body: memoryview, head: "_Table", start: int, budget: Budget) -> int:
    """Count the decoded size of a message; return its number of rows."""
    kind, content = head.number(1, "<B"), head.table(2)
    budget.spend(0, MESSAGE_BYTES)
    if content is None or kind not in (DICTIONARY, RECORDS):
        return 0
    batch = content.table(1) if kind == DICTIONARY else content
    if batch is None:
        raise ValueError(BROKEN)
    is_compressed = batch.table(3) is not None
    for offset, length in batch.structs(2, BUFFER):
        expanded = struct.unpack_from("<q", body, start + offset)[0] if is_compressed and length else length
        budget.spend(length if expanded == -1 else expanded, BUFFER_BYTES)  # -1: this buffer is not compressed
    return batch.number(0, "<q") if kind == RECORDS else 0


class _Table:
    """A FlatBuffers table.

    Args:
        data: the buffer that contains it.
        at: its offset.
    """

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, at
        self._places = at - struct.unpack_from("<i", data, at)[0]
        self._size = struct.unpack_from("<H", data, self._places)[0]

    def number(self, field: int, form: str) -> int:
        """Return a number field; 0 if it is absent."""
        place = self._place(field)
        found: int = struct.unpack_from(form, self._data, place)[0] if place else 0
        return found

    def table(self, field: int) -> "_Table | None":
        """Return a table field; None if it is absent."""
        place = self._place(field)
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0]) if place else None

    def structs(self, field: int, form: str) -> list[tuple[Any, ...]]:
        """Return the structs of a vector field; empty if it is absent."""
        if not (place := self._place(field)):
            return []
        start = place + struct.unpack_from("<I", self._data, place)[0]
        count = struct.unpack_from("<I", self._data, start)[0]
        return list(struct.iter_unpack(form, self._data[start + 4 : start + 4 + count * struct.calcsize(form)]))

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        offset = struct.unpack_from("<H", self._data, self._places + entry)[0] if entry < self._size else 0
        return self._at + offset if offset else 0


def _root(data: memoryview) -> _Table:
    return _Table(data, struct.unpack_from("<I", data, 0)[0])
