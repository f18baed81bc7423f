"""Opens the source that a path or URL names, and reads its raw table as `merit ingest` will."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from merit.config import targets
from merit.data.infer.files import is_parquet, refuse_folder
from merit.data.infer.layout import layout
from merit.errors import MeritError
from merit.git import lfs
from merit.reading.reasons import explain_error

TOTAL = r"(?i)(grand )?(total|totals|sum|summe|gesamt|insgesamt):?"
"""Pattern of a cell in a row of totals at the end of a report."""


@dataclass(frozen=True)
class Opened:
    """A source as conf/data declares it, its table, and notes on how it was read.

    Attributes:
        component: the `data.source` of conf/data, with `_target_`.
        table: the raw table.
        notes: remarks for the user.
        is_text: whether the source has no types and returns every cell as text.
    """

    component: dict[str, Any]
    table: pl.DataFrame
    notes: list[str]
    is_text: bool


def opened(path: str, query: str | None, table: str | None) -> Opened:
    """Open a text file, a Parquet file or a database query, and read its table.

    Raises:
        MeritError: the file doesn't exist, is of another kind, or has no rows.
    """
    found = _database(path, query, table) if "://" in path else _file(path)
    if found.table.height == 0:
        raise MeritError(f"{path}: holds column names but no row; bring rows")
    return found


def check(path: str, query: str | None, table: str | None) -> None:
    """Check that a query or a table is given if and only if the path is a database's URL.

    Raises:
        MeritError: the options don't fit the path.
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
    return Opened(component, targets.build_component(component).read(), [], is_text=False)


def _quoted(table: str) -> str:
    """Quote a table's name for SQL, with its schema if it has one."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def _file(path: str) -> Opened:
    place = Path(path)
    if place.is_dir():
        refuse_folder(place)
    if not place.is_file():
        raise MeritError(f"{path}: there is no such file; give a CSV or Parquet file, or a database's URL")
    lfs.refuse_pointer(place, path)
    notes = []
    inside = os.path.relpath(place.resolve(), Path.cwd().resolve())
    if inside.startswith(".."):
        notes.append(f"'{path}' lies outside this folder; whoever else runs this needs it at the same place")
    if Path(inside).parts[0] == "data":
        notes.append("'make clean' deletes data/, which the pipeline makes; keep your table elsewhere")
    inside = path if inside.startswith("..") else inside
    try:
        if is_parquet(place):
            component = {"_target_": "merit.data.sources.Parquet", "path": inside}
            return Opened(component, targets.build_component(component).read(), notes, is_text=False)
        return _text(inside, place, notes)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise MeritError(f"{path}: can't be read: {explain_error(error)}") from error


def _text(path: str, place: Path, notes: list[str]) -> Opened:
    found = layout(place)
    component = {"_target_": "merit.data.sources.Csv", "path": path, **found.settings}
    table: pl.DataFrame = targets.build_component(component).read()
    notes = [*notes, *found.notes]
    if again := [name for name in table.columns if "_duplicated_" in name]:
        notes.append(f"a name stands more than once in the header: the further ones are called {', '.join(again)}")
    last = table.row(-1) if table.height else ()
    if total := next((cell for cell in last if cell and re.fullmatch(TOTAL, cell.strip())), None):
        notes.append(f"the last row seems to hold totals ('{total}'): take it out of the file")
    return Opened(component, table, notes, is_text=True)
