"""Projects the versions in Git into MLflow: one model version each, with tags and files, and an alias per environment.

Git is the registry; MLflow is a copy that can be rebuilt from it at any time (`merit registry rebuild`).
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from merit.config.schema import Lock
from merit.errors import MeritError
from merit.mlflow import model, store
from merit.registry import mlflow_runs
from merit.registry.mlflow_runs import NAME_TAG, PACKAGE_TAG
from merit.registry.tags import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class MlflowVersion:
    """A model version as MLflow has it.

    Attributes:
        number: MLflow's own version number, which need not equal the number in Git.
        run_id: the MLflow run that holds its files.
        source: the artifact URI of the model folder in that run.
        tags: its tags; `merit.version` names the version in Git.
    """

    number: str
    run_id: str
    source: str
    tags: dict[str, str]

    @property
    def git_name(self) -> str | None:
        """The Git version that its tag names, such as `flights@v3`; None for a candidate."""
        return self.tags.get(NAME_TAG)


@dataclass(frozen=True)
class ProjectionDifference:
    """One difference between MLflow and Git.

    Attributes:
        what: the version or alias.
        found: what MLflow has.
        allowed: what Git says.
    """

    what: str
    found: str
    allowed: str

    def __str__(self) -> str:
        """Return the difference as one line."""
        return f"{self.what}: found {self.found}; Git says {self.allowed}"


class Projection:
    """Reads and writes a model's versions and aliases in one MLflow store.

    Args:
        lock: names the model and the store.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._uri = store.resolve_uri(lock.tracking)
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self._client: MlflowClient = store.open_store(lock.tracking)

    def list_versions(self) -> list[MlflowVersion]:
        """Return MLflow's versions of the model, ordered by number."""
        with store.convert_errors(self._uri):
            entities: list[Any] = []
            page_token: str | None = None
            while page_token != "":
                page = self._client.search_model_versions(f"name = '{self._lock.name}'", page_token=page_token)
                entities, page_token = [*entities, *page], page.token or ""
        mlflow_versions = [
            MlflowVersion(str(v.version), v.run_id or "", v.source or "", dict(v.tags)) for v in entities
        ]
        return sorted(mlflow_versions, key=lambda each: int(each.number))

    def get_aliases(self) -> dict[str, str]:
        """Return the MLflow version number of each alias."""
        from mlflow.exceptions import MlflowException

        with store.convert_errors(self._uri):
            try:
                aliases = self._client.get_registered_model(self._lock.name).aliases
                return {alias: str(number) for alias, number in aliases.items()}
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise

    def find_differences(
        self, version: Version, mlflow_versions: list[MlflowVersion]
    ) -> Iterator[ProjectionDifference]:
        """Yield each difference between a version in Git and its projection."""
        matches = [each for each in mlflow_versions if each.git_name == version.name]
        if not matches:
            yield ProjectionDifference(
                version.name, "nothing", f"a version with the package {version.lineage.package[:19]}"
            )
            return
        first, *others = matches
        for other in others:
            yield ProjectionDifference(version.name, f"MLflow's versions {first.number} and {other.number}", "one")
        expected_tags = build_tags(version)
        for key in sorted(key for key in expected_tags if first.tags.get(key) != expected_tags[key]):
            yield ProjectionDifference(
                f"{version.name} (MLflow's {first.number})", f"{key}={first.tags.get(key)}", str(expected_tags[key])
            )
        if missing := self._find_missing_files(first, version):
            yield ProjectionDifference(f"{version.name} (MLflow's {first.number})", "other files", ", ".join(missing))

    def project_version(self, version: Version, mlflow_versions: list[MlflowVersion]) -> str | None:
        """Create or update a version in MLflow; return a line about what was done, None if it was up to date.

        A version that `merit run` created from the same package is reused; otherwise a new one is created, with a run
        of its own.

        Raises:
            MeritError: the store can't be written to, or the package is neither in DVC's cache nor in its remote.
        """
        with store.convert_errors(self._uri):
            return self._synchronize(version, mlflow_versions)

    def _synchronize(self, version: Version, mlflow_versions: list[MlflowVersion]) -> str | None:
        expected_tags, digest = build_tags(version), version.lineage.package
        matches = [
            each for each in mlflow_versions if version.name == each.git_name or each.tags.get(PACKAGE_TAG) == digest
        ]
        matches.sort(key=lambda each: each.git_name != version.name)
        chosen = next((each for each in matches if not self._find_missing_files(each, version)), None)
        message = None
        if chosen is None and (chosen := self._upload_missing_files(matches, version)) is not None:
            message = f"{version.name}: MLflow's version {chosen.number} has its files again"
        if chosen is None:
            chosen = self._create_version(version)
            message = f"{version.name}: made as MLflow's version {chosen.number}"
        changed = {key: value for key, value in expected_tags.items() if chosen.tags.get(key) != value}
        for key, value in changed.items():
            self._client.set_model_version_tag(self._lock.name, chosen.number, key, value)
        if changed and message is None:
            message = f"{version.name}: MLflow's version {chosen.number} carries its tags"
        if message is not None:
            mlflow_runs.set_origin(self._client, chosen.run_id, version)  # a candidate's origin has no version
            self._client.update_model_version(self._lock.name, chosen.number, mlflow_runs.describe_version(version)[0])
        if message is not None or sum(each.git_name == version.name for each in matches) > 1:
            self._remove_duplicate_names(version, chosen)
        return message

    def _upload_missing_files(self, mlflow_versions: list[MlflowVersion], version: Version) -> MlflowVersion | None:
        """Upload the missing files to the run of a version; return that version, None if no run is suitable."""
        from mlflow.exceptions import MlflowException

        for each in mlflow_versions:
            try:
                run = self._client.get_run(each.run_id)
            except MlflowException:
                continue
            has_same_package = each.tags.get(PACKAGE_TAG) == version.lineage.package
            if has_same_package and each.source == f"{run.info.artifact_uri}/{model.ARTIFACT_PATH}":
                mlflow_runs.upload_version(self._client, each.run_id, version)
                return each
        return None

    def _remove_duplicate_names(self, version: Version, chosen: MlflowVersion) -> None:
        """Keep one MLflow version under a Git version's name: the first one with all its files.

        Two processes that project at the same time may each have created one.
        """
        matches = [each for each in self.list_versions() if each.git_name == version.name]
        if len(matches) == 1:
            return
        complete = [each for each in matches if not self._find_missing_files(each, version)]
        kept_number = complete[0].number if complete else chosen.number
        for each in matches:
            if each.number != kept_number:
                self.remove_name(each)

    def remove_name(self, mlflow_version: MlflowVersion) -> None:
        """Remove the Git version's name from an MLflow version; the MLflow version itself stays."""
        with store.convert_errors(self._uri):
            self._client.delete_model_version_tag(self._lock.name, mlflow_version.number, NAME_TAG)

    def set_alias(self, alias: str, number: str | None) -> None:
        """Set an alias to an MLflow version number, or delete it if `number` is None."""
        with store.convert_errors(self._uri):
            if number is None:
                self._client.delete_registered_model_alias(self._lock.name, alias)
            else:
                self._client.set_registered_model_alias(self._lock.name, alias, number)

    def _create_version(self, version: Version) -> MlflowVersion:
        self._ensure_model()
        run_id = self._find_or_create_run(version)
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{model.ARTIFACT_PATH}"
        created = self._client.create_model_version(self._lock.name, source, run_id, tags=build_tags(version))
        return MlflowVersion(str(created.version), run_id, source, build_tags(version))

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self._lock.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _find_or_create_run(self, version: Version) -> str:
        """Return a run that holds the version's files: the training run if it still has them, else a run of its own."""
        experiment = store.find_or_create_experiment(self._client, self._lock.tracking)
        existing = self._client.search_runs([experiment], f"tags.`{PACKAGE_TAG}` = '{version.lineage.package}'")
        for run in existing:
            if not mlflow_runs.find_missing_files(self._client, run.info.run_id, version):
                return str(run.info.run_id)
        started = self._client.search_runs([experiment], f"tags.`{NAME_TAG}` = '{version.name}'", max_results=1)
        run_id = str(started[0].info.run_id) if started else mlflow_runs.create_run(self._client, experiment, version)
        mlflow_runs.upload_version(self._client, run_id, version)
        return run_id

    def _find_missing_files(self, mlflow_version: MlflowVersion, version: Version) -> list[str]:
        """Return the package files that an MLflow version lacks or has with different content."""
        if not mlflow_version.source.endswith(f"/{model.ARTIFACT_PATH}"):
            return [mlflow_version.source or "no source"]
        return mlflow_runs.find_missing_files(self._client, mlflow_version.run_id, version)


