"""The MLflow tracking backend: logs each training from its first epoch to its package, also if it fails."""

import re
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from merit import artifacts, git
from merit.config import lock as locks
from merit.config.schema import Lock, Tracking
from merit.errors import MeritError
from merit.mlflow import model, provenance, store
from merit.registry import tags as versions
from merit.tracking import run_facts

LONGEST_PARAM = 250
LONGEST_NAME = 250
MOST_METRICS = 500
WEIGHTS_TAG = "merit.weights_sha256"
PACKAGE_TAG = "merit.package"
SWEEP_TAG, TRIAL_TAG = "merit.sweep", "merit.trial"
SWEEP = "merit train -m"


class Run:
    """A training run, from its first epoch to its end.

    Args:
        lock: the configuration.
    """

    def __init__(self, lock: Lock) -> None:
        self._client = store.open_store(lock.tracking)
        with store.faults(store.uri_of(lock.tracking)):
            self.id = _create(self._client, lock, run_facts.made_of(lock) | run_facts.machine())
        self._pending: list[Metric] = []

    def log_epoch(self, metrics: dict[str, float]) -> None:
        """Send an epoch's metrics in one call; metrics that can't be sent are sent again with the next epoch."""
        self._pending += _metrics(metrics, step=int(metrics["epoch"]))
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
        try:
            self._client.log_batch(self.id, metrics=self._pending)
            if status == "FINISHED":
                self._client.set_tag(self.id, WEIGHTS_TAG, artifacts.sha256(artifacts.WEIGHTS))
            self._client.set_terminated(self.id, status)
        except MlflowException as fault:
            raise MeritError(f"tracking: the run could not be kept ({fault}); see conf/tracking") from fault


def begin(lock: Lock) -> Run:
    """Start a run."""
    return Run(lock)


