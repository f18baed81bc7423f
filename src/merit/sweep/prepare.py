"""Prepares the folders of a sweep and its trials: features without test rows, locks, and the list of denied paths."""

import hashlib
import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config import targets, trust
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.sweep import plan, process, record
from merit.sweep.local import cores

PARTS = ("train", "validation")
CLOSED = ("data", "reports", "training", "model", ".git", ".dvc", "mlruns")
"""Paths in the project's folder that trials can't read: they hold test rows, predictions for them or copies of both."""


def folder_of(made: plan.Plan) -> Path:
    """Create the sweep's folder, or check that an existing one belongs to the same sweep; return it.

    Raises:
        MeritError: the folder holds another sweep, or the features changed since it started.
    """
    folder = record.SWEEPS / made.name
    features = _digest()
    shared = made.settings.storage is not None
    if (folder / record.ABOUT).is_file():
        former = record.about_of(made.name)
        if made.settings.resume is None and not shared:
            raise MeritError(
                f"{folder}: is there already; give another sweep.name, or go on with it by sweep.resume={made.name}"
            )
        plan.refuse_another(former["definition"], made)
        if former["features"] != features:
            raise MeritError(f"{folder}: began with other features than data/features holds now; begin a new sweep")
        artifacts.write_json(folder / record.ABOUT, {**former, "planned": made.planned})
    else:
        artifacts.write_json(folder / record.ABOUT, plan.about_json(made, features, _machine()))
    _share(folder / process.FEATURES)
    return folder


def _digest() -> str:
    """Return one SHA-256 over the features of training and validation rows."""
    files = [artifacts.FEATURES_REPORT, *(artifacts.part(name) for name in PARTS)]
    return "sha256:" + hashlib.sha256("".join(map(artifacts.sha256, files)).encode()).hexdigest()


def _machine() -> dict[str, Any]:
    return {"cores": cores(), "system": platform.system(), "processor": platform.machine(),
            "python": platform.python_version()}  # fmt: skip


def _share(folder: Path) -> None:
    """Put the features of training and validation rows into a folder, as hard links if possible, else as copies."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in [artifacts.FEATURES_REPORT, *(artifacts.part(name) for name in PARTS)]:
        if (folder / file.name).exists():
            continue
        try:
            os.link(file.resolve(), folder / file.name)
        except FileExistsError:  # another worker of this sweep created it meanwhile
            continue
        except OSError:
            with artifacts.written_aside(folder / file.name) as aside:
                shutil.copyfile(file, aside)


def close(folder: Path, lock: Lock, stores: list[Path]) -> None:
    """Write the list of paths that no trial may read: the project's data, the source's files, DVC's stores."""
    found = [*map(Path, CLOSED), *stores]
    with suppress(Exception):  # a source that reads no files has none to deny
        found += [Path(file) for file in targets.build(lock.data.source.model_dump(by_alias=True)).files()]
    artifacts.write_json(folder / process.DENIED, {"closed": sorted({str(path.resolve()) for path in found})})


def undo(folder: Path) -> None:
    """Remove a sweep's folder if no trial was ever started in it."""
    if not (folder / record.TRIALS).exists():
        shutil.rmtree(folder, ignore_errors=True)


def trial(folder: Path, made: plan.Plan, number: int, point: dict[str, str], owner: str) -> Path:
    """Create the folder of a trial with its lock and trial.json; files of an interrupted attempt are removed.

    Raises:
        MeritError: the point doesn't compose; trial.json then records the trial as failed.
    """
    place = record.folder_of(folder, number)
    shutil.rmtree(place, ignore_errors=True)
    told: dict[str, Any] = {"number": number, "overrides": point, "state": "running", "owner": owner}
    try:
        lock = made.lock_of(point)
    except MeritError as error:
        record.tell(place, **{**told, "state": "failed", "error": process.line(error)})
        raise
    artifacts.write_text(place / artifacts.LOCK.name, _text(lock))
    links = [name for name in (str(trust.PYPROJECT), *_own()) if Path(name).exists()]
    record.tell(place, **told, accelerator=lock.trainer.accelerator, max_epochs=lock.trainer.max_epochs,
                memory_mb=made.settings.memory_mb, project=str(Path().resolve()), links=links)  # fmt: skip
    return place


def _text(lock: Lock) -> str:
    from merit.config import lock as locks

    return locks.render(lock)


def _own() -> list[str]:
    """Return the files and folders of trusted packages (pyproject.toml) that lie in the project's folder."""
    return [name for package in trust.packages() for name in (package, f"{package}.py") if Path(name).exists()]
