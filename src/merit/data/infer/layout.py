"""Detects the layout of a text file: its encoding, the lines before its header, and its field separator."""

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merit.errors import MeritError
from merit.reading.dialect import Dialect
from merit.reading.textfile import TextFile

SEPARATORS = (",", ";", "\t", "|", " ")
COMMENTS = ("#", "//", "%", "--")
HEAD_BYTES = 1 << 18
MAX_LINES = 200
NUMBER_PATTERN = re.compile(r"\s*[+-]?[\d.,]+\s*")
YEAR_PATTERN = re.compile(r"\s*(19|20)\d\d\s*")
FALLBACK_ENCODING = "windows-1252"
"""The encoding assumed for text that is neither UTF-8 nor UTF-16."""


@dataclass(frozen=True)
class TextLayout:
    """The settings of a text source, and notes on how they were detected."""

    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _SeparatorFit:
    """The first lines of a file, split by one separator."""

    separator: str
    fields: int
    skipped: int
    """Number of lines before the header."""
    share: float
    """Share of the lines with as many fields as the header."""
    is_named: bool
    """Whether the header contains names rather than the values of a row."""


def detect_layout(path: Path) -> TextLayout:
    """Detect the layout of a text file.

    Raises:
        MeritError: the file is empty, not text, or in an unknown encoding.
    """
    encoding, notes = _detect_encoding(path)
    lines = _read_lines(path, encoding)
    if not any(line.strip() for line in lines):
        raise MeritError(f"{path}: is empty; it needs a line of column names, and rows")
    comment, comment_count = _detect_comment(lines)
    fit = _choose_best([_fit_separator(lines[comment_count:], separator) for separator in SEPARATORS])
    skipped_lines = lines[: comment_count + fit.skipped]
    candidates = {
        "separator": fit.separator if fit.separator != "," else None,
        "encoding": encoding if encoding != "utf-8" else None,
        "comment": comment if not fit.skipped else None,
        "skip_rows": len(skipped_lines) if fit.skipped and "".join(skipped_lines).strip() else None,
    }
    settings = {name: value for name, value in candidates.items() if value is not None}
    if settings.keys() & {"comment", "skip_rows"}:
        notes.append(
            f"lines before the header '{_shorten_text(lines[len(skipped_lines)])}' are left out: {len(skipped_lines)}"
        )
    if not fit.is_named:
        notes.append(
            f"the first line seems to be a row, not names of columns: '{_shorten_text(lines[len(skipped_lines)])}'"
        )
    return TextLayout(settings, notes)


