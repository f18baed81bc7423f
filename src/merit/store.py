"""The MLflow store: found, initialised once and safely, and opened for tracking and registry alike."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from merit.config.addresses import NO_PASSWORD, REQUIRED
from merit.config.schema import Tracking
from merit.errors import MeritError, chain, reason
from merit.masking import masked

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
ARTIFACTS = Path("mlruns")
ANEW = "move it away; 'merit registry rebuild' fills a new one"
"""What to do about a file that is no database, or a broken one."""


def keeps_versions(tracking: Tracking) -> bool:
    """Say whether what keeps the runs has a registry of models too, as MLflow alone has."""
    return tracking.to == "mlflow"


def uri_of(tracking: Tracking) -> str:
    """Return where MLflow keeps runs: MLFLOW_TRACKING_URI if set, else what conf/tracking says.

    Raises:
        MeritError: runs are kept by something else, which has no registry.
    """
    if tracking.uri is None:
        raise MeritError(
            f"tracking.to: found '{tracking.to}', which keeps runs but no registry of models; choose tracking=mlflow"
        )
    return os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri


def local_file(uri: str) -> Path | None:
    """Return the file of an SQLite store, or None where a server keeps the runs."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def open_store(tracking: Tracking) -> "MlflowClient":
    """Return a client of the store, made ready if it is new.

    Raises:
        MeritError: it can't be reached or opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # By itself MLflow tries for minutes before it says that a server is down.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    if "MLFLOW_TRACKING_URI" not in os.environ:  # YAML names the server: it gets no password that it could use again
        os.environ.setdefault(REQUIRED, NO_PASSWORD)
    import logging

    from mlflow import MlflowClient

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = uri_of(tracking)
    file = local_file(uri)
    with faults(uri):
        if file is None:
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            return client
        # Two processes that migrate one new database at once break it.
        with _alone(file):
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            return client


def experiment(client: "MlflowClient", tracking: Tracking) -> str:
    """Return the id of the experiment that conf/tracking names, made if it is new."""
    from mlflow.exceptions import MlflowException

    name = tracking.experiment
    place = ARTIFACTS.absolute().as_uri() if local_file(uri_of(tracking)) else None
    with faults(uri_of(tracking)):
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException:  # somebody else made it just now
            if again := client.get_experiment_by_name(name):
                return str(again.experiment_id)
            raise


@contextmanager
def faults(uri: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        file, root = local_file(uri), chain(error)[-1]
        if file is not None and type(root) is sqlite3.DatabaseError:  # its subclasses are about the statement
            raise MeritError(f"{file}: {root}; {ANEW}") from error
        raise MeritError(
            f"tracking.uri '{masked(uri)}': can't be used ({masked(reason(error))}); correct conf/tracking or "
            "MLFLOW_TRACKING_URI"
        ) from error


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with Path(f"{file}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
