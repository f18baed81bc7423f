"""Reads and sets an environment's alias in MLflow: plan reads it, apply sets it. Git stays the source of truth."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.deploy.targets.local.state import RuntimeFolder
from merit.errors import MeritError
from merit.mlflow import store

VERSION_TAG = "merit.version"
"""The tag of a version in MLflow that names the version in Git."""
REBUILD_HINT = "'merit registry rebuild' brings MLflow up to what Git says"


@dataclass(frozen=True)
class Alias:
    """An alias as MLflow has it.

    Attributes:
        now: the version it points to, such as flights@v3, a description of a version unknown to Git, or None.
        wrong: why it can't be read or set; None if it can.
        number: MLflow's number of the declared version.
    """

    current: str | None
    problem: str | None = None
    mlflow_version: str | None = None


def read_alias(lock: Lock, name: str, declared_version: str | None) -> Alias:
    """Return the alias of an environment, from a cached answer if MLflow's SQLite files are unchanged since.

    Args:
        lock: the configuration.
        name: the environment.
        declared_version: the version that the alias should point to, such as flights@v3; None for no alias.
    """
    file = store.get_sqlite_file(store.resolve_uri(lock.tracking))
    if file is not None and not file.is_file():
        return Alias(None, None if declared_version is None else f"MLflow is empty; {REBUILD_HINT}")
    runtime = RuntimeFolder(name)
    fingerprint = _compute_fingerprint(lock, declared_version)
    cache_path = runtime.path.with_suffix(".alias.json")
    if fingerprint is not None and (cached := _read_cached(cache_path, fingerprint)) is not None:
        return cached
    try:
        alias = _query_alias(lock, name, declared_version)
    except MeritError as error:
        return Alias(None, f"MLflow can't be asked ({error})")
    if fingerprint is not None and fingerprint == _compute_fingerprint(lock, declared_version):
        values = {"stamp": fingerprint, "now": alias.current, "wrong": alias.problem, "number": alias.mlflow_version}
        with suppress(OSError, MeritError):  # without write access the next plan queries MLflow again
            artifacts.write_json(cache_path, values)
    return alias


def _read_cached(cache_path: Path, fingerprint: list[object]) -> Alias | None:
    """Return the cached alias, if the store has not changed since; a malformed cache file is ignored."""
    try:
        cached = json.loads(cache_path.read_text(encoding="utf-8"))
        fields: list[Any] = (
            [cached[name] for name in ("now", "wrong", "number")] if cached["stamp"] == fingerprint else [0]
        )
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return Alias(*fields) if all(each is None or isinstance(each, str) for each in fields) else None


def _compute_fingerprint(lock: Lock, declared_version: str | None) -> list[object] | None:
    """Return a fingerprint of an SQLite store's files (times, sizes, inodes); None for a server."""
    file = store.get_sqlite_file(store.resolve_uri(lock.tracking))
    if file is None:
        return None
    parts: list[object] = [declared_version, str(file.absolute())]
    for suffix in ("", "-wal", "-journal"):
        path = file.with_name(file.name + suffix)
        try:
            status: os.stat_result | None = path.stat()
        except OSError:
            status = None
        parts += [None] if status is None else [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino]
    return parts


def _query_alias(lock: Lock, name: str, declared_version: str | None) -> Alias:
    client = store.open_store(lock.tracking)
    from mlflow.exceptions import MlflowException

    with store.convert_errors(store.resolve_uri(lock.tracking)):
        try:
            model = client.get_registered_model(lock.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return Alias(None, None if declared_version is None else f"MLflow has no {lock.name}; {REBUILD_HINT}")
        number = dict(model.aliases).get(name)
        current = None
        if number is not None:
            tags = client.get_model_version(lock.name, str(number)).tags
            current = tags.get(VERSION_TAG) or f"MLflow's version {number}, which Git has no tag of"
        if declared_version is None:
            return Alias(current)
        matches = client.search_model_versions(f"name = '{lock.name}' and tags.`{VERSION_TAG}` = '{declared_version}'")
        if not matches:
            return Alias(current, f"MLflow has no {declared_version}; {REBUILD_HINT}")
        return Alias(current, None, str(matches[0].version))


def write_alias(lock: Lock, name: str, declared_version: str | None, alias: Alias) -> None:
    """Point the alias to the declared version, or delete it if none is declared.

    Raises:
        MeritError: MLflow can't be reached.
    """
    client = store.open_store(lock.tracking)
    with store.convert_errors(store.resolve_uri(lock.tracking)):
        if declared_version is None:
            client.delete_registered_model_alias(lock.name, name)
        elif alias.mlflow_version is not None:
            client.set_registered_model_alias(lock.name, name, alias.mlflow_version)
