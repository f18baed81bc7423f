"""Registers the package of `merit run` as a candidate version in MLflow, with its lineage, once."""

from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from merit import artifacts, git
from merit.config.schema import Lock
from merit.errors import Refused
from merit.mlflow import model, provenance, store

PACKAGE_TAG = "merit.package"


def register_candidate(lock: Lock, run_id: str, report: dict[str, Any]) -> str:
    """Return the MLflow version number of the current package, created if it has none.

    Args:
        lock: the configuration.
        run_id: the MLflow run that trained the package.
        report: the gate's report on the package.

    Raises:
        Refused: the gate did not pass this package.
    """
    digest = artifacts.hash_package(artifacts.PACKAGE)
    if report["verdict"] != "pass" or report["candidate"]["digest"] != digest:
        raise Refused("register: the gate does not pass this package; read reports/gate.md")
    client = store.open_store(lock.tracking)
    with store.convert_errors(store.resolve_uri(lock.tracking)):
        return _find_or_create(client, lock, run_id, digest)


def _find_or_create(client: MlflowClient, lock: Lock, run_id: str, digest: str) -> str:
    _ensure_model(client, lock.name)
    existing = [v for v in client.search_model_versions(f"name = '{lock.name}'") if v.tags.get(PACKAGE_TAG) == digest]
    if existing:
        return str(min(int(version.version) for version in existing))
    source = f"{client.get_run(run_id).info.artifact_uri}/{model.ARTIFACT_PATH}"
    description = provenance.describe_run(lock.model_dump(mode="json", by_alias=True))
    created = client.create_model_version(lock.name, source, run_id, _build_tags(lock, digest), description=description)
    return str(created.version)


def _ensure_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _build_tags(lock: Lock, digest: str) -> dict[str, str]:
    manifest = artifacts.read_json(artifacts.PACKAGE / artifacts.MANIFEST, "package")
    return {
        PACKAGE_TAG: digest,
        "merit.commit": git.get_head() or "none yet",
        "merit.params_sha256": manifest["params_sha256"],
        "merit.data_sha256": manifest["data_sha256"],
        "merit.data_fingerprint": lock.data.fingerprint,
        "merit.verdict": "pass",
    }
