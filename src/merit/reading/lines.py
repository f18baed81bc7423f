"""Check each line of a text file against the header, since Polars fills a truncated line with empty fields."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import polars as pl

from merit.errors import MeritError
from merit.reading.patterns import escaped
from merit.reading.textfile import LONGEST, TextFile


@dataclass(frozen=True)
class _Patterns:
    """Patterns of fields between separators.

    Attributes:
        quoted: a quoted field, with the separator or the beginning of the record before it.
        whole: a record in which each quote begins or ends a field, or is doubled.
        stray: what remains only of a quote inside a field once quoted fields are removed: a quote that begins a field,
            or a line end.
    """

    quoted: re.Pattern[bytes]
    whole: re.Pattern[bytes]
    stray: re.Pattern[bytes]


@cache
def _patterns(separator: bytes) -> _Patterns:
    part = re.escape(separator)
    start = rb"(?:^(?:\xef\xbb\xbf)?|" + part + rb")"
    field = rb'(?:"(?:[^"]++|"")*+"|[^"\n' + part + rb"]*+)"
    return _Patterns(
        re.compile(rb"(" + start + rb')"(?:[^"]++|"")*+"(?=[\r\n' + part + rb"]|$)"),
        re.compile(field + rb"(?:" + part + field + rb")*+\r?\n?"),
        re.compile(start + rb'"|\n.'),
    )


def check(file: TextFile) -> None:
    """Check that all lines have as many fields as the header; empty lines are rows without values.

    Raises:
        MeritError: a line has fewer or more, a quote is not closed or is inside a field, lines end with CR alone, or
            the text is not in its encoding.
    """
    if not _are_alike(file):
        _check_each(file)


def _are_alike(file: TextFile) -> bool:
    """Return whether a fast scan shows equal field counts; with quoted line breaks it can't, and returns False."""
    if callable(file.source):
        return False
    line, part = pl.col("line"), escaped(file.dialect.separator)
    field = rf'(?:"(?:[^"]|"")*"|[^"\r{part}]*)'
    has_quote = line.str.contains('"', literal=True)
    bare = pl.when(has_quote).then(line.str.replace_all(r'"[^"]*"', "")).otherwise(line)
    seen = (
        bare.str.count_matches(file.dialect.separator, literal=True).n_unique().alias("widths"),
        (~has_quote | line.str.contains(rf"^{field}(?:{part}{field})*\r?$")).all().alias("whole"),
        line.str.contains("\r.").any().alias("cr"),
    )
    lines = pl.scan_lines(file.source).slice(file.leading).filter(line.str.strip_chars() != "")
    try:
        widths, is_whole, has_cr = lines.select(*seen).collect(engine="streaming").row(0)
    except pl.exceptions.PolarsError:
        for _ in file.recoded():  # raises if the text is not in its encoding
            pass
        return False
    return widths <= 1 and bool(is_whole) and not has_cr


def _check_each(file: TextFile) -> None:
    fields = 0
    patterns = _patterns(file.dialect.separator.encode())
    for number, record in records(file):
        if not fields:
            _check_header(file, record)
        count = _fields(record, file.dialect.separator.encode(), patterns)
        fields = fields or count
        if not count:
            raise MeritError(
                f"{file.name}: line {number} has a quote inside a field; put the whole field in quotes and write each "
                'quote in it twice, such as "5"" nail"'
            )
        if count != fields and record.strip():
            raise MeritError(
                f"{file.name}: line {number} has {count} field{'' if count == 1 else 's'}, the header has {fields}; "
                "mend or remove that line"
            )


def check_header(file: TextFile) -> None:
    """Check the header only.

    Raises:
        MeritError: lines end with CR alone, or a column name is repeated.
    """
    record = next(records(file), (1, b""))[1]
    _check_header(file, record)
    names = next(csv.reader([record.decode("utf-8-sig", "replace")], delimiter=file.dialect.separator), [])
    if twice := sorted({name for name in names if names.count(name) > 1}):
        shown = ", ".join(f"'{name}'" for name in twice[:3])
        raise MeritError(f"{file.name}: the header names {shown} more than once; give each column a name of its own")


def _check_header(file: TextFile, record: bytes) -> None:
    bare = _patterns(file.dialect.separator.encode()).quoted.sub(rb"\1", record)
    if b"\r" in bare.rstrip(b"\r\n"):
        raise MeritError(
            f"{file.name}: its lines end with CR alone; allowed: LF, or CR and LF; write it again with such line ends "
            "(by \"tr '\\r' '\\n'\", for one)"
        )


def records(file: TextFile) -> Iterator[tuple[int, bytes]]:
    """Yield each record from the header on with the number of its first line; quotes may span several lines."""
    with file.opened() as handle:
        lines = enumerate(iter(lambda: handle.readline(LONGEST), b""), 1)
        for _ in range(file.leading):
            next(lines)
        for number, line in lines:
            yield number, _whole(file, number, line, lines) if line.count(b'"') % 2 else line


def _whole(file: TextFile, number: int, first: bytes, lines: Iterator[tuple[int, bytes]]) -> bytes:
    """Return a record whose quote is closed on a later line, in one piece."""
    parts, size = [first], 0
    for _, line in lines:
        parts.append(line)
        size += len(line)
        if line.count(b'"') % 2:
            return b"".join(parts)
        if size > LONGEST:
            break
    raise MeritError(f"{file.name}: line {number} opens a quote that is not closed; mend that line")


def _fields(record: bytes, separator: bytes, patterns: _Patterns) -> int:
    """Return a record's number of fields, ignoring quoted separators; 0 if a quote is inside a field."""
    if b'"' not in record:
        return record.count(separator) + 1
    if patterns.whole.fullmatch(record):
        return b"".join(record.split(b'"')[::2]).count(separator) + 1
    rest = patterns.quoted.sub(rb"\1", record)
    return 0 if patterns.stray.search(rest) else rest.count(separator) + 1
