"""The lines of a file of text, each held against the header: Polars fills up one that breaks off with empty fields."""

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
    """What fields look like between separators.

    Attributes:
        quoted: a quoted field, and what stands before it: the beginning, or a separator.
        whole: a record each of whose quotes begins or ends a field, or is written twice.
        stray: what only a quote inside a field leaves once the quoted fields are gone: one that begins a field, or a
            line's end.
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
    """Hold the fields of all lines against those of the header; empty lines are rows without values.

    Raises:
        MeritError: one has fewer or more, a quote is not closed or stands inside a field, lines end with CR alone, or
            the text is not in its encoding.
    """
    if not _are_alike(file):
        _check_each(file)


def _are_alike(file: TextFile) -> bool:
    """Say whether all lines are seen at once to have as many fields; where quotes go over lines, they are not."""
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
        for _ in file.recoded():  # which says what is wrong with its text, if that is it
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
    """Look at the header alone.

    Raises:
        MeritError: lines end with CR alone, or it names a column twice.
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
            f"{file.name}: its lines end with CR alone; allowed: LF, or CR and LF; write it anew with such line ends "
            "(by \"tr '\\r' '\\n'\", for one)"
        )


def records(file: TextFile) -> Iterator[tuple[int, bytes]]:
    """Give each record from the header on with the number of its first line; one with a quote may go over several."""
    with file.opened() as handle:
        lines = enumerate(iter(lambda: handle.readline(LONGEST), b""), 1)
        for _ in range(file.leading):
            next(lines)
        for number, line in lines:
            yield number, _whole(file, number, line, lines) if line.count(b'"') % 2 else line


def _whole(file: TextFile, number: int, first: bytes, lines: Iterator[tuple[int, bytes]]) -> bytes:
    """Return a record whose quote is closed on a later line."""
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
    """Return how many fields a record has; a separator in quotes parts none. 0: a quote stands inside a field."""
    if b'"' not in record:
        return record.count(separator) + 1
    if patterns.whole.fullmatch(record):
        return b"".join(record.split(b'"')[::2]).count(separator) + 1
    rest = patterns.quoted.sub(rb"\1", record)
    return 0 if patterns.stray.search(rest) else rest.count(separator) + 1
