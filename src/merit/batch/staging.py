"""Stages rows in Parquet files first if they can't be read twice in the same order, such as those of a query."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from merit import artifacts, database
from merit.batch.sources import InputFiles, get_file_version, translate_read_errors
from merit.console.masking import mask_secrets
from merit.errors import MeritError

DONE_NAME = "done.json"


@dataclass(frozen=True)
class DatabaseQuery:
    """A database query.

    Attributes:
        sql: one SELECT.
        url_variable: the environment variable that holds the URL of the database.
        name: the name of the source in messages.
    """

    sql: str
    url_variable: str
    name: str = "sql"

    def get_identity(self) -> dict[str, Any]:
        """Return a value that identifies query and database, without credentials."""
        masked_url = mask_secrets(self._read_url().split("?")[0])
        digest = hashlib.sha256(f"{masked_url}\n{self.sql}".encode()).hexdigest()
        return {"query": mask_secrets(" ".join(self.sql.split())), "files": {"--query": digest}}

    def read_chunks(self, chunk_rows: int) -> Iterator[pl.DataFrame]:
        """Yield tables of `chunk_rows` rows as the database sends them; only one SELECT is allowed.

        Raises:
            MeritError: the database can't be reached or rejects the query.
        """
        try:
            yield from database.read_batches(database.parse_url(self._read_url()), self.sql, chunk_rows)
        except database.DatabaseError as error:
            reason = mask_secrets(str(error), (self._read_url(),))
            query = " ".join(self.sql.split())[:200]
            raise MeritError(f"sql: '{query}' can't be read by {self.url_variable}: {reason}") from error

    def _read_url(self) -> str:
        url = os.environ.get(self.url_variable)
        if not url:
            raise MeritError(
                f"--url-env: {self.url_variable} is not set; give it the database's URL, as SQLAlchemy writes it"
            )
        return url


def stage_rows(source: DatabaseQuery | InputFiles, folder: Path, chunk_rows: int) -> InputFiles:
    """Return the rows as Parquet files of one chunk each; files that an earlier run completed are reused.

    Args:
        source: the source.
        folder: the folder of the files.
        chunk_rows: rows per chunk.

    Raises:
        MeritError: the source can't be read.
    """
    if not (folder / DONE_NAME).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        for number, rows in enumerate(_read_chunks(source, chunk_rows)):
            artifacts.write_table(folder / f"rows-{number:08d}.parquet", _cast_objects(rows))
        with translate_read_errors(source.name):
            _unify_types(folder)
        artifacts.write_json(folder / DONE_NAME, {"form": 1})
    paths = sorted(folder.glob("rows-*.parquet"))
    versions = {str(path): get_file_version(path) for path in paths}
    return InputFiles(source.name, "parquet", tuple(versions), versions)


def _read_chunks(source: DatabaseQuery | InputFiles, chunk_rows: int) -> Iterator[pl.DataFrame]:
    if isinstance(source, DatabaseQuery):
        yield from source.read_chunks(chunk_rows)
    else:
        for _, rows in source.read_chunks(list(source.read_schema()), chunk_rows, 0):
            yield rows


def _cast_objects(rows: pl.DataFrame) -> pl.DataFrame:
    """Cast objects of a driver, such as UUIDs, to text, and decimals to floats."""
    object_columns = [name for name, dtype in rows.schema.items() if dtype == pl.Object]
    text_columns = [
        pl.Series(name, [None if v is None else str(v) for v in rows[name]], dtype=pl.String) for name in object_columns
    ]
    return rows.with_columns(text_columns).with_columns(pl.col(pl.Decimal).cast(pl.Float64))


def _unify_types(folder: Path) -> None:
    """Cast all files to common types: a column gets another type in a chunk where all its values are null."""
    paths = sorted(folder.glob("rows-*.parquet"))
    schemas = [pl.read_parquet_schema(path) for path in paths]
    if all(schema == schemas[0] for schema in schemas):
        return
    common_schema = pl.concat([pl.scan_parquet(path) for path in paths], how="diagonal_relaxed").collect_schema()
    for path, schema in zip(paths, schemas, strict=True):
        if schema != common_schema:
            artifacts.write_table(path, pl.read_parquet(path).cast(common_schema))
