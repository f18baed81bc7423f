"""The prediction log: every prediction in Parquet, by time, off the hot path; read back by `read` and `joined`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from merit.scoring import Package
from merit.serving import settings

if TYPE_CHECKING:
    import polars as pl

    from merit.serving.log.recorder import Recorder

OVERHEAD = 200
"""Bytes that an entry takes beside its body."""


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


def check(told: settings.PredictionLog, package: Package) -> None:
    """Check what the settings name, before anything is served.

    Raises:
        MeritError: a column that is named is unknown, or the key of the hashes is not there.
    """
    from merit.serving.log.privacy import Privacy

    Privacy(told, [each["name"] for each in package.inputs])


def of(told: settings.PredictionLog, package: Package, version: str, worker: str) -> Log:
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
    from merit.serving.log.files import Files
    from merit.serving.log.privacy import Privacy
    from merit.serving.log.recorder import Recorder
    from merit.serving.log.tables import Tables

    privacy = Privacy(told, [each["name"] for each in package.inputs])
    files = Files(Path(told.folder), worker, told.max_mb, told.max_days)
    tables = Tables(package, version, privacy)
    return On(Recorder(tables.build, files, told.queue, told.seconds, "prediction_log"))


class Off:
    """Remembers nothing."""

    dropped = written = waiting = failed = faults = 0

    def put(self, *_: Any) -> None:
        """Forget it."""

    def start(self) -> None:
        """Start nothing."""

    def close(self) -> None:
        """Write nothing."""


class On:
    """Hands everything to what writes.

    Args:
        recorder: what writes.
    """

    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder
        self.start, self.close = recorder.start, recorder.close

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
        size = len(body) if body is not None else sum(each.nbytes for each in (columns or {}).values())
        entry = (request_id, at, body, columns, predictions, who)
        self._recorder.put(len(predictions), size + OVERHEAD, entry)

    @property
    def dropped(self) -> int:
        """Rows that were not taken."""
        return self._recorder.dropped

    @property
    def written(self) -> int:
        """Rows in files."""
        return self._recorder.written

    @property
    def waiting(self) -> int:
        """Rows that are neither written nor lost."""
        return self._recorder.waiting

    @property
    def failed(self) -> int:
        """Rows that were taken and then lost."""
        return self._recorder.failed

    @property
    def faults(self) -> int:
        """Attempts to write that failed."""
        return self._recorder.faults


def read(folder: Path) -> "pl.LazyFrame":
    """Return all predictions below a folder, to be read when they are asked for.

    What a crash left half written is passed over. Where versions had other columns, what one has not is null.

    Raises:
        MeritError: there are none.
    """
    return _scanned(folder, "serve.log.folder says where the endpoint keeps them")


def read_feedback(folder: Path) -> "pl.LazyFrame":
    """Return all feedback below the folder of the predictions.

    Raises:
        MeritError: there is none.
    """
    return _scanned(folder / "feedback", "POST /feedback takes it")


def joined(folder: Path) -> "pl.LazyFrame":
    """Return the predictions whose truth came, by request id and row, with the last truth told as `truth`.

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
    from merit.serving.log.files import listed

    if not (paths := listed(folder)):
        raise MeritError(f"{folder}: holds no file that can be read; {where}")
    by_schema: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for path in paths:
        schema = pl.read_parquet_schema(path)
        by_schema.setdefault(tuple((name, str(kind)) for name, kind in schema.items()), []).append(path)
    scans = [pl.scan_parquet(same, hive_partitioning=False) for same in by_schema.values()]
    return pl.concat(scans, how="diagonal_relaxed") if len(scans) > 1 else scans[0]