def _shorten_text(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _detect_encoding(path: Path) -> tuple[str, list[str]]:
    """Return the encoding to declare, and a note if it was guessed; with a byte order mark none must be declared."""
    file = TextFile(str(path))
    with file.open_decompressed() as handle:
        start = handle.read(HEAD_BYTES)
    if file.encoding != "utf-8":
        return "utf-8", []
    if start[:200].count(0) > len(start[:200]) / 4:
        encoding = "utf-16-le" if start[1:200:2].count(0) > start[0:200:2].count(0) else "utf-16-be"
        return encoding, []
    if (undecoded := _find_undecoded(file, "utf-8")) is None:
        return "utf-8", []
    if re.search(rb"[\0-\x08\x0e-\x1f]", start):
        raise MeritError(f"{path}: neither Parquet nor text; give a CSV or Parquet file, or a database's URL")
    if (fallback_undecoded := _find_undecoded(file, FALLBACK_ENCODING)) is not None:
        raise MeritError(
            f"{path}: its text is neither UTF-8 nor {FALLBACK_ENCODING} (byte 0x{fallback_undecoded[0]:02x}); write it "
            "in UTF-8, as by "
            "'iconv -f SHIFT_JIS -t UTF-8' if it is Japanese"
        )
    word = undecoded[1].decode(FALLBACK_ENCODING)
    note = (
        f"its text is not UTF-8: taken for {FALLBACK_ENCODING}, in which '{word}' stands there; if that reads wrong, "
        "correct "
    )
    return FALLBACK_ENCODING, [f"{note}the source's encoding"]


def _find_undecoded(file: TextFile, encoding: str) -> tuple[int, bytes] | None:
    """Return the first byte that an encoding can't decode, and the word around it; None if it decodes all."""
    with file.open_decompressed() as handle:
        while block := handle.read(1 << 24):
            block += handle.readline()  # complete lines, so that no character is split between blocks
            try:
                block.decode(encoding)
            except UnicodeDecodeError as error:
                before = re.search(rb"[^\s,;|\"]*$", block[max(0, error.start - 20) : error.start])
                after = re.match(rb"[^\s,;|\"]*", block[error.start : error.start + 20])
                return block[error.start], (before[0] if before else b"") + (after[0] if after else b"")
    return None


def _read_lines(path: Path, encoding: str) -> list[str]:
    """Return the first lines; a header that spans several lines counts as several."""
    file = TextFile(str(path), Dialect(encoding=encoding))
    with file.open_decompressed() as handle:
        start = handle.read(HEAD_BYTES)
    text = start.decode(file.encoding, "ignore").lstrip("\ufeff")
    lines = text.splitlines()[:MAX_LINES]
    return lines[:-1] if len(start) == HEAD_BYTES and len(lines) < MAX_LINES and len(lines) > 1 else lines


def _detect_comment(lines: list[str]) -> tuple[str | None, int]:
    """Return the comment mark of the lines before the header, None without one, and their number."""
    for mark in COMMENTS:
        count = next((i for i, line in enumerate(lines) if not line.startswith(mark)), 0)
        if count and not _ends_with_header(lines, count):
            return mark, count
    return None, 0


def _ends_with_header(lines: list[str], comment_count: int) -> bool:
    """Return whether the last line with a comment mark is the header itself, such as `#id,x` before `1,2.5`."""
    for separator in SEPARATORS:
        header, row = (_split_fields(line, separator) for line in lines[comment_count - 1 : comment_count + 1])
        are_values = any(NUMBER_PATTERN.fullmatch(text) for text in row)
        if len(header) == len(row) > 1 and are_values and _are_names(header):
            return True
    return False


def _fit_separator(lines: list[str], separator: str) -> _SeparatorFit:
    """Split lines by a separator; the header is the first with the usual number of fields, most of them not empty."""
    rows = _split_rows(lines, separator)
    widths = Counter(len(fields) for _, fields in rows if fields)
    width = widths.most_common(1)[0][0] if widths else 0
    regular_rows = [(index, fields) for index, fields in rows if len(fields) == width]
    header = next(((at, f) for at, f in regular_rows if sum(bool(each.strip()) for each in f) > len(f) / 2), (0, [""]))
    share = len(regular_rows) / max(1, sum(widths.values()))
    return _SeparatorFit(separator, width, header[0], share, _are_names(header[1]))


def _split_rows(lines: list[str], separator: str) -> list[tuple[int, list[str]]]:
    """Return the fields of each record with the index of its first line."""
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator)
    rows, index = [], 0
    try:
        for fields in reader:
            rows.append((index, fields))
            index = reader.line_num
    except csv.Error:
        pass
    return rows


def _split_fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _are_names(fields: list[str]) -> bool:
    """Return whether fields are names: not numbers, except for years and column numbers that count from 0 or 1."""
    numbers = [text.strip() for text in fields if NUMBER_PATTERN.fullmatch(text) and not YEAR_PATTERN.fullmatch(text)]
    return not numbers or numbers in ([str(start + i) for i in range(len(numbers))] for start in (0, 1))


def _choose_best(fits: list[_SeparatorFit]) -> _SeparatorFit:
    """Return the best split: a regular one, preferably with a header of names, nothing before it, and many fields."""
    regular_fits = [fit for fit in fits if fit.fields > 1 and fit.share >= 0.8]
    if not regular_fits:
        return next(cut for cut in fits if cut.separator == ",")
    # Blanks also occur inside texts, so a blank is the separator only if no other character fits.
    return max(regular_fits, key=lambda cut: (cut.separator != " ", cut.is_named, cut.skipped == 0, cut.fields))
