"""Opens the storage of an Optuna study: SQLite in the sweep's folder, or a server that several machines share."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy.exc import SQLAlchemyError

from merit.config.addresses import password_rule
from merit.console.masking import masked
from merit.errors import MeritError

POSTGRES, SQLITE = "postgresql://", "sqlite:///"
DAMAGED = ("not a database", "malformed")
"""Parts of SQLite's messages about a damaged file."""
SECONDS = 5
"""Timeout of a connection to a server, in seconds."""


def url_of(storage: str | None, folder: Path) -> str:
    """Return the SQLAlchemy URL of sweep.storage; None is a SQLite file in the sweep's folder."""
    if storage is None:
        return f"{SQLITE}{(folder / 'study.db').absolute()}"
    return storage.replace(POSTGRES, "postgresql+psycopg://", 1)


class _Quick(sqlite3.Connection):
    """A SQLite connection that syncs to disk at checkpoints only; in WAL mode it stays consistent after a crash."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def at(url: str) -> optuna.storages.RDBStorage:
    """Open the storage at a URL, and create its tables if they are missing."""
    lite: dict[str, Any] = {"timeout": 60, "factory": _Quick}
    wait = lite if url.startswith("sqlite") else {"connect_timeout": SECONDS, **password_rule()}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": wait})
    except SQLAlchemyError:  # another process is creating the tables right now
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": wait})


@contextmanager
def faults(url: str) -> Iterator[None]:
    """Turn errors of the storage into one line.

    Raises:
        MeritError: the storage can't be used; the message says why, and what to do.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ModuleNotFoundError, OSError) as error:
        cause = error.__cause__ or error
        reason = masked(" ".join(str(cause).split())[:200])
        raise MeritError(
            f"sweep.storage '{masked(url)}': can't be used ({reason}); {_advice(url, reason)}; "
            "what was trained is kept, and sweep.resume goes on with it"
        ) from error


def _advice(url: str, reason: str) -> str:
    """Return the remedy for a storage's failure."""
    if not url.startswith(SQLITE):
        return "start it, or correct sweep.storage"
    file = url.removeprefix(SQLITE)
    if any(word in reason for word in DAMAGED):
        return f"move it away, by 'mv {file} {file}.damaged': it is rebuilt from the trials' own files"
    return f"check that {file} is writable and not locked by another process"
