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
REBUILD_COMMAND = "merit registry rebuild"


def create_run(client: "MlflowClient", experiment: str, version: Version) -> str:
    """Create a run for a version whose training run is not in this store; return its id."""
    lineage = version.lineage
    description, datasets = describe_version(version)
    run_tags = {
        **provenance.build_tags(lineage.commit, REBUILD_COMMAND, description),
        "mlflow.runName": version.name,
        NAME_TAG: version.name,
        "merit.commit": lineage.commit,
        "merit.data_sha256": lineage.data,
        "merit.data_fingerprint": lineage.data_fingerprint,
    }
    run_id = str(client.create_run(experiment, start_time=_timestamp_ms(version), tags=run_tags).info.run_id)
    client.log_inputs(run_id, datasets)
    return run_id


def upload_version(client: "MlflowClient", run_id: str, version: Version) -> None:
    """Upload a version's files, configuration and metrics to a run, and end the run."""
    from mlflow.entities import Metric

    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / model.PACKAGE_PATH
        tags.fetch_package(version, package)  # puts the signature beside the package, so it is uploaded too
        model.write_model(package, package.parent, version=version.short_name, commit=version.commit)
        client.log_artifacts(run_id, scratch)
    client.log_text(run_id, git.read_file(version.commit, artifacts.LOCK) or "", artifacts.LOCK.name)
    values = version.lineage.metrics.items()
    # The version's own time as timestamp: logging the metrics again doesn't duplicate them.
    client.log_batch(run_id, metrics=[Metric(f"test_{n}", v, _timestamp_ms(version), 0) for n, v in values])
    client.set_tag(run_id, PACKAGE_TAG, version.lineage.package)
    client.set_terminated(run_id, "FINISHED", end_time=_timestamp_ms(version))


def set_origin(client: "MlflowClient", run_id: str, version: Version) -> None:
    """Set the version and commit that responses of the model in a run name."""
    origin = model.format_origin(version.short_name, version.commit)
    client.log_text(run_id, origin, f"{model.ARTIFACT_PATH}/{model.ORIGIN_FILE}")


def describe_version(version: Version) -> tuple[str, list["DatasetInput"]]:
    """Return a version's description and data set from its params.yaml; only its name if that can't be read."""
    try:
        lock = safe_yaml.load(git.read_file(version.commit, artifacts.LOCK) or "")
        return provenance.describe_run(lock, version=version.name), [provenance.build_dataset(lock)]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return version.name, []


def find_missing_files(client: "MlflowClient", run_id: str, version: Version) -> list[str]:
    """Return the files of a version's package that a run lacks or has with different content."""
    stored_sizes = _list_sizes(client, run_id, model.PACKAGE_PATH)
    if model.MLMODEL_FILE not in _list_sizes(client, run_id, model.ARTIFACT_PATH):
        return [model.MLMODEL_FILE]
    files = tags.find_package_files(version)
    # Compare sizes first: a file that is missing or of another size needs no download.
    if missing := [name for name, path in files.items() if stored_sizes.get(name) != path.stat().st_size]:
        return missing
    with tempfile.TemporaryDirectory() as scratch:
        # A store on the local disk returns the path of its own files and ignores the destination.
        download = Path(client.download_artifacts(run_id, model.PACKAGE_PATH, scratch))
        return [
            name for name, path in files.items() if artifacts.hash_file(download / name) != artifacts.hash_file(path)
        ]


def _list_sizes(client: "MlflowClient", run_id: str, folder: str) -> dict[str, int | None]:
    """Return the size of each file in a folder of a run; empty if there is no such folder."""
    from mlflow.exceptions import MlflowException

    try:
        return {Path(each.path).name: each.file_size for each in client.list_artifacts(run_id, folder)}
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        return {}


def _timestamp_ms(version: Version) -> int:
    """Return when a version was tagged, in milliseconds since 1970."""
    return int(version.tagged_at.timestamp() * 1000)
