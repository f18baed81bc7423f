"""Reads and sets an environment's alias in MLflow: plan reads it, apply sets it. Git stays the source of truth."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.deploy.targets.local.state import Place
from merit.errors import MeritError
from merit.mlflow import store

VERSION_TAG = "merit.version"
"""The tag of a version in MLflow that names the version in Git."""
REBUILD = "'merit registry rebuild' brings MLflow up to what Git says"


@dataclass(frozen=True)
class Alias:
    """An alias as MLflow has it.

    Attributes:
        now: the version it points to, such as flights@v3, a description of a version unknown to Git, or None.
        wrong: why it can't be read or set; None if it can.
        number: MLflow's number of the declared version.
    """

    now: str | None
    wrong: str | None = None
    number: str | None = None


def read(lock: Lock, name: str, wanted: str | None) -> Alias:
    """Return the alias of an environment, from a cached answer if MLflow's SQLite files are unchanged since.

    Args:
        lock: the configuration.
        name: the environment.
        wanted: the version that the alias should point to, such as flights@v3; None for no alias.
    """
    file = store.local_file(store.uri_of(lock.tracking))
    if file is not None and not file.is_file():
        return Alias(None, None if wanted is None else f"MLflow is empty; {REBUILD}")
    place = Place(name)
    stamp = _stamp(lock, wanted)
    receipt = place.folder.with_suffix(".alias.json")
    if stamp is not None and (kept := _kept(receipt, stamp)) is not None:
        return kept
    try:
        found = _asked(lock, name, wanted)
    except MeritError as error:
        return Alias(None, f"MLflow can't be asked ({error})")
    if stamp is not None and stamp == _stamp(lock, wanted):
        told = {"stamp": stamp, "now": found.now, "wrong": found.wrong, "number": found.number}
        with suppress(OSError, MeritError):  # without write access the next plan queries MLflow again
            artifacts.write_json(receipt, told)
    return found


def _kept(receipt: Path, stamp: list[object]) -> Alias | None:
    """Return the cached alias, if the store has not changed since; a malformed cache file is ignored."""
    try:
        kept = json.loads(receipt.read_text(encoding="utf-8"))
        fields: list[Any] = [kept[name] for name in ("now", "wrong", "number")] if kept["stamp"] == stamp else [0]
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return Alias(*fields) if all(each is None or isinstance(each, str) for each in fields) else None


def _stamp(lock: Lock, wanted: str | None) -> list[object] | None:
    """Return a fingerprint of an SQLite store's files (times, sizes, inodes); None for a server."""
    file = store.local_file(store.uri_of(lock.tracking))
    if file is None:
        return None
    made: list[object] = [wanted, str(file.absolute())]
    for ending in ("", "-wal", "-journal"):
        path = file.with_name(file.name + ending)
        try:
            found: os.stat_result | None = path.stat()
        except OSError:
            found = None
        made += [None] if found is None else [found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino]
    return made


def _asked(lock: Lock, name: str, wanted: str | None) -> Alias:
    client = store.open_store(lock.tracking)
    from mlflow.exceptions import MlflowException

    with store.faults(store.uri_of(lock.tracking)):
        try:
            model = client.get_registered_model(lock.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return Alias(None, None if wanted is None else f"MLflow has no {lock.name}; {REBUILD}")
        number = dict(model.aliases).get(name)
        now = None
        if number is not None:
            tags = client.get_model_version(lock.name, str(number)).tags
            now = tags.get(VERSION_TAG) or f"MLflow's version {number}, which Git has no tag of"
        if wanted is None:
            return Alias(now)
        found = client.search_model_versions(f"name = '{lock.name}' and tags.`{VERSION_TAG}` = '{wanted}'")
        if not found:
            return Alias(now, f"MLflow has no {wanted}; {REBUILD}")
        return Alias(now, None, str(found[0].version))


def write(lock: Lock, name: str, wanted: str | None, found: Alias) -> None:
    """Point the alias to the declared version, or delete it if none is declared.

    Raises:
        MeritError: MLflow can't be reached.
    """
    client = store.open_store(lock.tracking)
    with store.faults(store.uri_of(lock.tracking)):
        if wanted is None:
            client.delete_registered_model_alias(lock.name, name)
        elif found.number is not None:
            client.set_registered_model_alias(lock.name, name, found.number)
