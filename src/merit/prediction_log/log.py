"""The prediction log as a worker of the endpoint has it: entries are queued, and written in the background."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from merit.prediction_log.log_client import LogClient
from merit.prediction_log.protocol import WriterTask
from merit.prediction_log.settings import PredictionLog
from merit.scoring.package import Package


class Log(Protocol):
    """Interface of a prediction log.

    Attributes:
        dropped: rows dropped because the queue was full, or because they can't be packed.
        written: rows in files.
        waiting: accepted rows that are neither written nor lost yet.
        failed: accepted rows that were lost.
        faults: failed attempts to write; they are retried.
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
        time_s: float,
        body: bytes | None,
        columns: Mapping[str, NDArray[Any]] | None,
        predictions: NDArray[Any],
        caller: str,
    ) -> None:
        """Log the predictions of a request; never block and never raise.

        Args:
            request_id: the id in the response.
            time_s: time in seconds since 1970.
            body: the JSON body of the request, which the endpoint has validated; None for other formats.
            columns: the scored columns, if there is no JSON body.
            predictions: the output of the package, [rows] or [rows, classes].
            caller: the authenticated caller; "" without authentication.
        """

    def start(self) -> None:
        """Start the writer, so that it runs before the first request."""

    def close(self) -> None:
        """Write the queued rows and stop the writer."""


def check_settings(log_settings: PredictionLog, package: Package) -> None:
    """Validate the settings against the package, before the endpoint starts.

    Raises:
        MeritError: a named column is unknown, or the hash key is missing.
    """
    from merit.prediction_log.privacy import PrivacyFilter

    PrivacyFilter(log_settings, [each["name"] for each in package.inputs])


def create_log(log_settings: PredictionLog, package: Package, version: str, worker: str) -> Log:
    """Return the log that the settings configure; one that does nothing if they name no folder.

    Args:
        log_settings: the settings.
        package: the package that predicts.
        version: the version of the model, as responses name it.
        worker: the name of the worker; unique among concurrent workers.

    Raises:
        MeritError: a named column is unknown, or the hash key is missing.
    """
    if log_settings.folder is None:
        return NullLog()
    check_settings(log_settings, package)
    origin = {"model": package.manifest["model"], "version": version, "commit": package.commit}
    return WriterLog(WriterTask("predictions", log_settings, worker, list(package.inputs), package.output, origin))


class NullLog:
    """A log that discards everything."""

    dropped = written = waiting = failed = faults = 0

    def put(self, *_: Any) -> None:
        """Do nothing."""

    def start(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class WriterLog(LogClient):
    """A log that sends predictions to a writer process."""

    def put(  # noqa: PLR0917
        self,
        request_id: str,
        time_s: float,
        body: bytes | None,
        columns: Mapping[str, NDArray[Any]] | None,
        predictions: NDArray[Any],
        caller: str,
    ) -> None:
        """Queue the predictions of a request; drop them if the queue is full."""
        self.enqueue((len(predictions), request_id, time_s, body, columns, predictions.tobytes(), caller))
