"""Computes the decoded size of a Parquet file from its metadata.

The metadata is encoded in Thrift's compact protocol:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

from merit.serving.codec.bounds.budget import BROKEN_METADATA, ByteBudget

MAX_FOOTER_BYTES = 2 * 2**20
"""Maximum size of a footer; one of 5,000 columns has about a third of that."""
MIN_PAGE_BYTES, MIN_VALUE_BYTES = 1024, 8
"""Minimum size counted for a page and for a value."""
MAGIC = b"PAR1"
ARROW_SCHEMA_KEY, HIDDEN_KEY = b"ARROW:schema", b"arrow:hidden"
DELTA_BYTE_ARRAY, MAX_DELTA_BYTES = 7, 2**29
"""The encoding in which each text may repeat a prefix of the previous one, and the limit on all such texts together."""
MAX_NESTING = 32
"""Maximum nesting depth of the metadata."""


def check_pages(body: bytes, max_bytes: int) -> bytes:
    """Check the decoded size of a file and return it with its embedded Arrow schema disabled.

    With that schema Polars would read dictionary columns as categories and hash the text of each row.

    Raises:
        ValueError: it is not a Parquet file, or expands to too many bytes.
    """
    size = int.from_bytes(body[-8:-4], "little")
    start = len(body) - 8 - size
    if body[-4:] != MAGIC or start < len(MAGIC):
        raise ValueError("it has no footer of Parquet")
    if size > MAX_FOOTER_BYTES:
        raise ValueError(f"its footer has {size} bytes, at most {MAX_FOOTER_BYTES} are read; write fewer row groups")
    pages, footer = body[:start], body[start:]
    budget = ByteBudget(max_bytes)
    repeated_budget = ByteBudget(MAX_DELTA_BYTES, "write texts as PLAIN and not as DELTA_BYTE_ARRAY")
    try:
        for group in _read_struct(footer, 0)[0][4]:
            for chunk in group[1]:
                _spend_chunk(pages, chunk[3], budget, repeated_budget)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(BROKEN_METADATA) from error
    return pages + footer.replace(ARROW_SCHEMA_KEY, HIDDEN_KEY)


def _spend_chunk(pages: bytes, chunk: dict[int, Any], budget: ByteBudget, repeated_budget: ByteBudget) -> None:
    """Count the decoded size of one column's pages in one row group."""
    offset = chunk.get(11, chunk[9])  # offset of the dictionary page, else of the first data page
    end = offset + chunk[7]
    if not 0 <= offset <= end <= len(pages):
        raise ValueError(BROKEN_METADATA)
    while offset < end:
        page, offset = _read_struct(pages, offset)
        expanded, compressed = page[2], page[3]
        header = page.get(5) or page.get(7) or page.get(8) or {1: 0}  # header of a data, dictionary or data v2 page
        values = header[1]
        budget.spend(max(expanded, values * MIN_VALUE_BYTES), MIN_PAGE_BYTES)
        if DELTA_BYTE_ARRAY in (header.get(2), header.get(4)):
            repeated_budget.spend(expanded * values)
        if compressed < 0:
            raise ValueError(BROKEN_METADATA)
        offset += compressed


def _read_struct(data: bytes, offset: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return the fields of a struct by id, with texts as None, and the offset after it."""
    if depth > MAX_NESTING:
        raise ValueError(BROKEN_METADATA)
    fields: dict[int, Any] = {}
    field = 0
    while header := data[offset]:
        offset += 1
        if header >> 4:
            field += header >> 4
        else:
            field, offset = _read_number(data, offset)
        fields[field], offset = _read_value(data, offset, header & 15, depth)
    return fields, offset + 1


def _read_value(data: bytes, offset: int, kind: int, depth: int) -> tuple[Any, int]:
    """Return a value of a Thrift type, and the offset after it."""
    if kind in (1, 2):  # true and false, encoded in the field header itself
        return kind == 1, offset
    if kind in (4, 5, 6):  # 16, 32 and 64 bit integers
        return _read_number(data, offset)
    if kind == 8:  # a text or bytes, skipped
        size, offset = _read_varint(data, offset)
        return None, offset + size
    if kind in (9, 10):  # a list, a set
        return _read_list(data, offset, depth)
    if kind == 12:
        return _read_struct(data, offset, depth + 1)
    if kind in (3, 7):  # a byte, a float
        return None, offset + (1 if kind == 3 else 8)
    raise ValueError(BROKEN_METADATA)


def _read_list(data: bytes, offset: int, depth: int) -> tuple[list[Any], int]:
    if depth > MAX_NESTING:
        raise ValueError(BROKEN_METADATA)
    count, kind = data[offset] >> 4, data[offset] & 15
    offset += 1
    if count == 15:
        count, offset = _read_varint(data, offset)
    if count > len(data):
        raise ValueError(BROKEN_METADATA)
    values = []
    for _ in range(count):
        value, offset = _read_value(
            data, offset, 3 if kind in (1, 2) else kind, depth + 1
        )  # booleans in a list take a byte each
        values.append(value)
    return values, offset


def _read_number(data: bytes, offset: int) -> tuple[int, int]:
    value, offset = _read_varint(data, offset)
    return value >> 1 ^ -(value & 1), offset


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    if (byte := data[offset]) < 128:  # the common case
        return byte, offset + 1
    while (byte := data[offset]) & 128:
        value |= (byte & 127) << shift
        offset, shift = offset + 1, shift + 7
        if shift > 63:
            raise ValueError(BROKEN_METADATA)
    return value | byte << shift, offset + 1
