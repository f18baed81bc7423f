"""The Weights & Biases tracking backend, by default offline: files in wandb/, which `wandb sync` uploads.

An offline run can't be queried, nor extended after its end. So a note in `.merit/` records which run trained which
weights, and the package's digest and test metrics are logged as another run in the training's group.
"""

import importlib.util
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock, Tracking
from merit.console.findings import Finding
from merit.console.masking import mask_secrets
from merit.errors import MeritError
from merit.tracking import run_facts

if TYPE_CHECKING:
    import wandb

NAME = "wandb"
KEYS = ("mode",)
WANDB_FOLDER = Path("wandb")
NOTES_FOLDER = Path(".merit/wandb")


class WandbRun:
    """A training run.

    Args:
        lock: the configuration.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._run = _start_run(lock, "train")
        self.id = str(self._run.id)

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Log an epoch's metrics; W&B's own process writes or sends them."""
        self._run.log(metrics, step=int(metrics["epoch"]))

    def end(self, status: str) -> None:
        """Log the status, and for a finished run the weights' hash; then close the run."""
        self._run.summary["status"] = status
        if status == "FINISHED":
            weights = artifacts.hash_file(artifacts.WEIGHTS)
            self._run.summary["weights_sha256"] = weights
            artifacts.write_json(_locate_note(self._lock, weights), {"run": self.id})
        _finish_run(self._run, failed=status != "FINISHED")


def start_run(lock: Lock) -> WandbRun:
    """Start a run."""
    return WandbRun(lock)


def complete_run(lock: Lock) -> str:
    """Log the current package, and its training if that is missing in W&B; return the training run's id."""
    weights = artifacts.hash_file(artifacts.require_path(artifacts.WEIGHTS, "train"))
    digest, note = artifacts.hash_package(artifacts.PACKAGE), _locate_note(lock, weights)
    stored = artifacts.read_json(note, "run") if note.is_file() else {"run": _restore_run(lock)}
    if stored.get("package") != digest:
        run = _start_run(lock, "package", group=stored["run"])
        run.summary.update({"package": digest, "weights_sha256": weights, **run_facts.read_test_metrics()})
        _finish_run(run)
        artifacts.write_json(note, {**stored, "package": digest})
    return str(stored["run"])


def _restore_run(lock: Lock) -> str:
    run = WandbRun(lock)
    for epoch in run_facts.read_epochs():
        run.log_epoch(epoch)
    run.end("FINISHED")
    return run.id


def read_tags(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return nothing: machines are not reported to W&B."""
    return {}


def check_server(tracking: Tracking) -> None:
    """Check nothing: runs are local, or W&B's own client says what is wrong."""


def diagnose_store(tracking: Tracking) -> Finding:
    """Return whether the client library and the key are here."""
    if importlib.util.find_spec("wandb") is None:
        return Finding("tracking", "missing", "wandb is not installed", "'pip install merit-ml[wandb]'")
    if tracking.mode == "online" and not os.environ.get("WANDB_API_KEY"):
        return Finding("tracking", "missing", "WANDB_API_KEY is not set", "set it, or choose tracking.mode=offline")
    return Finding("tracking", "ok", f"Weights & Biases, {tracking.mode}")


def describe_location(tracking: Tracking) -> str:
    """Return the mode and the project."""
    return f"{NAME}:{tracking.mode}:{tracking.experiment}"


def find_local_path(tracking: Tracking) -> Path | None:
    """Return the folder of offline runs; None if they are online."""
    return WANDB_FOLDER if tracking.mode == "offline" else None


def start_sweep(lock: Lock, name: str, run_inputs: dict[str, str]) -> str:
    """Return the sweep's name: W&B has no child runs, so a sweep is a group of runs."""
    _import_wandb()
    return name


def log_trial(trial: run_facts.LoggedTrial, run_inputs: dict[str, str]) -> str:
    """Log a trial as a run in its sweep's group; return its id."""
    run = _start_run(trial.lock, "trial", group=trial.sweep, name=trial.name, run_inputs={**run_inputs, **trial.tags})
    for epoch in trial.epochs:
        run.log(epoch, step=int(epoch["epoch"]))
    run.summary.update({"status": trial.status, "trial": trial.number, **trial.best_metrics})
    if trial.weights_sha256:
        run.summary["weights_sha256"] = trial.weights_sha256
        artifacts.write_json(_locate_note(trial.lock, trial.weights_sha256), {"run": str(run.id)})
    _finish_run(run, failed=trial.status != "FINISHED")
    return str(run.id)


def end_sweep(lock: Lock, run: str, status: str) -> None:
    """Do nothing: a group has no status of its own."""


def _locate_note(lock: Lock, weights: str) -> Path:
    """Return the path of the note that holds the run of some weights; each mode and experiment has its own notes."""
    return NOTES_FOLDER / str(lock.tracking.mode) / lock.tracking.experiment / f"{weights}.json"


def _start_run(
    lock: Lock,
    job_type: str,
    group: str | None = None,
    name: str | None = None,
    run_inputs: dict[str, str] | None = None,
) -> "wandb.Run":
    run_inputs = run_inputs or run_facts.collect_provenance(lock)
    library = _import_wandb()
    run_id = secrets.token_hex(4)
    with _convert_errors(library, lock.tracking.mode):
        run: wandb.Run = library.init(
            project=lock.tracking.experiment,
            id=run_id,
            name=name or run_facts.build_run_name(lock),
            group=group or run_id,
            job_type=job_type,
            mode=lock.tracking.mode,
            config={**run_inputs, **run_facts.collect_parameters(lock)},
            settings=library.Settings(
                silent=True,
                console="off",  # console output may hold secrets
                disable_code=True,
                disable_git=True,
                x_disable_meta=True,  # no user and machine names
                x_disable_stats=True,
            ),
        )
        folder = Path(run.dir)
        (folder / artifacts.LOCK.name).write_text(locks.render_lock(lock), encoding="utf-8")
        if run_facts.REQUIREMENTS_LOCK.is_file():
            (folder / run_facts.REQUIREMENTS_LOCK.name).write_bytes(run_facts.REQUIREMENTS_LOCK.read_bytes())
        run.save(str(folder / "*.*"), base_path=str(folder), policy="now")
    return run


def _import_wandb() -> Any:
    # W&B would send its own errors to its vendor.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise MeritError("tracking.to: found 'wandb', which is not installed; 'pip install merit-ml[wandb]'") from error
    return wandb


@contextmanager
def _convert_errors(library: Any, mode: str | None) -> Iterator[None]:
    """Turn errors of W&B into one line.

    Raises:
        MeritError: W&B can't be used; the message says why, and what to do.
    """
    try:
        yield
    except library.Error as error:
        reason = mask_secrets(" ".join(str(error).split())[:300])
        raise MeritError(
            f"tracking.mode '{mode}': W&B can't be used ({reason}); set WANDB_API_KEY, or choose tracking.mode=offline"
        ) from error


def _finish_run(run: "wandb.Run", *, failed: bool = False) -> None:
    run.finish(exit_code=int(failed))
    _import_wandb().teardown()  # else its process may still print after this one has ended
