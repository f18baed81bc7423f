"""The formats of input files, by the endings of their names."""

from pathlib import Path
from typing import Literal

from merit.errors import MeritError

FORMATS_BY_ENDING: dict[str, Literal["parquet", "csv"]] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv", ".csv.zst": "csv", ".csv.bz2": "csv",
    ".csv.xz": "csv", ".tsv": "csv",
}  # fmt: skip
UNSUPPORTED_ENDINGS = (".json", ".jsonl", ".ndjson", ".xlsx", ".xls", ".feather", ".arrow", ".db", ".pdf")
"""File endings that are known not to be supported."""
ALLOWED_SOURCES = (
    "a Parquet or CSV file, a folder or pattern of .parquet or .csv, s3://bucket/prefix/, or sql with --query"
)


def get_ending(name: str) -> str:
    """Return the ending that names a supported format; empty if there is none."""
    return next((each for each in sorted(FORMATS_BY_ENDING, key=len, reverse=True) if name.lower().endswith(each)), "")


def detect_format(path: Path) -> Literal["parquet", "csv"]:
    """Return the format of a single file: by its name, else by its first bytes.

    Raises:
        MeritError: the ending names an unsupported format.
    """
    if get_ending(path.name) or path.suffix.lower() in UNSUPPORTED_ENDINGS:
        return get_common_format(str(path), [str(path)])
    with path.open("rb") as handle:
        return "parquet" if handle.read(4) == b"PAR1" else "csv"


def get_common_format(location: str, names: list[str]) -> Literal["parquet", "csv"]:
    """Return the common format of files.

    Raises:
        MeritError: they have several formats, or an unsupported one.
    """
    unsupported = [name for name in names if not get_ending(name)]
    if unsupported:
        raise MeritError(f"IN: found '{unsupported[0]}'; allowed: {ALLOWED_SOURCES}")
    formats = {FORMATS_BY_ENDING[get_ending(name)] for name in names}
    if len(formats) > 1:
        raise MeritError(
            f"{location}: holds Parquet and CSV files; name one kind, such as '{location.rstrip('/')}/*.parquet'"
        )
    return formats.pop()
