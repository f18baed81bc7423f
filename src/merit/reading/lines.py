"""Check each line of a text file against the header, since Polars fills a truncated line with empty fields."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import polars as pl

from merit.errors import MeritError
from merit.reading.patterns import escape_pattern
from merit.reading.textfile import MAX_LINE_BYTES, TextFile


@dataclass(frozen=True)
class _FieldPatterns:
    """Patterns of fields between separators.

    Attributes:
        quoted: a quoted field, with the separator or the beginning of the record before it.
        whole: a record in which each quote begins or ends a field, or is doubled.
        stray: what remains only of a quote inside a field once quoted fields are removed: a quote that begins a field,
            or a line end.
    """

    quoted: re.Pattern[bytes]
    valid_record: re.Pattern[bytes]
    stray: re.Pattern[bytes]


@cache
def _build_patterns(separator: bytes) -> _FieldPatterns:
    part = re.escape(separator)
    start = rb"(?:^(?:\xef\xbb\xbf)?|" + part + rb")"
    field = rb'(?:"(?:[^"]++|"")*+"|[^"\n' + part + rb"]*+)"
    return _FieldPatterns(
        re.compile(rb"(" + start + rb')"(?:[^"]++|"")*+"(?=[\r\n' + part + rb"]|$)"),
        re.compile(field + rb"(?:" + part + field + rb")*+\r?\n?"),
        re.compile(start + rb'"|\n.'),
    )


def check_lines(file: TextFile) -> None:
    """Check that all lines have as many fields as the header; empty lines are rows without values.

    Raises:
        MeritError: a line has fewer or more, a quote is not closed or is inside a field, lines end with CR alone, or
            the text is not in its encoding.
    """
    if not _have_equal_fields(file):
        _check_records(file)


def _have_equal_fields(file: TextFile) -> bool:
    """Return whether a fast scan shows equal field counts; with quoted line breaks it can't, and returns False."""
    if callable(file.source):
        return False
    line, part = pl.col("line"), escape_pattern(file.dialect.separator)
    field = rf'(?:"(?:[^"]|"")*"|[^"\r{part}]*)'
    has_quote = line.str.contains('"', literal=True)
    unquoted_line = pl.when(has_quote).then(line.str.replace_all(r'"[^"]*"', "")).otherwise(line)
    statistics = (
        unquoted_line.str.count_matches(file.dialect.separator, literal=True).n_unique().alias("widths"),
        (~has_quote | line.str.contains(rf"^{field}(?:{part}{field})*\r?$")).all().alias("whole"),
        line.str.contains("\r.").any().alias("cr"),
    )
    lines = pl.scan_lines(file.source).slice(file.header_offset).filter(line.str.strip_chars() != "")
    try:
        widths, is_whole, has_cr = lines.select(*statistics).collect(engine="streaming").row(0)
    except pl.exceptions.PolarsError:
        for _ in file.iterate_utf8():  # raises if the text is not in its encoding
            pass
        return False
    return widths <= 1 and bool(is_whole) and not has_cr


def _check_records(file: TextFile) -> None:
    fields = 0
    patterns = _build_patterns(file.dialect.separator.encode())
    for number, record in iterate_records(file):
        if not fields:
            _check_line_ends(file, record)
        count = _count_fields(record, file.dialect.separator.encode(), patterns)
        fields = fields or count
        if not count:
            raise MeritError(
                f"{file.name}: line {number} has a quote inside a field; put the whole field in quotes and write each "
                'quote in it twice, such as "5"" nail"'
            )
        if count != fields and record.strip():
            raise MeritError(
                f"{file.name}: line {number} has {count} field{'' if count == 1 else 's'}, the header has {fields}; "
                "correct or remove that line"
            )


def check_header(file: TextFile) -> None:
    """Check the header only.

    Raises:
        MeritError: lines end with CR alone, or a column name is repeated.
    """
    record = next(iterate_records(file), (1, b""))[1]
    _check_line_ends(file, record)
    names = next(csv.reader([record.decode("utf-8-sig", "replace")], delimiter=file.dialect.separator), [])
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        repeated_text = ", ".join(f"'{name}'" for name in repeated[:3])
        raise MeritError(
            f"{file.name}: the header names {repeated_text} more than once; give each column a name of its own"
        )


def _check_line_ends(file: TextFile, record: bytes) -> None:
    unquoted_record = _build_patterns(file.dialect.separator.encode()).quoted.sub(rb"\1", record)
    if b"\r" in unquoted_record.rstrip(b"\r\n"):
        raise MeritError(
            f"{file.name}: its lines end with CR alone; allowed: LF, or CR and LF; write it again with such line ends "
            "(by \"tr '\\r' '\\n'\", for one)"
        )


def iterate_records(file: TextFile) -> Iterator[tuple[int, bytes]]:
    """Yield each record from the header on with the number of its first line; quotes may span several lines."""
    with file.open_decompressed() as handle:
        lines = enumerate(iter(lambda: handle.readline(MAX_LINE_BYTES), b""), 1)
        for _ in range(file.header_offset):
            next(lines)
        for number, line in lines:
            yield number, _join_record(file, number, line, lines) if line.count(b'"') % 2 else line


def _join_record(file: TextFile, number: int, first_line: bytes, lines: Iterator[tuple[int, bytes]]) -> bytes:
    """Return a record whose quote is closed on a later line, in one piece."""
    parts, size = [first_line], 0
    for _, line in lines:
        parts.append(line)
        size += len(line)
        if line.count(b'"') % 2:
            return b"".join(parts)
        if size > MAX_LINE_BYTES:
            break
    raise MeritError(f"{file.name}: line {number} opens a quote that is not closed; correct that line")


def _count_fields(record: bytes, separator: bytes, patterns: _FieldPatterns) -> int:
    """Return a record's number of fields, ignoring quoted separators; 0 if a quote is inside a field."""
    if b'"' not in record:
        return record.count(separator) + 1
    if patterns.valid_record.fullmatch(record):
        return b"".join(record.split(b'"')[::2]).count(separator) + 1
    rest = patterns.quoted.sub(rb"\1", record)
    return 0 if patterns.stray.search(rest) else rest.count(separator) + 1
