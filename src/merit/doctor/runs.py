"""Checks of the tracking store: MLflow's database or server, Weights & Biases, or CSV files."""

import importlib.util
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from merit.config.schema import Lock
from merit.doctor.finding import Finding
from merit.mlflow import store

NAME = "tracking"
CORRECT = "correct conf/tracking or MLFLOW_TRACKING_URI"


def tracking(lock: Lock) -> Iterator[Finding]:
    """Check that the tracking store of conf/tracking is available."""
    how = lock.tracking
    if how.to == "csv":
        yield Finding(NAME, "ok", f"CSV files in runs/{how.experiment}/")
    elif how.to == "wandb":
        yield _wandb(str(how.mode))
    else:
        yield _mlflow(store.uri_of(how))


def _wandb(mode: str) -> Finding:
    if importlib.util.find_spec("wandb") is None:
        return Finding(NAME, "missing", "wandb is not installed", "'pip install merit-ml[wandb]'")
    if mode == "online" and not os.environ.get("WANDB_API_KEY"):
        return Finding(NAME, "missing", "WANDB_API_KEY is not set", "set it, or choose tracking.mode=offline")
    return Finding(NAME, "ok", f"Weights & Biases, {mode}")


def _mlflow(uri: str) -> Finding:
    file = store.local_file(uri)
    if file is not None:
        return _sqlite(file)
    if uri.startswith(("http://", "https://")):
        return _server(uri)
    return _database(uri)


def _sqlite(file: Path) -> Finding:
    if not file.is_file():
        return Finding(NAME, "ok", f"{file} is made by the first run")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        return Finding(NAME, "broken", f"{file}: {error}", store.ANEW)
    return Finding(NAME, "ok", f"{file} holds {runs:,} run{'' if runs == 1 else 's'}")


def _server(uri: str) -> Finding:
    address = f"{uri.rstrip('/')}/health"
    try:
        request = urllib.request.Request(address)  # noqa: S310  # the scheme is http or https
        with urllib.request.urlopen(request, timeout=4) as answer:  # noqa: S310
            status = answer.status
    except urllib.error.HTTPError as error:
        if error.code in {401, 403}:  # the server is up; its access control is not checked here
            return Finding(NAME, "ok", f"{uri} answers, and asks who you are")
        return Finding(NAME, "missing", f"{uri} answers {error.code}", CORRECT)
    except (OSError, ValueError) as error:
        return Finding(NAME, "missing", f"{uri} does not answer ({getattr(error, 'reason', error)})", CORRECT)
    return Finding(NAME, "ok", f"{uri} answers {status}")


def _database(uri: str) -> Finding:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_engine(uri).connect():
            return Finding(NAME, "ok", f"{uri} answers")
    except (SQLAlchemyError, OSError, ImportError, ValueError) as error:
        return Finding(NAME, "missing", f"{uri}: {getattr(error, 'orig', None) or error}", CORRECT)
