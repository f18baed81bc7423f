"""The lines of CSV files, each held against the header: Polars takes one that breaks off for one with empty fields."""

import csv
import gzip
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, cast

from merit.errors import MeritError
from merit.serving.batch.sources import Files, faults

LONGEST = 64 * 1024 * 1024
"""Bytes of a record, past which a quote was not closed."""
QUOTED = re.compile(rb'(^(?:\xef\xbb\xbf)?|,)"(?:[^"]++|"")*+"(?=[,\r\n]|$)')
"""A quoted field, and what stands before it: the beginning, or a comma."""
WHOLE = re.compile(rb'(?:"(?:[^"]++|"")*+"|[^",\n]*+)(?:,(?:"(?:[^"]++|"")*+"|[^",\n]*+))*+\r?\n?')
"""A record each of whose quotes begins or ends a field, or is written twice."""
STRAY = re.compile(rb'(?:^(?:\xef\xbb\xbf)?|,)"|\n.')
"""What only a quote inside a field leaves once the quoted fields are gone: one that begins a field, or a line's end."""


def check(files: Files) -> None:
    """Read all lines once, and hold their fields against those of the header; empty lines are rows without values.

    Raises:
        MeritError: one has fewer or more, a quote is not closed or stands inside a field, or a header is not right.
    """
    for path in files.paths:
        with faults(path), _opened(path) as handle:
            fields = 0
            for number, record in _records(path, handle):
                if not fields:
                    _check_header(path, record)
                found = _fields(record)
                fields = fields or found
                if not found:
                    raise MeritError(
                        f"{path}: line {number} has a quote inside a field; put the whole field in quotes and write "
                        'each quote in it twice, such as "5"" nail"; nothing was scored'
                    )
                if found != fields and record.strip():
                    raise MeritError(
                        f"{path}: line {number} has {found} field{'' if found == 1 else 's'}, the header has {fields}; "
                        "mend or remove that line; nothing was scored"
                    )


def check_headers(files: Files) -> None:
    """Look at the header of each file, before anything else is told of its columns; in a store at the first alone.

    Raises:
        MeritError: it is not right.
    """
    for path in files.paths[:1] if files.paths[0].startswith("s3://") else files.paths:
        with faults(path), _opened(path) as handle:
            # Bounded, for where no line ends the whole file would be one.
            some = iter(lambda handle=handle: handle.readline(LONGEST), b"")  # type: ignore[misc]
            record = next(_records(path, some), (1, b""))[1]
        _check_header(path, record)


def _check_header(path: str, record: bytes) -> None:
    if b"\r" in QUOTED.sub(rb"\1", record).rstrip(b"\r\n"):
        raise MeritError(
            f"{path}: its lines end with CR alone; allowed: LF, or CR and LF; write it anew with such line ends "
            "(by \"tr '\\r' '\\n'\", for one); nothing was scored"
        )
    names = next(csv.reader([record.decode("utf-8-sig", "replace")]), [])
    if twice := sorted({name for name in names if names.count(name) > 1}):
        shown = ", ".join(f"'{name}'" for name in twice[:3])
        raise MeritError(
            f"{path}: the header names {shown} more than once; give each column a name of its own; nothing was scored"
        )


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path.startswith("s3://"):
        from merit.serving.batch import s3

        opened = cast("BinaryIO", BufferedReader(cast("RawIOBase", s3.reader(path))))  # whose lines can be bounded
    else:
        opened = Path(path).open("rb", buffering=1 << 20)  # noqa: SIM115  # closed below
    with opened as handle:
        if not path.lower().endswith(".gz"):
            yield handle
            return
        with gzip.open(handle) as plain:
            yield cast("BinaryIO", plain)


def _records(path: str, handle: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
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


def _fields(record: bytes) -> int:
    """Return how many fields a record has; a comma in a quoted field parts none. 0: a quote stands inside a field."""
    if b'"' not in record:
        return record.count(b",") + 1
    if WHOLE.fullmatch(record):
        return b"".join(record.split(b'"')[::2]).count(b",") + 1
    rest = QUOTED.sub(rb"\1", record)
    return 0 if STRAY.search(rest) else rest.count(b",") + 1