def tags_of(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return the `merit.` tags, without that prefix, of the run whose weights have this SHA-256; empty if none has.

    Raises:
        MeritError: the store can't be queried.
    """
    client = store.open_store(tracking)
    with store.faults(store.uri_of(tracking)):
        experiment = store.experiment(client, tracking)
        found = client.search_runs([experiment], f"tags.`{WEIGHTS_TAG}` = '{weights}'", max_results=1)
    tags = found[0].data.tags if found else {}
    return {name.removeprefix("merit."): value for name, value in tags.items() if name.startswith("merit.")}


def record(lock: Lock) -> str:
    """Complete the run of the current package with the package, its test metrics and reports; return the run's id.

    The run is found by the hash of its weights. If there is none, because the training came from DVC's cache or the
    store was emptied, the run is restored from the files.
    """
    client = store.open_store(lock.tracking)
    with store.faults(store.uri_of(lock.tracking)):
        return _recorded(client, lock)


def _recorded(client: MlflowClient, lock: Lock) -> str:
    digest = artifacts.package_digest(artifacts.PACKAGE)
    run_id = _find(client, lock) or _restored(client, lock)
    if client.get_run(run_id).data.tags.get(PACKAGE_TAG) == digest:
        return run_id
    client.log_batch(run_id, metrics=_metrics(run_facts.results(), step=0))
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / model.FOLDER
        model.write(artifacts.PACKAGE, folder, version=None, commit=versions.origin(artifacts.PACKAGE))
        client.log_artifacts(run_id, room)
    client.log_artifacts(run_id, str(artifacts.PLOTS), "plots")
    for report in (artifacts.METRICS, artifacts.DATA_REPORT, artifacts.HISTORY):
        client.log_artifact(run_id, str(report), "reports")
    client.set_tag(run_id, PACKAGE_TAG, digest)
    return run_id


def _find(client: MlflowClient, lock: Lock) -> str | None:
    experiment = store.experiment(client, lock.tracking)
    weights = artifacts.sha256(artifacts.require(artifacts.WEIGHTS, "train"))
    found = client.search_runs([experiment], f"tags.`{WEIGHTS_TAG}` = '{weights}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _restored(client: MlflowClient, lock: Lock) -> str:
    run_id = _create(client, lock)
    for epoch in run_facts.epochs():
        client.log_batch(run_id, metrics=_metrics(epoch, step=int(epoch["epoch"])))
    client.set_tag(run_id, WEIGHTS_TAG, artifacts.sha256(artifacts.WEIGHTS))
    client.set_terminated(run_id, "FINISHED")
    return run_id


def begin_sweep(lock: Lock, name: str, about: dict[str, str]) -> str:
    """Start or reopen the sweep's own run, under which MLflow shows its trials; return its id."""
    client = store.open_store(lock.tracking)
    with store.faults(store.uri_of(lock.tracking)):
        where = store.experiment(client, lock.tracking)
        asked = f"tags.`{SWEEP_TAG}` = '{name}' AND tags.`mlflow.runName` = '{name}'"
        if found := client.search_runs([where], asked, max_results=1):
            client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        tags = {"mlflow.runName": name, SWEEP_TAG: name}
        return _create(client, lock, about, tags, entry_point=SWEEP)


def keep_trial(trial: run_facts.Trial, about: dict[str, str]) -> str:
    """Log a trial as a child of its sweep's run; return its id.

    A run that exists already is returned, or completed if it is still RUNNING. Another worker of the sweep may log the
    trial at the same time: both then write the same values into one run.
    """
    client = store.open_store(trial.lock.tracking)
    tags = {
        "mlflow.runName": trial.name,
        "mlflow.parentRunId": trial.parent,
        SWEEP_TAG: trial.sweep,
        TRIAL_TAG: str(trial.number),
        **{f"{TRIAL_TAG}.{_allowed(key)}": value for key, value in trial.about.items()},
        **({WEIGHTS_TAG: trial.weights} if trial.weights else {}),
    }
    with store.faults(store.uri_of(trial.lock.tracking)):
        where = store.experiment(client, trial.lock.tracking)
        asked = f"tags.`mlflow.parentRunId` = '{trial.parent}' AND tags.`{TRIAL_TAG}` = '{trial.number}'"
        known = next(iter(client.search_runs([where], asked)), None)
        if known is None:
            run_id = _create(client, trial.lock, about, tags, began=trial.began, entry_point=SWEEP)
        else:
            run_id = str(known.info.run_id)
            if known.info.status != "RUNNING":  # logged already, by a sweep that was killed before it recorded that
                return run_id
            _describe(client, run_id, trial.lock)
        metrics = [metric for epoch in trial.epochs for metric in _metrics(epoch, int(epoch["epoch"]), trial.ended)]
        metrics += _metrics(trial.best, 0, trial.ended)
        for start in range(0, len(metrics), MOST_METRICS):
            client.log_batch(run_id, metrics=metrics[start : start + MOST_METRICS])
        client.set_terminated(run_id, trial.status, end_time=int(trial.ended * 1000))
    return run_id


def end_sweep(lock: Lock, run: str, status: str) -> None:
    """End the sweep's own run."""
    with store.faults(store.uri_of(lock.tracking)):
        store.open_store(lock.tracking).set_terminated(run, status)


def _create(
    client: MlflowClient,
    lock: Lock,
    about: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    *,
    began: float | None = None,
    entry_point: str = "merit train",
) -> str:
    """Create a run, and log its inputs: parameters, the complete lock, commit, data hash and environment."""
    about = about or run_facts.made_of(lock)
    values = lock.model_dump(mode="json", by_alias=True)
    whole = {
        "mlflow.runName": run_facts.name(lock),
        **provenance.tags(git.head(), entry_point, provenance.description(values)),
        **{f"merit.{name}": value for name, value in about.items()},
        **(tags or {}),
    }
    start = None if began is None else int(began * 1000)
    run = client.create_run(store.experiment(client, lock.tracking), start_time=start, tags=whole)
    run_id = str(run.info.run_id)
    client.log_inputs(run_id, [provenance.dataset(values)])
    _describe(client, run_id, lock)
    return run_id


def _describe(client: MlflowClient, run_id: str, lock: Lock) -> None:
    """Log a run's parameters, its complete lock and requirements.lock."""
    named = {_allowed(name): str(value)[:LONGEST_PARAM] for name, value in run_facts.parameters(lock).items()}
    params = [Param(name, value) for name, value in named.items()]
    for start_at in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start_at : start_at + 100])
    client.log_text(run_id, locks.render(lock), artifacts.LOCK.name)
    if run_facts.ENVIRONMENT.is_file():
        client.log_artifact(run_id, str(run_facts.ENVIRONMENT))


def _allowed(name: str) -> str:
    """Return a name that MLflow accepts: columns may have any name, and the complete lock is logged too."""
    return re.sub(r"[^\w.: -]", "_", name)[:LONGEST_NAME]


def _metrics(values: dict[str, float], step: int, at: float | None = None) -> list[Metric]:
    """Return MLflow's metrics with the timestamp `at`, in seconds since 1970; None is now."""
    moment = int((time.time() if at is None else at) * 1000)
    return [Metric(name, value, moment, step) for name, value in values.items() if name != "epoch"]
