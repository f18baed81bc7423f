"""Which source a path or URL names, and the table that it gives: the very rows that `merit ingest` will read."""

import csv
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from merit import lfs
from merit.config import targets
from merit.errors import MeritError
from merit.reading import inference
from merit.reading.declaration import defaults_of
from merit.reading.reasons import reason_of

MISSING = ["NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "none", "nan", "?", "-", "--", "."]
"""Words that stand for no value where all others of a column are numbers."""

SEPARATORS = (",", ";", "\t", "|")
HEAD = 1 << 18
HEAD_ROWS = 1000


@dataclass(frozen=True)
class Opened:
    """A source, as conf/data names it, its table, and what a person should know of how it was read."""

    component: dict[str, Any]
    table: pl.DataFrame
    notes: list[str]


def opened(path: str, query: str | None, table: str | None) -> Opened:
    """Return the table of a CSV or Parquet file, or of a query on a database.

    Raises:
        MeritError: there is no such file, it is none of these, or it has no row.
    """
    found = _database(path, query, table) if "://" in path else _file(path)
    if found.table.height == 0:
        raise MeritError(f"{path}: holds column names but no row; bring rows")
    return found


def check(path: str, query: str | None, table: str | None) -> None:
    """Check that a query or a table is named where PATH is a database's URL, and only there.

    Raises:
        MeritError: it isn't.
    """
    if "://" not in path:
        if query is not None or table is not None:
            raise MeritError("--query and --table are for a database; PATH is then its URL, such as sqlite:///shop.db")
    elif (query is None) == (table is None):
        found = "found neither" if query is None else "found both"
        raise MeritError(f"a database needs either --query 'SELECT ...' or --table NAME; {found}")


def _database(url: str, query: str | None, table: str | None) -> Opened:
    rows = query or f"SELECT * FROM {_quoted(str(table))}"  # noqa: S608  # quoted
    component = {"_target_": "merit.data.sources.Sql", "url": url, "query": rows}
    return Opened(component, inference.typed(targets.build(component).read(), is_text=False), [])


def _quoted(table: str) -> str:
    """Return a table's name as SQL takes it, with its schema if it has one."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def _file(path: str) -> Opened:
    place = Path(path)
    if not place.is_file():
        raise MeritError(f"{path}: there is no such file; give a CSV or Parquet file, or a database's URL")
    lfs.refuse_pointer(place, path)
    parquet = _start(place) == b"PAR1"
    inside = os.path.relpath(place.resolve(), Path.cwd().resolve())
    component: dict[str, Any] = {
        "_target_": f"merit.data.sources.{'Parquet' if parquet else 'Csv'}",
        "path": path if inside.startswith("..") else inside,
    }
    notes = []
    if inside.startswith(".."):
        notes.append(f"'{path}' lies outside this folder; whoever else runs this needs it at the same place")
    if Path(inside).parts[0] == "data":
        notes.append("'make clean' deletes data/, which the pipeline makes; keep your table elsewhere")
    if parquet:
        return Opened(component, _read(component, path), notes)
    return _csv(component, place, notes)


def _start(place: Path) -> bytes:
    with place.open("rb") as handle:
        return handle.read(4)


def _csv(component: dict[str, Any], place: Path, notes: list[str]) -> Opened:
    _check_text(place)
    separator = _separator(place)
    if separator != ",":
        component["separator"] = separator
    table = _read(component, str(place))
    if words := _words(table):
        component["null_values"] = words
        table = _read(component, str(place))
        notes.append(f"among numbers stands {', '.join(map(repr, words))}: read as missing, in every column")
    again = [name for name in table.columns if "_duplicated_" in name]
    if again:
        notes.append(f"a name stands more than once in the header: the further ones are called {', '.join(again)}")
    notes += _zoned(component, table)
    return Opened(component, table, notes)


def _check_text(place: Path) -> None:
    """Refuse what is no text in UTF-8, with the byte that says so."""
    at = 0
    for block in _blocks(place):
        try:
            block.decode()
        except UnicodeDecodeError as error:
            found = f"byte 0x{block[error.start]:02x} at {at + error.start:,}"
            raise MeritError(
                f"{place}: neither Parquet nor text in UTF-8 ({found}); "
                "if it is text, 'iconv -f WINDOWS-1252 -t UTF-8' makes it so"
            ) from error
        at += len(block)


def _blocks(place: Path) -> Iterator[bytes]:
    """Yield a file in blocks that end with a line, for no character goes across one."""
    with place.open("rb") as handle:
        while block := handle.read(1 << 24):
            yield block + handle.readline()


def _separator(place: Path) -> str:
    """Return the character that cuts the first lines into the most fields, as many in each."""
    with place.open(encoding="utf-8-sig", newline="") as handle:
        lines = handle.read(HEAD).splitlines()[:50]
    if not any(line.strip() for line in lines):
        raise MeritError(f"{place}: is empty; it needs a line of column names, and rows")
    found = {}
    for separator in SEPARATORS:
        widths = {len(fields) for fields in csv.reader(lines[: max(1, len(lines) - 1)], delimiter=separator) if fields}
        found[separator] = widths.pop() if len(widths) == 1 else 0
    best = max(found, key=lambda each: found[each])
    return best if found[best] > 1 else ","


def _read(component: dict[str, Any], path: str) -> pl.DataFrame:
    try:
        source = targets.build(component)
        table = inference.typed(source.read(), is_text=hasattr(source, "dialect"), defaults=defaults_of(source))
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        kind = component["_target_"].rpartition(".")[2]
        found = _ragged(path, component.get("separator", ",")) if kind == "Csv" else None
        raise MeritError(f"{path}: can't be read as {kind}: {found or reason_of(error)}") from error
    return table


def _ragged(path: str, separator: str) -> str | None:
    """Return the first line that has more or fewer fields than the header."""
    with Path(path).open(encoding="utf-8-sig", newline="") as handle:
        lines = csv.reader(handle, delimiter=separator)
        with suppress(csv.Error):
            width = len(next(lines, []))
            for fields in lines:
                if fields and len(fields) != width:
                    return f"line {lines.line_num} has {len(fields)} fields, the header has {width}; mend the line"
    return None


def _zoned(component: dict[str, Any], table: pl.DataFrame) -> list[str]:
    """Return a note of each column of times that have a zone."""
    texts = targets.build(component).read().head(HEAD_ROWS)
    return [
        f"'{name}' has times with a zone: they become UTC, and whoever asks the model gives UTC"
        for name, dtype in table.schema.items()
        if dtype == pl.Datetime and texts[name].str.contains(r":.*(?:[Zz]|[+-]\d\d:?\d*)$").any()
    ]


def _words(table: pl.DataFrame) -> list[str]:
    """Return the words for "missing" that keep columns of numbers from being read as such."""
    texts = table.select(pl.col(pl.String))
    some = texts.select(pl.all().is_in(MISSING).any()).row(0) if texts.width else ()
    found = set()
    for name, has in zip(texts.columns, some, strict=True):
        rest = texts[name].filter(~texts[name].is_in(MISSING)).drop_nulls() if has else None
        if rest is not None and len(rest) and rest.cast(pl.Float64, strict=False).null_count() == 0:
            found |= set(texts[name].unique()) & set(MISSING)
    return sorted(found)
