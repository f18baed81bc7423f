"""The MLflow tracking backend: logs each training from its first epoch to its package, also if it fails."""

import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from merit import artifacts, git
from merit.config import lock as locks
from merit.config.schema import Lock, Tracking
from merit.errors import MeritError
from merit.mlflow import model, provenance, store
from merit.mlflow.diagnosis import diagnose_store  # noqa: F401  # called by the name of this extension
from merit.mlflow.store import check_server  # noqa: F401  # called by the name of this extension
from merit.registry import tags as version_tags
from merit.tracking import run_facts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

NAME = "mlflow"
KEYS = ("uri",)
HAS_REGISTRY = True
MAX_PARAM_CHARS = 250
MAX_NAME_CHARS = 250
MAX_METRICS_PER_CALL = 500
WEIGHTS_TAG = "merit.weights_sha256"
PACKAGE_TAG = "merit.package"
SWEEP_TAG, TRIAL_TAG = "merit.sweep", "merit.trial"
SWEEP_ENTRY_POINT = "merit train -m"


class MlflowRun:
    """A training run, from its first epoch to its end.

    Args:
        lock: the configuration.
    """

    def __init__(self, lock: Lock) -> None:
        self._client = store.open_store(lock.tracking)
        with store.convert_errors(store.resolve_uri(lock.tracking)):
            self.id = _create_run(self._client, lock, run_facts.collect_provenance(lock) | run_facts.describe_machine())
        self._pending: list[Metric] = []

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Send an epoch's metrics in one call; metrics that can't be sent are sent again with the next epoch."""
        from mlflow.exceptions import MlflowException

        self._pending += _build_metrics(metrics, step=int(metrics["epoch"]))
        try:
            self._client.log_batch(self.id, metrics=self._pending)
        except MlflowException:
            return
        self._pending = []

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; a finished run is tagged with its weights' hash, which finds it.

        Raises:
            MeritError: the store rejects it.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._client.log_batch(self.id, metrics=self._pending)
            if status == "FINISHED":
                self._client.set_tag(self.id, WEIGHTS_TAG, artifacts.hash_file(artifacts.WEIGHTS))
            self._client.set_terminated(self.id, status)
        except MlflowException as fault:
            raise MeritError(f"tracking: the run could not be kept ({fault}); see conf/tracking") from fault


def start_run(lock: Lock) -> MlflowRun:
    """Start a run."""
    return MlflowRun(lock)


def read_tags(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return the `merit.` tags, without that prefix, of the run whose weights have this SHA-256; empty if none has.

    Raises:
        MeritError: the store can't be queried.
    """
    client = store.open_store(tracking)
    with store.convert_errors(store.resolve_uri(tracking)):
        experiment = store.find_or_create_experiment(client, tracking)
        matches = client.search_runs([experiment], f"tags.`{WEIGHTS_TAG}` = '{weights}'", max_results=1)
    tags = matches[0].data.tags if matches else {}
    return {name.removeprefix("merit."): value for name, value in tags.items() if name.startswith("merit.")}


def describe_location(tracking: Tracking) -> str:
    """Return the URI of the store."""
    return store.resolve_uri(tracking)


def find_local_path(tracking: Tracking) -> Path | None:
    """Return the SQLite file of the store; None if a server holds the runs."""
    return store.get_sqlite_file(store.resolve_uri(tracking))


def complete_run(lock: Lock) -> str:
    """Complete the run of the current package with the package, its test metrics and reports; return the run's id.

    The run is found by the hash of its weights. If there is none, because the training came from DVC's cache or the
    store was emptied, the run is restored from the files.
    """
    client = store.open_store(lock.tracking)
    with store.convert_errors(store.resolve_uri(lock.tracking)):
        return _complete_run(client, lock)


