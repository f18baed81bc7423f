"""The prediction log: every prediction in Parquet, by time, off the hot path; read back by `read` and `joined`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from merit.prediction_log.log_client import Link
from merit.prediction_log.protocol import Task
from merit.prediction_log.settings import PredictionLog
from merit.scoring.package import Package

if TYPE_CHECKING:
    import polars as pl


class Log(Protocol):
    """Remembers predictions.

    Attributes:
        dropped: rows that were not taken, for too much waited.
        written: rows in files.
        waiting: rows that are neither written nor lost.
        failed: rows that were taken and then lost.
        faults: attempts to write that failed, and are made again.
    """

    @property
    def dropped(self) -> int: ...  # noqa: D102

    @property
    def written(self) -> int: ...  # noqa: D102

    @property
    def waiting(self) -> int: ...  # noqa: D102

    @property
    def failed(self) -> int: ...  # noqa: D102

    @property
    def faults(self) -> int: ...  # noqa: D102

    def put(  # noqa: PLR0917  # called on the hot path, where names cost
        self,
        request_id: str,
        at: float,
        body: bytes | None,
        columns: Mapping[str, NDArray[Any]] | None,
        predictions: NDArray[Any],
        who: str,
    ) -> None:
        """Remember what a request was answered; it never blocks and never raises.

        Args:
            request_id: as the answer names it.
            at: when, in seconds since 1970.
            body: the request in JSON, which the endpoint has taken; None where it came otherwise.
            columns: what was scored, where there is no such body.
            predictions: as the package gives them, [rows] or [rows, classes].
            who: asked, "" where nobody was asked who it is.
        """

    def start(self) -> None:
        """Start what writes, so that the first request finds it running."""

    def close(self) -> None:
        """Write what waits."""


def check(told: PredictionLog, package: Package) -> None:
    """Check what the settings name, before anything is served.

    Raises:
        MeritError: a column that is named is unknown, or the key of the hashes is not there.
    """
    from merit.prediction_log.privacy import Privacy

    Privacy(told, [each["name"] for each in package.inputs])


def of(told: PredictionLog, package: Package, version: str, worker: str) -> Log:
    """Return the log that the settings ask for.

    Args:
        told: the settings.
        package: whose answers they are.
        version: the model's, as it is told in answers.
        worker: who writes: two that write at once must not have the same name.

    Raises:
        MeritError: a column that is named is unknown, or the key of the hashes is not there.
    """
    if told.folder is None:
        return Off()
    check(told, package)
    origin = {"model": package.manifest["model"], "version": version, "commit": package.commit}
    return On(Task("predictions", told, worker, list(package.inputs), package.output, origin))


class Off:
    """Remembers nothing."""

    dropped = written = waiting = failed = faults = 0

    def put(self, *_: Any) -> None:
        """Forget it."""

    def start(self) -> None:
        """Start nothing."""

    def close(self) -> None:
        """Write nothing."""


class On(Link):
    """Keeps what is answered, until it is written."""

    def put(  # noqa: PLR0917
        self,
        request_id: str,
        at: float,
        body: bytes | None,
        columns: Mapping[str, NDArray[Any]] | None,
        predictions: NDArray[Any],
        who: str,
    ) -> None:
        """Remember it, unless too much waits."""
        self.take((len(predictions), request_id, at, body, columns, predictions.tobytes(), who))


def read(folder: Path) -> "pl.LazyFrame":
    """Return all predictions below a folder, to be read when they are asked for.

    What a crash left half written is passed over. Where versions had other columns, what one has not is null.

    Raises:
        MeritError: there are none yet, or a file was damaged since.
    """
    return _scanned(
        folder, "serve.log.folder says where the endpoint keeps them, and serve.log.seconds how often it writes"
    )


def read_feedback(folder: Path) -> "pl.LazyFrame":
    """Return all feedback below the folder of the predictions.

    Its columns are `time`, `request_id` and `row` or else `key` (JSON), `truth`, `caller`.

    Raises:
        MeritError: there is none yet, or a file was damaged since.
    """
    return _scanned(folder / "feedback", "POST /feedback takes it, and serve.log.seconds says how often it is written")


def joined(folder: Path) -> "pl.LazyFrame":
    """Return the predictions whose truth came by request id and row, with the last truth told as `truth`.

    What was told by a key of the data is for `read_feedback` and a join of one's own.

    Raises:
        MeritError: there are no predictions, or no feedback.
    """
    import polars as pl

    told = read_feedback(folder).filter(pl.col("request_id").is_not_null()).sort("time")
    last = told.unique(["request_id", "row"], keep="last").select("request_id", "row", "truth")
    return read(folder).join(last, on=["request_id", "row"])


def _scanned(folder: Path, where: str) -> "pl.LazyFrame":
    import polars as pl

    from merit.errors import MeritError
    from merit.prediction_log.files import listed

    by_schema: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for path in listed(folder):
        try:
            schema = pl.read_parquet_schema(path)
        except FileNotFoundError:  # removed meanwhile
            continue
        except pl.exceptions.PolarsError as error:
            reason = " ".join(str(error).split())[:200]
            raise MeritError(f"{path}: is damaged ({reason}); move it away, and the others can be read") from error
        by_schema.setdefault(tuple((name, str(kind)) for name, kind in schema.items()), []).append(path)
    if not by_schema:
        raise MeritError(f"{folder}: holds no file that can be read yet; {where}")
    scans = [pl.scan_parquet(same, hive_partitioning=False) for same in by_schema.values()]
    return pl.concat(scans, how="diagonal_relaxed") if len(scans) > 1 else scans[0]
