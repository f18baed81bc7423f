"""Locates, initialises and opens the MLflow store, for tracking and registry."""

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

from merit.config.addresses import AUTH_VARIABLE, AUTH_WITHOUT_PASSWORD
from merit.config.extensions import list_names_with
from merit.config.schema import TRACKER_PACKAGE, Tracking
from merit.console.masking import mask_secrets
from merit.errors import MeritError, describe_cause, list_causes
from merit.mlflow import mlflow_adapter

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE_PREFIX = "sqlite:///"
ARTIFACTS_FOLDER = Path("mlruns")
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""The tag that makes MLflow's UI show an experiment as model training, not as LLM traces."""
REPLACE_ADVICE = "move it away; 'merit registry rebuild' fills a new one"
"""The advice for a file that is not a database, or is a corrupt one."""
DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
"""Default ports by URL scheme."""
CONNECT_TIMEOUT_S = 5.0
"""Connect timeout of the check that the server is up, before anything is trained."""
OUT_OF_DATE_TEXT = "out-of-date database schema"
SCHEMA_ERROR_TEXTS = ("already exists", "duplicate column", "no such table", "no such column")
"""Parts of SQLite's errors, which have one type and no code, about tables that don't match MLflow's expected schema."""


def has_registry(tracking: Tracking) -> bool:
    """Return whether the tracking backend has a model registry; of merit's own, only MLflow does."""
    return tracking.to in list_names_with(TRACKER_PACKAGE, "HAS_REGISTRY", True)


def resolve_uri(tracking: Tracking) -> str:
    """Return the URI of the MLflow store: MLFLOW_TRACKING_URI if set, else the one in conf/tracking.

    Raises:
        MeritError: the tracking backend is not MLflow, so there is no registry.
    """
    if tracking.uri is None:
        raise MeritError(
            f"tracking.to: found '{tracking.to}', which keeps runs but no registry of models; choose tracking=mlflow"
        )
    return os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri


def get_sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite store; None if the store is a server."""
    return Path(uri.removeprefix(SQLITE_PREFIX).partition("?")[0]) if uri.startswith(SQLITE_PREFIX) else None


def check_server(tracking: Tracking) -> None:
    """Check that the store's server accepts connections, without loading MLflow; a file store is not checked.

    Raises:
        MeritError: the server can't be reached.
    """
    uri = resolve_uri(tracking)
    if (address := _parse_address(uri)) is None:
        return
    try:
        socket.create_connection(address, CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise MeritError(
            f"tracking.uri '{mask_secrets(uri)}': can't be reached ({describe_cause(error)}), and nothing was trained; "
            "start "
            "the "
            "server, correct conf/tracking or MLFLOW_TRACKING_URI, or keep runs as files by tracking=csv"
        ) from error


def _parse_address(uri: str) -> tuple[str, int] | None:
    """Return the host and the port of a server; None if the URI names no server, or a proxy is in between."""
    try:
        parts = urlsplit(uri)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme.partition("+")[0])
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
        os.environ.setdefault(AUTH_VARIABLE, AUTH_WITHOUT_PASSWORD)
    import logging

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = resolve_uri(tracking)
    file = get_sqlite_file(uri)
    with convert_errors(uri):
        if file is None:
            return _connect(uri)
        from filelock import FileLock

        file.parent.stat()  # FileLock would create a misspelt folder
        # Two processes that migrate a new database at the same time corrupt it.
        with FileLock(f"{file}.lock", fallback_to_soft=False):
            if not file.exists():
                _create_sqlite_store(file)
            return _connect(uri)


def _connect(uri: str) -> "MlflowClient":
    """Return a client after a test query, so that a broken store fails here."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _create_sqlite_store(file: Path) -> None:
    """Create an SQLite store under a temporary name and rename it.

    MLflow creates it by about a hundred migrations, and can't continue after an interrupted one.
    """
    aside = Path(f"{file}.new")
    shutil.rmtree(aside, ignore_errors=True)  # the remains of a killed process
    aside.mkdir()
    client = _connect(f"{SQLITE_PREFIX}{aside / file.name}")
    mlflow_adapter.close_database(client)  # before it is renamed
    if not file.exists():  # MLflow's own server may have created it: it ignores our lock
        (aside / file.name).rename(file)
    shutil.rmtree(aside)


def find_or_create_experiment(client: "MlflowClient", tracking: Tracking) -> str:
    """Return the id of the experiment named in conf/tracking, created if it doesn't exist."""
    from mlflow.exceptions import MlflowException

    name = tracking.experiment
    artifact_location = ARTIFACTS_FOLDER.absolute().as_uri() if get_sqlite_file(resolve_uri(tracking)) else None
    with convert_errors(resolve_uri(tracking)):
        if existing := client.get_experiment_by_name(name):
            return str(existing.experiment_id)
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location, tags=EXPERIMENT_TAGS))
        except MlflowException:  # another process has just created it
            if concurrent := client.get_experiment_by_name(name):
                return str(concurrent.experiment_id)
            raise


@contextmanager
def convert_errors(uri: str) -> Iterator[None]:
    """Convert exceptions of MLflow and its database to a MeritError of one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        file, root_error = get_sqlite_file(uri), list_causes(error)[-1]
        if (
            file is not None and type(root_error) is sqlite3.DatabaseError
        ):  # subclasses concern a statement, not the file
            raise MeritError(f"{file}: {root_error}; {REPLACE_ADVICE}") from error
        if file is not None and _has_other_tables(error, root_error):
            cause = describe_cause(error).partition(" [SQL")[0]
            upgrade = f"'mlflow db upgrade {uri}' mends an older MLflow's"
            raise MeritError(
                f"{file}: not this MLflow's tables ({cause}); {upgrade}; if that fails, {REPLACE_ADVICE}"
            ) from error
        raise MeritError(
            f"tracking.uri '{mask_secrets(uri)}': can't be used ({mask_secrets(describe_cause(error))}); correct "
            "conf/tracking "
            "or "
            "MLFLOW_TRACKING_URI"
        ) from error


def _has_other_tables(error: BaseException, root_error: BaseException) -> bool:
    """Return whether a database has tables of another MLflow version, or incomplete ones."""
    is_statement = isinstance(root_error, sqlite3.OperationalError) and any(
        words in str(root_error) for words in SCHEMA_ERROR_TEXTS
    )
    return is_statement or OUT_OF_DATE_TEXT in str(error)