def _complete_run(client: "MlflowClient", lock: Lock) -> str:
    digest = artifacts.hash_package(artifacts.PACKAGE)
    run_id = _find_run(client, lock) or _restore_run(client, lock)
    if client.get_run(run_id).data.tags.get(PACKAGE_TAG) == digest:
        return run_id
    client.log_batch(run_id, metrics=_build_metrics(run_facts.read_test_metrics(), step=0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / model.ARTIFACT_PATH
        model.write_model(artifacts.PACKAGE, folder, version=None, commit=version_tags.find_origin(artifacts.PACKAGE))
        client.log_artifacts(run_id, scratch)
    client.log_artifacts(run_id, str(artifacts.PLOTS), "plots")
    for report in (artifacts.METRICS, artifacts.DATA_REPORT, artifacts.HISTORY):
        client.log_artifact(run_id, str(report), "reports")
    client.set_tag(run_id, PACKAGE_TAG, digest)
    return run_id


def _find_run(client: "MlflowClient", lock: Lock) -> str | None:
    experiment = store.find_or_create_experiment(client, lock.tracking)
    weights = artifacts.hash_file(artifacts.require_path(artifacts.WEIGHTS, "train"))
    matches = client.search_runs([experiment], f"tags.`{WEIGHTS_TAG}` = '{weights}'", max_results=1)
    return str(matches[0].info.run_id) if matches else None


def _restore_run(client: "MlflowClient", lock: Lock) -> str:
    run_id = _create_run(client, lock)
    for epoch in run_facts.read_epochs():
        client.log_batch(run_id, metrics=_build_metrics(epoch, step=int(epoch["epoch"])))
    client.set_tag(run_id, WEIGHTS_TAG, artifacts.hash_file(artifacts.WEIGHTS))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def start_sweep(lock: Lock, name: str, run_inputs: dict[str, str]) -> str:
    """Start or reopen the sweep's own run, under which MLflow shows its trials; return its id."""
    client = store.open_store(lock.tracking)
    with store.convert_errors(store.resolve_uri(lock.tracking)):
        experiment = store.find_or_create_experiment(client, lock.tracking)
        query = f"tags.`{SWEEP_TAG}` = '{name}' AND tags.`mlflow.runName` = '{name}'"
        if matches := client.search_runs([experiment], query, max_results=1):
            client.update_run(matches[0].info.run_id, status="RUNNING")
            return str(matches[0].info.run_id)
        tags = {"mlflow.runName": name, SWEEP_TAG: name}
        return _create_run(client, lock, run_inputs, tags, entry_point=SWEEP_ENTRY_POINT)


def log_trial(trial: run_facts.LoggedTrial, run_inputs: dict[str, str]) -> str:
    """Log a trial as a child of its sweep's run; return its id.

    A run that exists already is returned, or completed if it is still RUNNING. Another worker of the sweep may log the
    trial at the same time: both then write the same values into one run.
    """
    client = store.open_store(trial.lock.tracking)
    tags = {
        "mlflow.runName": trial.name,
        "mlflow.parentRunId": trial.parent_run,
        SWEEP_TAG: trial.sweep,
        TRIAL_TAG: str(trial.number),
        **{f"{TRIAL_TAG}.{_sanitize_name(key)}": value for key, value in trial.tags.items()},
        **({WEIGHTS_TAG: trial.weights_sha256} if trial.weights_sha256 else {}),
    }
    with store.convert_errors(store.resolve_uri(trial.lock.tracking)):
        experiment = store.find_or_create_experiment(client, trial.lock.tracking)
        query = f"tags.`mlflow.parentRunId` = '{trial.parent_run}' AND tags.`{TRIAL_TAG}` = '{trial.number}'"
        existing = next(iter(client.search_runs([experiment], query)), None)
        if existing is None:
            run_id = _create_run(
                client, trial.lock, run_inputs, tags, started=trial.started, entry_point=SWEEP_ENTRY_POINT
            )
        else:
            run_id = str(existing.info.run_id)
            if existing.info.status != "RUNNING":  # logged already, by a sweep that was killed before it recorded that
                return run_id
            _log_inputs(client, run_id, trial.lock)
        metrics = [
            metric for epoch in trial.epochs for metric in _build_metrics(epoch, int(epoch["epoch"]), trial.ended)
        ]
        metrics += _build_metrics(trial.best_metrics, 0, trial.ended)
        for start in range(0, len(metrics), MAX_METRICS_PER_CALL):
            client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS_PER_CALL])
        client.set_terminated(run_id, trial.status, end_time=int(trial.ended * 1000))
    return run_id


def end_sweep(lock: Lock, run: str, status: str) -> None:
    """End the sweep's own run."""
    with store.convert_errors(store.resolve_uri(lock.tracking)):
        store.open_store(lock.tracking).set_terminated(run, status)


def _create_run(
    client: "MlflowClient",
    lock: Lock,
    run_inputs: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    *,
    started: float | None = None,
    entry_point: str = "merit train",
) -> str:
    """Create a run, and log its inputs: parameters, the complete lock, commit, data hash and environment."""
    run_inputs = run_inputs or run_facts.collect_provenance(lock)
    values = lock.model_dump(mode="json", by_alias=True)
    all_tags = {
        "mlflow.runName": run_facts.build_run_name(lock),
        **provenance.build_tags(git.get_head(), entry_point, provenance.describe_run(values)),
        **{f"merit.{name}": value for name, value in run_inputs.items()},
        **(tags or {}),
    }
    start = None if started is None else int(started * 1000)
    run = client.create_run(store.find_or_create_experiment(client, lock.tracking), start_time=start, tags=all_tags)
    run_id = str(run.info.run_id)
    client.log_inputs(run_id, [provenance.build_dataset(values)])
    _log_inputs(client, run_id, lock)
    return run_id


def _log_inputs(client: "MlflowClient", run_id: str, lock: Lock) -> None:
    """Log a run's parameters, its complete lock and requirements.lock."""
    from mlflow.entities import Param

    texts = {
        _sanitize_name(name): str(value)[:MAX_PARAM_CHARS] for name, value in run_facts.collect_parameters(lock).items()
    }
    params = [Param(name, value) for name, value in texts.items()]
    for start_at in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start_at : start_at + 100])
    client.log_text(run_id, locks.render_lock(lock), artifacts.LOCK.name)
    if run_facts.REQUIREMENTS_LOCK.is_file():
        client.log_artifact(run_id, str(run_facts.REQUIREMENTS_LOCK))


def _sanitize_name(name: str) -> str:
    """Return a name that MLflow accepts: columns may have any name, and the complete lock is logged too."""
    return re.sub(r"[^\w.: -]", "_", name)[:MAX_NAME_CHARS]


def _build_metrics(values: dict[str, float], step: int, timestamp: float | None = None) -> "list[Metric]":
    """Return MLflow's metrics with the time `timestamp`, in seconds since 1970; None is now."""
    from mlflow.entities import Metric

    milliseconds = int((time.time() if timestamp is None else timestamp) * 1000)
    return [Metric(name, value, milliseconds, step) for name, value in values.items() if name != "epoch"]