def build_tags(version: Version) -> dict[str, str]:
    """Return the tags that a version has in MLflow, computed from Git."""
    lineage = version.lineage
    bundle = lineage.signature
    return {
        NAME_TAG: version.name,
        PACKAGE_TAG: lineage.package,
        "merit.commit": lineage.commit,
        "merit.dvc": lineage.dvc,
        "merit.params_sha256": lineage.params,
        "merit.data_sha256": lineage.data,
        "merit.data_fingerprint": lineage.data_fingerprint,
        "merit.verdict": lineage.verdict,
        "merit.checks": str(lineage.checks),
        "merit.waived": ", ".join(lineage.waived) or "none",
        "merit.signature": "none" if bundle is None else "sha256:" + hashlib.sha256(bundle.encode()).hexdigest(),
    }


def project_to_mlflow(lock: Lock, version: Version) -> str | None:
    """Project a newly registered version into MLflow; return what was done, None if runs are not kept in MLflow.

    Raises:
        MeritError: the store can't be reached; the version in Git remains valid.
    """
    if not store.has_registry(lock.tracking):
        return None
    try:
        projection = Projection(lock)
        return projection.project_version(version, projection.list_versions())
    except MeritError as error:
        raise MeritError(f"{version.name} is in Git but not in MLflow: {error}; then 'merit register' again") from error
