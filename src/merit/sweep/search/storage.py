"""Opens the storage of an Optuna study: SQLite in the sweep's folder, or a server that several machines share."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy.exc import SQLAlchemyError

from merit.config.addresses import get_password_rule
from merit.console.masking import mask_secrets
from merit.errors import MeritError

POSTGRES_PREFIX, SQLITE_PREFIX = "postgresql://", "sqlite:///"
DAMAGE_MESSAGES = ("not a database", "malformed")
"""Parts of SQLite's messages about a damaged file."""
CONNECT_TIMEOUT_S = 5
"""Timeout of a connection to a server, in seconds."""


def build_url(storage: str | None, folder: Path) -> str:
    """Return the SQLAlchemy URL of sweep.storage; None is a SQLite file in the sweep's folder."""
    if storage is None:
        return f"{SQLITE_PREFIX}{(folder / 'study.db').absolute()}"
    return storage.replace(POSTGRES_PREFIX, "postgresql+psycopg://", 1)


class _FastSqlite(sqlite3.Connection):
    """A SQLite connection that syncs to disk at checkpoints only; in WAL mode it stays consistent after a crash."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open the storage at a URL, and create its tables if they are missing."""
    sqlite_options: dict[str, Any] = {"timeout": 60, "factory": _FastSqlite}
    options = (
        sqlite_options if url.startswith("sqlite") else {"connect_timeout": CONNECT_TIMEOUT_S, **get_password_rule()}
    )
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": options})
    except SQLAlchemyError:  # another process is creating the tables right now
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": options})


@contextmanager
def convert_errors(url: str) -> Iterator[None]:
    """Turn errors of the storage into one line.

    Raises:
        MeritError: the storage can't be used; the message says why, and what to do.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ModuleNotFoundError, OSError) as error:
        cause = error.__cause__ or error
        reason = mask_secrets(" ".join(str(cause).split())[:200])
        raise MeritError(
            f"sweep.storage '{mask_secrets(url)}': can't be used ({reason}); {_suggest_remedy(url, reason)}; "
            "what was trained is kept, and sweep.resume goes on with it"
        ) from error


def _suggest_remedy(url: str, reason: str) -> str:
    """Return the remedy for a storage's failure."""
    if not url.startswith(SQLITE_PREFIX):
        return "start it, or correct sweep.storage"
    file = url.removeprefix(SQLITE_PREFIX)
    if any(phrase in reason for phrase in DAMAGE_MESSAGES):
        return f"move it away, by 'mv {file} {file}.damaged': it is rebuilt from the trials' own files"
    return f"check that {file} is writable and not locked by another process"
