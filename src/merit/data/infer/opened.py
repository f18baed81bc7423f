"""Opens the source that a path or URL names, and reads its raw table as `merit ingest` will."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from merit.config.components import targets
from merit.data.infer.files import is_parquet, refuse_folder
from merit.data.infer.layout import detect_layout
from merit.errors import MeritError
from merit.git import lfs
from merit.reading.read_errors import explain_error

TOTALS_PATTERN = r"(?i)(grand )?(total|totals|sum|summe|gesamt|insgesamt):?"
"""Pattern of a cell in a row of totals at the end of a report."""


@dataclass(frozen=True)
class SourceTable:
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


def open_source(path: str, query: str | None, table: str | None) -> SourceTable:
    """Open a text file, a Parquet file or a database query, and read its table.

    Raises:
        MeritError: the file doesn't exist, is of another kind, or has no rows.
    """
    source = _open_database(path, query, table) if "://" in path else _open_file(path)
    if source.table.height == 0:
        raise MeritError(f"{path}: holds column names but no row; bring rows")
    return source


def check_options(path: str, query: str | None, table: str | None) -> None:
    """Check that a query or a table is given if and only if the path is a database's URL.

    Raises:
        MeritError: the options don't fit the path.
    """
    if "://" not in path:
        if query is not None or table is not None:
            raise MeritError("--query and --table are for a database; PATH is then its URL, such as sqlite:///shop.db")
    elif (query is None) == (table is None):
        found_text = "found neither" if query is None else "found both"
        raise MeritError(f"a database needs either --query 'SELECT ...' or --table NAME; {found_text}")


def _open_database(url: str, query: str | None, table: str | None) -> SourceTable:
    statement = query or f"SELECT * FROM {_quote_table(str(table))}"  # noqa: S608  # quoted
    component = {"_target_": "merit.data.sources.Sql", "url": url, "query": statement}
    return SourceTable(component, targets.build_component(component).read(), [], is_text=False)


def _quote_table(table: str) -> str:
    """Quote a table's name for SQL, with its schema if it has one."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def _open_file(path: str) -> SourceTable:
    file = Path(path)
    if file.is_dir():
        refuse_folder(file)
    if not file.is_file():
        raise MeritError(f"{path}: there is no such file; give a CSV or Parquet file, or a database's URL")
    lfs.refuse_pointer(file, path)
    notes = []
    relative_path = os.path.relpath(file.resolve(), Path.cwd().resolve())
    if relative_path.startswith(".."):
        notes.append(f"'{path}' lies outside this folder; whoever else runs this needs it at the same place")
    if Path(relative_path).parts[0] == "data":
        notes.append("'make clean' deletes data/, which the pipeline makes; keep your table elsewhere")
    relative_path = path if relative_path.startswith("..") else relative_path
    try:
        if is_parquet(file):
            component = {"_target_": "merit.data.sources.Parquet", "path": relative_path}
            return SourceTable(component, targets.build_component(component).read(), notes, is_text=False)
        return _open_text_file(relative_path, file, notes)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise MeritError(f"{path}: can't be read: {explain_error(error)}") from error


def _open_text_file(path: str, file: Path, notes: list[str]) -> SourceTable:
    text_layout = detect_layout(file)
    component = {"_target_": "merit.data.sources.Csv", "path": path, **text_layout.settings}
    table: pl.DataFrame = targets.build_component(component).read()
    notes = [*notes, *text_layout.notes]
    if duplicate_names := [name for name in table.columns if "_duplicated_" in name]:
        notes.append(
            f"a name stands more than once in the header: the further ones are called {', '.join(duplicate_names)}"
        )
    last_row = table.row(-1) if table.height else ()
    if total_cell := next((cell for cell in last_row if cell and re.fullmatch(TOTALS_PATTERN, cell.strip())), None):
        notes.append(f"the last row seems to hold totals ('{total_cell}'): take it out of the file")
    return SourceTable(component, table, notes, is_text=True)
