"""Computes the decoded size of a Parquet file from its metadata.

The metadata is encoded in Thrift's compact protocol:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

from merit.serving.codec.bounds.budget import BROKEN, Budget

FOOTER_BYTES = 2 * 2**20
"""Maximum size of a footer; one of 5,000 columns has about a third of that."""
PAGE_BYTES, VALUE_BYTES = 1024, 8
"""Minimum size counted for a page and for a value."""
MAGIC = b"PAR1"
ARROW_SCHEMA, HIDDEN = b"ARROW:schema", b"arrow:hidden"
DELTA_BYTE_ARRAY, DELTA_BYTES = 7, 2**29
"""The encoding in which each text may repeat a prefix of the previous one, and the limit on all such texts together."""
NESTED = 32
"""Maximum nesting depth of the metadata."""


def checked(body: bytes, most: int) -> bytes:
    """Check the decoded size of a file and return it with its embedded Arrow schema disabled.

    With that schema Polars would read dictionary columns as categories and hash the text of each row.

    Raises:
        ValueError: it is not a Parquet file, or expands to too many bytes.
    """
    size = int.from_bytes(body[-8:-4], "little")
    start = len(body) - 8 - size
    if body[-4:] != MAGIC or start < len(MAGIC):
        raise ValueError("it has no footer of Parquet")
    if size > FOOTER_BYTES:
        raise ValueError(f"its footer has {size} bytes, at most {FOOTER_BYTES} are read; write fewer row groups")
    pages, footer = body[:start], body[start:]
    budget = Budget(most)
    repeated = Budget(DELTA_BYTES, "write texts as PLAIN and not as DELTA_BYTE_ARRAY")
    try:
        for group in _struct(footer, 0)[0][4]:
            for chunk in group[1]:
                _spend_chunk(pages, chunk[3], budget, repeated)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(BROKEN) from error
    return pages + footer.replace(ARROW_SCHEMA, HIDDEN)


def _spend_chunk(pages: bytes, chunk: dict[int, Any], budget: Budget, repeated: Budget) -> None:
    """Count the decoded size of one column's pages in one row group."""
    at = chunk.get(11, chunk[9])  # offset of the dictionary page, else of the first data page
    end = at + chunk[7]
    if not 0 <= at <= end <= len(pages):
        raise ValueError(BROKEN)
    while at < end:
        page, at = _struct(pages, at)
        expanded, compressed = page[2], page[3]
        head = page.get(5) or page.get(7) or page.get(8) or {1: 0}  # header of a data, dictionary or data v2 page
        values = head[1]
        budget.spend(max(expanded, values * VALUE_BYTES), PAGE_BYTES)
        if DELTA_BYTE_ARRAY in (head.get(2), head.get(4)):
            repeated.spend(expanded * values)
        if compressed < 0:
            raise ValueError(BROKEN)
        at += compressed


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a struct by id, with texts as None, and the offset after it."""
    if depth > NESTED:
        raise ValueError(BROKEN)
    found: dict[int, Any] = {}
    field = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _number(data, at)
        found[field], at = _value(data, at, head & 15, depth)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """Return a value of a Thrift type, and the offset after it."""
    if kind in (1, 2):  # true and false, encoded in the field header itself
        return kind == 1, at
    if kind in (4, 5, 6):  # 16, 32 and 64 bit integers
        return _number(data, at)
    if kind == 8:  # a text or bytes, skipped
        size, at = _varint(data, at)
        return None, at + size
    if kind in (9, 10):  # a list, a set
        return _list(data, at, depth)
    if kind == 12:
        return _struct(data, at, depth + 1)
    if kind in (3, 7):  # a byte, a float
        return None, at + (1 if kind == 3 else 8)
    raise ValueError(BROKEN)


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    if depth > NESTED:
        raise ValueError(BROKEN)
    count, kind = data[at] >> 4, data[at] & 15
    at += 1
    if count == 15:
        count, at = _varint(data, at)
    if count > len(data):
        raise ValueError(BROKEN)
    found = []
    for _ in range(count):
        value, at = _value(data, at, 3 if kind in (1, 2) else kind, depth + 1)  # booleans in a list take a byte each
        found.append(value)
    return found, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    if (part := data[at]) < 128:  # the common case
        return part, at + 1
    while (part := data[at]) & 128:
        value |= (part & 127) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError(BROKEN)
    return value | part << shift, at + 1
