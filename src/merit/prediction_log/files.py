"""The Parquet files of the log, one folder per hour.

A file is written under a temporary name and renamed. The oldest files are removed when the size or age limit is
exceeded.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

TIDY_INTERVAL_S = 60.0
"""Seconds between two checks for files to join or remove."""
JOIN_DELAY = timedelta(minutes=10)
"""Time after the end of an hour when its files are joined to one."""
MAX_JOINED_ROWS = 500_000
"""Rows of an hour up to which its files are joined; more would take too much memory, and are large files anyway."""
JOINED_SUFFIX = "whole"
OS_ERROR_PATTERN = re.compile(r"\(os error (\d+)\)")
FILE_PATTERN = "date=*/hour=*/*.parquet"


class LogFiles:
    """Writes the files of one worker, in a folder that it may share with other workers.

    Args:
        folder: the destination.
        worker: the name of the worker, such as `w1`; unique among concurrent workers.
        max_mb: size limit in MiB of all files below `root`, feedback included.
        max_days: age limit of a file in days.
        root: the folder to which max_mb applies, if `folder` is only a part of it.
    """

    def __init__(self, folder: Path, worker: str, max_mb: int, max_days: int, root: Path | None = None) -> None:
        self._folder, self._root = folder, root or folder
        self._max_bytes, self._max_age = max_mb * 2**20, timedelta(days=max_days)
        # A restarted worker must not overwrite the files of its previous run.
        self._file_prefix = f"{worker}-{int(time.time()):x}{secrets.token_hex(3)}"
        self._file_count = 0
        self._next_tidy = 0.0
        self._open_hours: dict[Path, list[Path]] = {}
        self._joined_hours: set[Path] = set()

    def split_by_hour(self, table: "pl.DataFrame") -> "Iterator[pl.DataFrame]":
        """Yield the rows of each hour; usually there is only one."""
        import polars as pl

        hour = pl.col("time").dt.truncate("1h")
        first, last = table.select(hour.min().alias("first"), hour.max().alias("last")).row(0)
        if first == last:
            yield table
        else:
            yield from table.with_columns(hour.alias("_hour")).partition_by("_hour", include_key=False)

    def write_hour(self, table: "pl.DataFrame") -> None:
        """Write the rows of one hour atomically.

        Raises:
            OSError: the disk is full, or the folder can't be written.
        """
        timestamp = table["time"][0].astimezone(UTC)
        hour_folder = self._folder / f"date={timestamp:%Y-%m-%d}" / f"hour={timestamp:%H}"
        self._file_count += 1
        late_suffix = "l" if hour_folder in self._joined_hours else ""
        path = hour_folder / f"{self._file_prefix}{late_suffix}-{self._file_count:06d}.parquet"
        _write_file(table, path)
        if not late_suffix:
            self._open_hours.setdefault(hour_folder, []).append(path)

    def tidy(self) -> None:
        """Join the files of past hours, and remove the oldest files beyond the limits; at most once a minute."""
        if time.monotonic() < self._next_tidy:
            return
        self._next_tidy = time.monotonic() + TIDY_INTERVAL_S
        self._join_hours()
        self._remove_oldest()

    def _join_hours(self) -> None:
        """Join this worker's files of each past hour to one.

        Readers ignore the parts as soon as the joined file exists, so a kill in between duplicates no rows.
        """
        import polars as pl

        now = datetime.now(UTC)
        for hour_folder in [
            each for each in self._open_hours if now > _parse_hour(each) + timedelta(hours=1) + JOIN_DELAY
        ]:
            parts = [path for path in self._open_hours.pop(hour_folder) if path.is_file()]
            self._joined_hours.add(hour_folder)
            if len(parts) > 1 and sum(map(_count_rows, parts)) <= MAX_JOINED_ROWS:
                joined = pl.concat([pl.read_parquet(path) for path in parts], how="vertical", rechunk=False)
                _write_file(joined, hour_folder / f"{self._file_prefix}-{JOINED_SUFFIX}.parquet")
                for path in parts:
                    path.unlink(missing_ok=True)

    def _remove_oldest(self) -> None:
        min_time = datetime.now(UTC) - self._max_age
        files = sorted(_iterate_files(self._root))
        total_bytes = sum(size for _, _, size in files)
        for hour, path, size in files:
            if hour + timedelta(hours=1) > min_time and total_bytes <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            total_bytes -= size
            with suppress(OSError):  # the folder is not empty
                path.parent.rmdir()
                path.parent.parent.rmdir()
        _remove_leftovers(self._root)


def _write_file(table: "pl.DataFrame", path: Path) -> None:
    import polars as pl

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_path = path.with_name(f".{path.name}.tmp")
    try:
        table.write_parquet(temporary_path, compression="zstd", compression_level=1)
        with temporary_path.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary_path.replace(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        with suppress(OSError):
            temporary_path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.strerror:
            raise
        raise OSError(None, _get_reason(error), str(path)) from error  # Polars raises its own error on a full disk


def _get_reason(error: Exception) -> str:
    """Return the system's error message if Polars quotes its number; the rest of Polars' text may contain values."""
    match = OS_ERROR_PATTERN.search(str(error))
    return os.strerror(int(match[1])) if match else "can't be written"


def list_files(folder: Path) -> list[Path]:
    """Return the complete files below a folder, oldest first; each row is in exactly one of them."""
    from merit.artifacts import find_parquet_fault

    paths = sorted(folder.glob(FILE_PATTERN))
    joined_keys = {
        (path.parent, path.name.rpartition("-")[0]) for path in paths if path.stem.endswith(f"-{JOINED_SUFFIX}")
    }
    complete = []
    for path in paths:
        stem, _, part = path.stem.rpartition("-")
        if part != JOINED_SUFFIX and (path.parent, stem) in joined_keys:
            continue
        with suppress(FileNotFoundError):  # removed meanwhile
            if not find_parquet_fault(path):
                complete.append(path)
    return complete


def _iterate_files(root: Path) -> Iterator[tuple[datetime, Path, int]]:
    for path in [*root.glob(FILE_PATTERN), *root.glob(f"feedback/{FILE_PATTERN}")]:
        with suppress(OSError, ValueError):  # removed by another worker, or not a file of the log
            yield _parse_hour(path.parent), path, path.stat().st_size


def _parse_hour(hour_folder: Path) -> datetime:
    """Return the start of the hour of a folder."""
    date, hour = hour_folder.parent.name.removeprefix("date="), hour_folder.name.removeprefix("hour=")
    return datetime.fromisoformat(f"{date}T{hour}:00:00+00:00")


def _count_rows(path: Path) -> int:
    import polars as pl

    count: int = pl.scan_parquet(path).select(pl.len()).collect().item()  # reads only the footer
    return count


def _remove_leftovers(root: Path) -> None:
    """Remove temporary files of killed workers, once they are an hour old."""
    for path in [*root.glob("date=*/hour=*/.*.tmp"), *root.glob("feedback/date=*/hour=*/.*.tmp")]:
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - 3600:
                path.unlink()
