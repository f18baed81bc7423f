"""Reads the prediction log and its feedback as lazy tables."""

from pathlib import Path
from typing import TYPE_CHECKING

from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl


def read(folder: Path) -> "pl.LazyFrame":
    """Return all predictions below a folder as a lazy table.

    Half-written files of a crash are skipped. If model versions have different columns, missing values are null.

    Raises:
        MeritError: there are no predictions yet, or a file is damaged.
    """
    return _scan_files(
        folder, "serve.log.folder says where the endpoint keeps them, and serve.log.seconds how often it writes"
    )


def read_feedback(folder: Path) -> "pl.LazyFrame":
    """Return all feedback below the folder of the predictions as a lazy table.

    Its columns are `time`, `request_id` and `row` or else `key` (JSON), `truth`, `caller`.

    Raises:
        MeritError: there is no feedback yet, or a file is damaged.
    """
    return _scan_files(
        folder / "feedback", "POST /feedback takes it, and serve.log.seconds says how often it is written"
    )


def join_feedback(folder: Path) -> "pl.LazyFrame":
    """Return the predictions that have feedback by request id and row, with the latest `truth` of each.

    Feedback by a key of the data is not joined; use `read_feedback` and join on that key.

    Raises:
        MeritError: there are no predictions, or no feedback.
    """
    import polars as pl

    feedback = read_feedback(folder).filter(pl.col("request_id").is_not_null()).sort("time")
    latest_feedback = feedback.unique(["request_id", "row"], keep="last").select("request_id", "row", "truth")
    return read(folder).join(latest_feedback, on=["request_id", "row"])


def _scan_files(folder: Path, hint: str) -> "pl.LazyFrame":
    import polars as pl

    from merit.prediction_log.files import list_files

    by_schema: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for path in list_files(folder):
        try:
            schema = pl.read_parquet_schema(path)
        except FileNotFoundError:  # removed meanwhile
            continue
        except pl.exceptions.PolarsError as error:
            reason = " ".join(str(error).split())[:200]
            raise MeritError(f"{path}: is damaged ({reason}); move it away, and the others can be read") from error
        by_schema.setdefault(tuple((name, str(kind)) for name, kind in schema.items()), []).append(path)
    if not by_schema:
        raise MeritError(f"{folder}: holds no file that can be read yet; {hint}")
    scans = [pl.scan_parquet(same, hive_partitioning=False) for same in by_schema.values()]
    return pl.concat(scans, how="diagonal_relaxed") if len(scans) > 1 else scans[0]
