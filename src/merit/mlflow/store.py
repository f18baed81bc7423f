"""Locates, initialises and opens the MLflow store, for tracking and registry."""

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
"""The tag that makes MLflow's UI show an experiment as model training, not as LLM traces."""
ANEW = "move it away; 'merit registry rebuild' fills a new one"
"""The advice for a file that is not a database, or is a corrupt one."""
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
"""Default ports by URL scheme."""
SECONDS = 5.0
"""Connect timeout of the check that the server is up, before anything is trained."""
OUT_OF_DATE = "out-of-date database schema"
OTHER_TABLES = ("already exists", "duplicate column", "no such table", "no such column")
"""Parts of SQLite's errors about tables that don't match MLflow's expected schema."""


def keeps_versions(tracking: Tracking) -> bool:
    """Return whether the tracking backend has a model registry; only MLflow does."""
    return tracking.to == "mlflow"


def uri_of(tracking: Tracking) -> str:
    """Return the URI of the MLflow store: MLFLOW_TRACKING_URI if set, else the one in conf/tracking.

    Raises:
        MeritError: the tracking backend is not MLflow, so there is no registry.
    """
    if tracking.uri is None:
        raise MeritError(
            f"tracking.to: found '{tracking.to}', which keeps runs but no registry of models; choose tracking=mlflow"
        )
    return os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri


def local_file(uri: str) -> Path | None:
    """Return the file of an SQLite store; None if the store is a server."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def check_server(tracking: Tracking) -> None:
    """Check that the store's server accepts connections, without loading MLflow; a file store is not checked.

    Raises:
        MeritError: the server can't be reached.
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
    """Return the host and the port of a server; None if the URI names no server, or a proxy is in between."""
    try:
        parts = urlsplit(uri)
        port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        return None
    if not parts.hostname or port is None or parts.scheme in getproxies():
        return None
    return parts.hostname, port


def open_store(tracking: Tracking) -> "MlflowClient":
    """Return a client of the store; a new SQLite store is created first.

    Raises:
        MeritError: the store can't be reached or opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # By default MLflow retries for minutes before it reports that a server is down.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    if "MLFLOW_TRACKING_URI" not in os.environ:  # YAML names the server: it must not get a reusable password
        os.environ.setdefault(REQUIRED, NO_PASSWORD)
    import logging

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = uri_of(tracking)
    file = local_file(uri)
    with faults(uri):
        if file is None:
            return _client(uri)
        # Two processes that migrate a new database at the same time corrupt it.
        with _alone(file):
            if not file.exists():
                _create(file)
            return _client(uri)


def _client(uri: str) -> "MlflowClient":
    """Return a client after a test query, so that a broken store fails here."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _create(file: Path) -> None:
    """Create an SQLite store under a temporary name and rename it.

    MLflow creates it by about a hundred migrations, and can't continue after an interrupted one.
    """
    aside = Path(f"{file}.new")
    shutil.rmtree(aside, ignore_errors=True)  # the remains of a killed process
    aside.mkdir()
    client = _client(f"{SQLITE}{aside / file.name}")
    client._tracking_client.store._dispose_engine()  # close the database before it is renamed
    if not file.exists():  # MLflow's own server may have created it: it ignores our lock
        (aside / file.name).rename(file)
    shutil.rmtree(aside)


def experiment(client: "MlflowClient", tracking: Tracking) -> str:
    """Return the id of the experiment named in conf/tracking, created if it doesn't exist."""
    from mlflow.exceptions import MlflowException

    name = tracking.experiment
    place = ARTIFACTS.absolute().as_uri() if local_file(uri_of(tracking)) else None
    with faults(uri_of(tracking)):
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name, artifact_location=place, tags=KIND))
        except MlflowException:  # another process has just created it
            if again := client.get_experiment_by_name(name):
                return str(again.experiment_id)
            raise


@contextmanager
def faults(uri: str) -> Iterator[None]:
    """Convert exceptions of MLflow and its database to a MeritError of one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        file, root = local_file(uri), chain(error)[-1]
        if file is not None and type(root) is sqlite3.DatabaseError:  # subclasses concern a statement, not the file
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
    """Return whether a database has tables of another MLflow version, or incomplete ones."""
    is_statement = isinstance(root, sqlite3.OperationalError) and any(words in str(root) for words in OTHER_TABLES)
    return is_statement or OUT_OF_DATE in str(error)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with Path(f"{file}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
