"""The MLflow run behind a version: it holds the package, an MLmodel beside it, and the version's origin."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from merit import artifacts, git, safe_yaml
from merit.mlflow import model, provenance
from merit.registry import tags
from merit.registry.tags import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

NAME_TAG = "merit.version"
PACKAGE_TAG = "merit.package"
COMMAND = "merit registry rebuild"


def begin(client: "MlflowClient", experiment: str, version: Version) -> str:
    """Create a run for a version whose training run is not in this store; return its id."""
    lineage = version.lineage
    description, data = described(version)
    named = {
        **provenance.tags(lineage.commit, COMMAND, description),
        "mlflow.runName": version.name,
        NAME_TAG: version.name,
        "merit.commit": lineage.commit,
        "merit.data_sha256": lineage.data,
        "merit.data_fingerprint": lineage.data_fingerprint,
    }
    run_id = str(client.create_run(experiment, start_time=_moment(version), tags=named).info.run_id)
    client.log_inputs(run_id, data)
    return run_id


def fill(client: "MlflowClient", run_id: str, version: Version) -> None:
    """Upload a version's files, configuration and metrics to a run, and end the run."""
    from mlflow.entities import Metric

    with tempfile.TemporaryDirectory() as room:
        package = Path(room) / model.PACKAGE
        tags.fetch_package(version, package)  # puts the signature beside the package, so it is uploaded too
        model.write(package, package.parent, version=version.short_name, commit=version.commit)
        client.log_artifacts(run_id, room)
    client.log_text(run_id, git.show(version.commit, artifacts.LOCK) or "", artifacts.LOCK.name)
    values = version.lineage.metrics.items()
    # The version's own time as timestamp: logging the metrics again doesn't duplicate them.
    client.log_batch(run_id, metrics=[Metric(f"test_{n}", v, _moment(version), 0) for n, v in values])
    client.set_tag(run_id, PACKAGE_TAG, version.lineage.package)
    client.set_terminated(run_id, "FINISHED", end_time=_moment(version))


def name_origin(client: "MlflowClient", run_id: str, version: Version) -> None:
    """Set the version and commit that responses of the model in a run name."""
    origin = model.origin(version.short_name, version.commit)
    client.log_text(run_id, origin, f"{model.FOLDER}/{model.ORIGIN}")


def described(version: Version) -> tuple[str, list["DatasetInput"]]:
    """Return a version's description and data set from its params.yaml; only its name if that can't be read."""
    try:
        lock = safe_yaml.load(git.show(version.commit, artifacts.LOCK) or "")
        return provenance.description(lock, version=version.name), [provenance.dataset(lock)]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return version.name, []


def missing_files(client: "MlflowClient", run_id: str, version: Version) -> list[str]:
    """Return the files of a version's package that a run lacks or has with different content."""
    there = _sizes(client, run_id, model.PACKAGE)
    if model.MLMODEL not in _sizes(client, run_id, model.FOLDER):
        return [model.MLMODEL]
    files = tags.package_files(version)
    # Compare sizes first: a file that is missing or of another size needs no download.
    if lacking := [name for name, path in files.items() if there.get(name) != path.stat().st_size]:
        return lacking
    with tempfile.TemporaryDirectory() as room:
        # A store on the local disk returns the path of its own files and ignores the destination.
        place = Path(client.download_artifacts(run_id, model.PACKAGE, room))
        return [name for name, path in files.items() if artifacts.sha256(place / name) != artifacts.sha256(path)]


def _sizes(client: "MlflowClient", run_id: str, folder: str) -> dict[str, int | None]:
    """Return the size of each file in a folder of a run; empty if there is no such folder."""
    from mlflow.exceptions import MlflowException

    try:
        return {Path(each.path).name: each.file_size for each in client.list_artifacts(run_id, folder)}
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return {}


def _moment(version: Version) -> int:
    """Return when a version was tagged, in milliseconds since 1970."""
    return int(version.tagged_at.timestamp() * 1000)
