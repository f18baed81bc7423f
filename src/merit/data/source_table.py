"""Read the table of data.source as it is, for ingest and for the gate."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from merit.config.components import trusted_packages
from merit.config.compose import sealed
from merit.console.logging import logger
from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl

    from merit.config.schema.data import Data


def read_source(data: "Data") -> tuple[Any, "pl.DataFrame"]:
    """Return the source and its table, before any column is converted to its declared type.

    Raises:
        MeritError: the files changed since the lock was made, or can't be read.
    """
    import polars as pl

    from merit.reading.read_errors import explain_error

    source, fingerprint = sealed(data.source.model_dump(by_alias=True))
    if fingerprint != data.fingerprint:
        raise MeritError(
            f"data.source: the files read are {fingerprint}, but the lock was made for {data.fingerprint}: "
            "the data changed; 'merit compose' with the overrides in use takes the change into the lock"
        )
    with trusted_packages.convert_project_errors():
        try:
            table = source.read()
            logger.debug("reads %s", ", ".join(map(str, list_files(source))) or data.source.target)
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            if trusted_packages.find_project_frame(error):
                raise
            raise MeritError(
                f"data.source: {data.source.target} can't read its file: {explain_error(error)}"
            ) from error
    if not isinstance(table, pl.DataFrame):
        raise MeritError(f"data.source: {data.source.target} gives {type(table).__name__}, not a polars.DataFrame")
    return source, table


def list_files(source: Any) -> list[Path]:
    """Return the files that a source reads, which its class lists by an optional method `files`."""
    list_own = getattr(source, "files", None)
    return [Path(path) for path in list_own()] if callable(list_own) else []
