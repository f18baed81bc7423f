"""The lines of CSV files, each held against the header: Polars takes one that breaks off for one with empty fields."""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from merit.errors import MeritError
from merit.serving.batch.sources import Files, faults

LONGEST = 64 * 1024 * 1024
"""Bytes of a record, past which a quote was not closed."""
QUOTED = re.compile(rb'(^(?:\xef\xbb\xbf)?|,)"(?:[^"]++|"")*+"')
"""A quoted field, and what stands before it: the beginning, or a comma."""


def check(files: Files) -> None:
    """Read all lines once, and hold their fields against those of the header; empty lines are rows without values.

    Raises:
        MeritError: one has fewer or more, or a quote is not closed.
    """
    for path in files.paths:
        with faults(path), _opened(path) as handle:
            fields = 0
            for number, record in _records(path, handle):
                found = _fields(record, fields)
                fields = fields or found
                if found != fields and record.strip():
                    raise MeritError(
                        f"{path}: line {number} has {found} field{'' if found == 1 else 's'}, the header has {fields}; "
                        "mend or remove that line; nothing was scored"
                    )


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path.startswith("s3://"):
        from merit.serving.batch import s3

        opened = s3.reader(path)
    else:
        opened = Path(path).open("rb", buffering=1 << 20)  # noqa: SIM115  # closed below
    with opened as handle:
        if not path.lower().endswith(".gz"):
            yield handle
            return
        with gzip.open(handle) as plain:
            yield cast("BinaryIO", plain)


def _records(path: str, handle: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Give each record with the number of its first line; one with a quote may go on over several."""
    for number, line in (lines := enumerate(handle, 1)):
        record = line
        if line.count(b'"') % 2:
            record = _whole(path, number, line, lines)
        yield number, record


def _whole(path: str, number: int, first: bytes, lines: Iterator[tuple[int, bytes]]) -> bytes:
    """Return a record whose quote is closed on a later line."""
    found, size = [first], 0
    for _, line in lines:
        found.append(line)
        size += len(line)
        if line.count(b'"') % 2:
            return b"".join(found)
        if size > LONGEST:
            break
    raise MeritError(f"{path}: line {number} opens a quote that is not closed; mend that line; nothing was scored")


def _fields(record: bytes, expected: int) -> int:
    """Return how many fields a record has; a comma in a quoted field parts none."""
    if b'"' not in record:
        return record.count(b",") + 1
    outside = b"".join(record.split(b'"')[::2])  # quick, and right unless a quote stands within a field
    if outside.count(b",") + 1 == expected:
        return expected
    return QUOTED.sub(rb"\1", record).count(b",") + 1
