"""Prepares the folders of a sweep and its trials: features without test rows, locks, and the list of denied paths."""

import hashlib
import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config.components import targets, trusted_packages
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.process.cores import count_cores
from merit.sweep import plan, record
from merit.sweep.trials import process

PARTS = ("train", "validation")
DENIED_PATHS = ("data", "reports", "training", "model", ".git", ".dvc", "mlruns")
"""Paths in the project's folder that trials can't read: they hold test rows, predictions for them or copies of both."""


def prepare_folder(sweep_plan: plan.Plan) -> Path:
    """Create the sweep's folder, or check that an existing one belongs to the same sweep; return it.

    Raises:
        MeritError: the folder holds another sweep, or the features changed since it started.
    """
    folder = record.SWEEPS / sweep_plan.name
    features = _hash_features()
    is_shared = sweep_plan.settings.storage is not None
    if (folder / record.SWEEP_JSON).is_file():
        stored = record.read_sweep_json(sweep_plan.name)
        if sweep_plan.settings.resume is None and not is_shared:
            raise MeritError(
                f"{folder}: is there already; give another sweep.name, or go on with it by "
                f"sweep.resume={sweep_plan.name}"
            )
        plan.refuse_other_definition(stored["definition"], sweep_plan)
        if stored["features"] != features:
            raise MeritError(f"{folder}: began with other features than data/features holds now; begin a new sweep")
        artifacts.write_json(folder / record.SWEEP_JSON, {**stored, "planned": sweep_plan.planned_trials})
    else:
        artifacts.write_json(
            folder / record.SWEEP_JSON, plan.build_sweep_json(sweep_plan, features, _describe_machine())
        )
    _link_features(folder / process.FEATURES_FOLDER)
    return folder


def _hash_features() -> str:
    """Return one SHA-256 over the features of training and validation rows."""
    files = [artifacts.FEATURES_REPORT, *(artifacts.part_path(name) for name in PARTS)]
    return "sha256:" + hashlib.sha256("".join(map(artifacts.hash_file, files)).encode()).hexdigest()


def _describe_machine() -> dict[str, Any]:
    return {"cores": count_cores(), "system": platform.system(), "processor": platform.machine(),
            "python": platform.python_version()}  # fmt: skip


def _link_features(folder: Path) -> None:
    """Put the features of training and validation rows into a folder, as hard links if possible, else as copies."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in [artifacts.FEATURES_REPORT, *(artifacts.part_path(name) for name in PARTS)]:
        if (folder / file.name).exists():
            continue
        try:
            os.link(file.resolve(), folder / file.name)
        except FileExistsError:  # another worker of this sweep created it meanwhile
            continue
        except OSError:
            with artifacts.write_atomically(folder / file.name) as aside:
                shutil.copyfile(file, aside)


def write_denied_paths(folder: Path, lock: Lock, stores: list[Path]) -> None:
    """Write the list of paths that no trial may read: the project's data, the source's files, DVC's stores."""
    paths = [*map(Path, DENIED_PATHS), *stores]
    with suppress(Exception):  # a source that reads no files has none to deny
        paths += [Path(file) for file in targets.build_component(lock.data.source.model_dump(by_alias=True)).files()]
    artifacts.write_json(folder / process.DENIED_JSON, {"closed": sorted({str(path.resolve()) for path in paths})})


def remove_unused_folder(folder: Path) -> None:
    """Remove a sweep's folder if no trial was ever started in it."""
    if not (folder / record.TRIALS_FOLDER).exists():
        shutil.rmtree(folder, ignore_errors=True)


def prepare_trial(folder: Path, sweep_plan: plan.Plan, number: int, point: dict[str, str], owner: str) -> Path:
    """Create the folder of a trial with its lock and trial.json; files of an interrupted attempt are removed.

    Raises:
        MeritError: the point doesn't compose; trial.json then records the trial as failed.
    """
    trial_folder = record.locate_trial(folder, number)
    shutil.rmtree(trial_folder, ignore_errors=True)
    payload: dict[str, Any] = {"number": number, "overrides": point, "state": "running", "owner": owner}
    try:
        lock = sweep_plan.compose_lock(point)
    except MeritError as error:
        record.update_trial_json(trial_folder, **{**payload, "state": "failed", "error": process.format_error(error)})
        raise
    artifacts.write_text(trial_folder / artifacts.LOCK.name, _render_lock(lock))
    links = [name for name in (str(trusted_packages.PYPROJECT), *_list_trusted_files()) if Path(name).exists()]
    record.update_trial_json(
        trial_folder,
        **payload,
        accelerator=lock.trainer.accelerator,
        max_epochs=lock.trainer.max_epochs,
        memory_mb=sweep_plan.settings.memory_mb,
        project=str(Path().resolve()),
        links=links,
    )
    return trial_folder


def _render_lock(lock: Lock) -> str:
    from merit.config import lock as locks

    return locks.render_lock(lock)


def _list_trusted_files() -> list[str]:
    """Return the files and folders of trusted packages (pyproject.toml) that lie in the project's folder."""
    return [
        name
        for package in trusted_packages.list_trusted_packages()
        for name in (package, f"{package}.py")
        if Path(name).exists()
    ]
