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

TIDY_SECONDS = 60.0
"""Seconds between two checks for files to join or remove."""
JOINED_AFTER = timedelta(minutes=10)
"""Time after the end of an hour when its files are joined to one."""
JOINED_ROWS = 500_000
"""Rows of an hour up to which its files are joined; more would take too much memory, and are large files anyway."""
WHOLE = "whole"
OS_ERROR = re.compile(r"\(os error (\d+)\)")
FORM = "date=*/hour=*/*.parquet"


class Files:
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
        self._most, self._age = max_mb * 2**20, timedelta(days=max_days)
        # A restarted worker must not overwrite the files of its previous run.
        self._name = f"{worker}-{int(time.time()):x}{secrets.token_hex(3)}"
        self._written = 0
        self._due = 0.0
        self._hours: dict[Path, list[Path]] = {}
        self._late: set[Path] = set()

    def parts(self, table: "pl.DataFrame") -> "Iterator[pl.DataFrame]":
        """Yield the rows of each hour; usually there is only one."""
        import polars as pl

        hour = pl.col("time").dt.truncate("1h")
        first, last = table.select(hour.min().alias("first"), hour.max().alias("last")).row(0)
        if first == last:
            yield table
        else:
            yield from table.with_columns(hour.alias("_hour")).partition_by("_hour", include_key=False)

    def write(self, table: "pl.DataFrame") -> None:
        """Write the rows of one hour atomically.

        Raises:
            OSError: the disk is full, or the folder can't be written.
        """
        moment = table["time"][0].astimezone(UTC)
        place = self._folder / f"date={moment:%Y-%m-%d}" / f"hour={moment:%H}"
        self._written += 1
        late = "l" if place in self._late else ""
        path = place / f"{self._name}{late}-{self._written:06d}.parquet"
        _write(table, path)
        if not late:
            self._hours.setdefault(place, []).append(path)

    def tidy(self) -> None:
        """Join the files of past hours, and remove the oldest files beyond the limits; at most once a minute."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + TIDY_SECONDS
        self._join()
        self._trim()

    def _join(self) -> None:
        """Join this worker's files of each past hour to one.

        Readers ignore the parts as soon as the joined file exists, so a kill in between duplicates no rows.
        """
        import polars as pl

        now = datetime.now(UTC)
        for place in [each for each in self._hours if now > _hour(each) + timedelta(hours=1) + JOINED_AFTER]:
            parts = [path for path in self._hours.pop(place) if path.is_file()]
            self._late.add(place)
            if len(parts) > 1 and sum(map(_rows, parts)) <= JOINED_ROWS:
                whole = pl.concat([pl.read_parquet(path) for path in parts], how="vertical", rechunk=False)
                _write(whole, place / f"{self._name}-{WHOLE}.parquet")
                for path in parts:
                    path.unlink(missing_ok=True)

    def _trim(self) -> None:
        oldest = datetime.now(UTC) - self._age
        found = sorted(_files(self._root))
        left = sum(size for _, _, size in found)
        for hour, path, size in found:
            if hour + timedelta(hours=1) > oldest and left <= self._most:
                break
            path.unlink(missing_ok=True)
            left -= size
            with suppress(OSError):  # the folder is not empty
                path.parent.rmdir()
                path.parent.parent.rmdir()
        _sweep(self._root)


def _write(table: "pl.DataFrame", path: Path) -> None:
    import polars as pl

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        table.write_parquet(aside, compression="zstd", compression_level=1)
        with aside.open("rb") as handle:
            os.fsync(handle.fileno())
        aside.replace(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.strerror:
            raise
        raise OSError(None, _reason(error), str(path)) from error  # Polars raises its own error on a full disk


def _reason(error: Exception) -> str:
    """Return the system's error message if Polars quotes its number; the rest of Polars' text may contain values."""
    found = OS_ERROR.search(str(error))
    return os.strerror(int(found[1])) if found else "can't be written"


def listed(folder: Path) -> list[Path]:
    """Return the complete files below a folder, oldest first; each row is in exactly one of them."""
    from merit.artifacts import parquet_fault

    found = sorted(folder.glob(FORM))
    joined = {(path.parent, path.name.rpartition("-")[0]) for path in found if path.stem.endswith(f"-{WHOLE}")}
    made = []
    for path in found:
        stem, _, part = path.stem.rpartition("-")
        if part != WHOLE and (path.parent, stem) in joined:
            continue
        with suppress(FileNotFoundError):  # removed meanwhile
            if not parquet_fault(path):
                made.append(path)
    return made


def _files(root: Path) -> Iterator[tuple[datetime, Path, int]]:
    for path in [*root.glob(FORM), *root.glob(f"feedback/{FORM}")]:
        with suppress(OSError, ValueError):  # removed by another worker, or not a file of the log
            yield _hour(path.parent), path, path.stat().st_size


def _hour(place: Path) -> datetime:
    """Return the start of the hour of a folder."""
    date, hour = place.parent.name.removeprefix("date="), place.name.removeprefix("hour=")
    return datetime.fromisoformat(f"{date}T{hour}:00:00+00:00")


def _rows(path: Path) -> int:
    import polars as pl

    found: int = pl.scan_parquet(path).select(pl.len()).collect().item()  # reads only the footer
    return found


def _sweep(root: Path) -> None:
    """Remove temporary files of killed workers, once they are an hour old."""
    for path in [*root.glob("date=*/hour=*/.*.tmp"), *root.glob("feedback/date=*/hour=*/.*.tmp")]:
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - 3600:
                path.unlink()
