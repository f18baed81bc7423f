"""Where a study is kept: SQLite in the sweep's folder, or a server that several machines work on."""

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
"""What SQLite says of a file that it can't read."""
SECONDS = 5
"""How long a server has to answer."""


def url_of(storage: str | None, folder: Path) -> str:
    """Return the URL of sweep.storage, by default of a file in the sweep's folder."""
    if storage is None:
        return f"{SQLITE}{(folder / 'study.db').absolute()}"
    return storage.replace(POSTGRES, "postgresql+psycopg://", 1)


class _Quick(sqlite3.Connection):
    """SQLite that waits for the disk now and then, not at each step, and is whole after any crash all the same."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def at(url: str) -> optuna.storages.RDBStorage:
    """Return the storage at a URL, with its tables."""
    lite: dict[str, Any] = {"timeout": 60, "factory": _Quick}
    wait = lite if url.startswith("sqlite") else {"connect_timeout": SECONDS, **password_rule()}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": wait})
    except SQLAlchemyError:  # another process makes its tables just now
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": wait})


@contextmanager
def faults(url: str) -> Iterator[None]:
    """Tell what a storage fails with in one line.

    Raises:
        MeritError: it can't be used; it says why, and what to do.
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
    """Return what to do about a storage that fails for a reason."""
    if not url.startswith(SQLITE):
        return "start it, or correct sweep.storage"
    file = url.removeprefix(SQLITE)
    if any(word in reason for word in DAMAGED):
        return f"move it away, by 'mv {file} {file}.damaged': it is made anew from the trials' own files"
    return f"see that {file} can be written and that nothing else holds it"
