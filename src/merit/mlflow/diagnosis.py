"""Finds out whether MLflow's database or server is available, for `merit doctor`."""

import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

from merit.config.schema import Tracking
from merit.console.findings import Finding
from merit.mlflow import store

CHECK_NAME = "tracking"
REMEDY = "correct conf/tracking or MLFLOW_TRACKING_URI"


def diagnose_store(tracking: Tracking) -> Finding:
    """Return whether MLflow's database or server is available, without loading MLflow."""
    uri = store.resolve_uri(tracking)
    file = store.get_sqlite_file(uri)
    if file is not None:
        return _check_sqlite(file)
    if uri.startswith(("http://", "https://")):
        return _check_server(uri)
    return _check_database(uri)


def _check_sqlite(file: Path) -> Finding:
    if not file.is_file():
        return Finding(CHECK_NAME, "ok", f"{file} is made by the first run")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        return Finding(CHECK_NAME, "broken", f"{file}: {error}", store.REPLACE_ADVICE)
    return Finding(CHECK_NAME, "ok", f"{file} holds {runs:,} run{'' if runs == 1 else 's'}")


def _check_server(uri: str) -> Finding:
    address = f"{uri.rstrip('/')}/health"
    try:
        request = urllib.request.Request(address)  # noqa: S310  # the scheme is http or https
        with urllib.request.urlopen(request, timeout=4) as response:  # noqa: S310
            status = response.status
    except urllib.error.HTTPError as error:
        if error.code in {401, 403}:  # the server is up; its access control is not checked here
            return Finding(CHECK_NAME, "ok", f"{uri} answers, and asks who you are")
        return Finding(CHECK_NAME, "missing", f"{uri} answers {error.code}", REMEDY)
    except (OSError, ValueError) as error:
        return Finding(CHECK_NAME, "missing", f"{uri} does not answer ({getattr(error, 'reason', error)})", REMEDY)
    return Finding(CHECK_NAME, "ok", f"{uri} answers {status}")


def _check_database(uri: str) -> Finding:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_engine(uri).connect():
            return Finding(CHECK_NAME, "ok", f"{uri} answers")
    except (SQLAlchemyError, OSError, ImportError, ValueError) as error:
        return Finding(CHECK_NAME, "missing", f"{uri}: {getattr(error, 'orig', None) or error}", REMEDY)
