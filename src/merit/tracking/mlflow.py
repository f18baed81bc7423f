"""Runs in MLflow: each training, from its first epoch to its package, whatever becomes of it."""

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
        """Send an epoch's metrics in one call; what can't be sent now goes with the next."""
        self._pending += _metrics(metrics, step=int(metrics["epoch"]))
        try:
            self._client.log_batch(self.id, metrics=self._pending)
        except MlflowException:
            return
        self._pending = []

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; weights are a finished run's name for what comes after it.

        Raises:
            MeritError: the store does not take it.
        """
        try:
            self._client.log_batch(self.id, metrics=self._pending)
            if status == "FINISHED":
                self._client.set_tag(self.id, WEIGHTS_TAG, artifacts.sha256(artifacts.WEIGHTS))
            self._client.set_terminated(self.id, status)
        except MlflowException as fault:
            raise MeritError(f"tracking: the run could not be kept ({fault}); see conf/tracking") from fault


def begin(lock: Lock) -> Run:
    """Begin a run."""
    return Run(lock)


def tags_of(tracking: Tracking, weights: str) -> dict[str, str]:
    """Return what is known of the training that made weights of this SHA-256, without `merit.`; empty if nothing is.

    Raises:
        MeritError: the store can't be asked.
    """
    client = store.open_store(tracking)
    with store.faults(store.uri_of(tracking)):
        experiment = store.experiment(client, tracking)
        found = client.search_runs([experiment], f"tags.`{WEIGHTS_TAG}` = '{weights}'", max_results=1)
    tags = found[0].data.tags if found else {}
    return {name.removeprefix("merit."): value for name, value in tags.items() if name.startswith("merit.")}


def record(lock: Lock) -> str:
    """See that the run behind the current package holds all that is known of it; return its id.

    Finds the run by its weights. Where there is none, for the training came out of DVC's cache or the store was
    emptied, it is written again from the files.
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
    """Return the id of the sweep's own run, below which MLflow shows its trials."""
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
    """Keep a trial as a run below its sweep's; the same again where it is kept already, or was begun to be.

    Another worker of the sweep may keep it at the same time: both then write the same into one run.
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
            if known.info.status != "RUNNING":  # told already, by a sweep that was killed before it could note so
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
    """Begin a run that already says what it is made of: parameters, the whole lock, commit, data, environment."""
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
    """Say what a run is made of: its parameters, the whole lock and the environment."""
    named = {_allowed(name): str(value)[:LONGEST_PARAM] for name, value in run_facts.parameters(lock).items()}
    params = [Param(name, value) for name, value in named.items()]
    for start_at in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start_at : start_at + 100])
    client.log_text(run_id, locks.render(lock), artifacts.LOCK.name)
    if run_facts.ENVIRONMENT.is_file():
        client.log_artifact(run_id, str(run_facts.ENVIRONMENT))


def _allowed(name: str) -> str:
    """Return a name that MLflow takes: a column may be called anything, and the whole lock is kept beside it."""
    return re.sub(r"[^\w.: -]", "_", name)[:LONGEST_NAME]


def _metrics(values: dict[str, float], step: int, at: float | None = None) -> list[Metric]:
    """Return metrics as of a moment, in seconds since 1970; None: now."""
    moment = int((time.time() if at is None else at) * 1000)
    return [Metric(name, value, moment, step) for name, value in values.items() if name != "epoch"]
