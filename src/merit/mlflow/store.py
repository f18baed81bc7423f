"""The MLflow store: found, initialised once and safely, and opened for tracking and registry alike."""

import fcntl
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from merit.config.addresses import NO_PASSWORD, REQUIRED
from merit.config.schema import Tracking
from merit.console.masking import masked
from merit.errors import MeritError, chain, reason

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
ARTIFACTS = Path("mlruns")
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""By which MLflow's pages show an experiment as training, and not as what came of a language model."""
ANEW = "move it away; 'merit registry rebuild' fills a new one"
"""What to do about a file that is no database, or a broken one."""
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
"""Where servers listen whose address names no port."""
SECONDS = 5.0
"""How long a server is waited for before anything is trained."""
OUT_OF_DATE = "out-of-date database schema"
OTHER_TABLES = ("already exists", "duplicate column", "no such table", "no such column")
"""How SQLite speaks of tables that are not those that MLflow takes them for."""


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
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def check_server(tracking: Tracking) -> None:
    """Check that the store's server takes connections, without loading MLflow; a file needs none.

    Raises:
        MeritError: it does not.
    """
    uri = uri_of(tracking)
    if (address := _address(uri)) is None:
        return
    try:
        socket.create_connection(address, SECONDS).close()
    except OSError as error:
        raise MeritError(
            f"tracking.uri '{masked(uri)}': can't be reached ({reason(error)}), and nothing was trained; start the "
            "server, correct conf/tracking or MLFLOW_TRACKING_URI, or keep runs as files by tracking=csv"
        ) from error


def _address(uri: str) -> tuple[str, int] | None:
    """Return the host and the port of a server; None of what is none, or is reached through a proxy."""
    try:
        parts = urlsplit(uri)
        port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        return None
    if not parts.hostname or port is None or parts.scheme in getproxies():
        return None
    return parts.hostname, port


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

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = uri_of(tracking)
    file = local_file(uri)
    with faults(uri):
        if file is None:
            return _client(uri)
        # Two processes that migrate one new database at once break it.
        with _alone(file):
            if not file.exists():
                _create(file)
            return _client(uri)


def _client(uri: str) -> "MlflowClient":
    """Return a client that has asked its store something."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _create(file: Path) -> None:
    """Make an SQLite store aside and rename it: MLflow takes a hundred steps, and can't go on from one in between."""
    aside = Path(f"{file}.new")
    shutil.rmtree(aside, ignore_errors=True)  # of one that was killed
    aside.mkdir()
    client = _client(f"{SQLITE}{aside / file.name}")
    client._tracking_client.store._dispose_engine()  # what is renamed is closed
    if not file.exists():  # MLflow's own server knows no lock of ours
        (aside / file.name).rename(file)
    shutil.rmtree(aside)


def experiment(client: "MlflowClient", tracking: Tracking) -> str:
    """Return the id of the experiment that conf/tracking names, made if it is new."""
    from mlflow.exceptions import MlflowException

    name = tracking.experiment
    place = ARTIFACTS.absolute().as_uri() if local_file(uri_of(tracking)) else None
    with faults(uri_of(tracking)):
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=KIND))
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
        if file is not None and _is_of_other_tables(error, root):
            why = reason(error).partition(" [SQL")[0]
            upgrade = f"'mlflow db upgrade {uri}' mends an older MLflow's"
            raise MeritError(f"{file}: not this MLflow's tables ({why}); {upgrade}; if that fails, {ANEW}") from error
        raise MeritError(
            f"tracking.uri '{masked(uri)}': can't be used ({masked(reason(error))}); correct conf/tracking or "
            "MLFLOW_TRACKING_URI"
        ) from error


def _is_of_other_tables(error: BaseException, root: BaseException) -> bool:
    """Say whether a database is of another version of MLflow, or of none, for its making was cut off."""
    is_statement = isinstance(root, sqlite3.OperationalError) and any(words in str(root) for words in OTHER_TABLES)
    return is_statement or OUT_OF_DATE in str(error)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with Path(f"{file}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
