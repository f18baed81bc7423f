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
class Shown:
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
    def name(self) -> str | None:
        """The Git version that its tag names, such as `flights@v3`; None for a candidate."""
        return self.tags.get(NAME_TAG)


@dataclass(frozen=True)
class Fault:
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
        self._uri = store.uri_of(lock.tracking)
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self._client: MlflowClient = store.open_store(lock.tracking)

    def shown(self) -> list[Shown]:
        """Return MLflow's versions of the model, ordered by number."""
        with store.faults(self._uri):
            found: list[Any] = []
            token: str | None = None
            while token != "":
                page = self._client.search_model_versions(f"name = '{self._lock.name}'", page_token=token)
                found, token = [*found, *page], page.token or ""
        made = [Shown(str(v.version), v.run_id or "", v.source or "", dict(v.tags)) for v in found]
        return sorted(made, key=lambda each: int(each.number))

    def aliases(self) -> dict[str, str]:
        """Return the MLflow version number of each alias."""
        from mlflow.exceptions import MlflowException

        with store.faults(self._uri):
            try:
                found = self._client.get_registered_model(self._lock.name).aliases
                return {alias: str(number) for alias, number in found.items()}
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise

    def faults(self, version: Version, shown: list[Shown]) -> Iterator[Fault]:
        """Yield each difference between a version in Git and its projection."""
        bearers = [each for each in shown if each.name == version.name]
        if not bearers:
            yield Fault(version.name, "nothing", f"a version with the package {version.lineage.package[:19]}")
            return
        first, *others = bearers
        for other in others:
            yield Fault(version.name, f"MLflow's versions {first.number} and {other.number}", "one")
        wanted = tags(version)
        for key in sorted(key for key in wanted if first.tags.get(key) != wanted[key]):
            yield Fault(f"{version.name} (MLflow's {first.number})", f"{key}={first.tags.get(key)}", str(wanted[key]))
        if lacking := self._lacking(first, version):
            yield Fault(f"{version.name} (MLflow's {first.number})", "other files", ", ".join(lacking))

    def project(self, version: Version, shown: list[Shown]) -> str | None:
        """Create or update a version in MLflow; return a line about what was done, None if it was up to date.

        A version that `merit run` created from the same package is reused; otherwise a new one is created, with a run
        of its own.

        Raises:
            MeritError: the store can't be written to, or the package is neither in DVC's cache nor in its remote.
        """
        with store.faults(self._uri):
            return self._project(version, shown)

    def _project(self, version: Version, shown: list[Shown]) -> str | None:
        wanted, digest = tags(version), version.lineage.package
        same = [each for each in shown if version.name == each.name or each.tags.get(PACKAGE_TAG) == digest]
        same.sort(key=lambda each: each.name != version.name)
        chosen = next((each for each in same if not self._lacking(each, version)), None)
        done = None
        if chosen is None and (chosen := self._mended(same, version)) is not None:
            done = f"{version.name}: MLflow's version {chosen.number} has its files again"
        if chosen is None:
            chosen = self._make(version)
            done = f"{version.name}: made as MLflow's version {chosen.number}"
        changed = {key: value for key, value in wanted.items() if chosen.tags.get(key) != value}
        for key, value in changed.items():
            self._client.set_model_version_tag(self._lock.name, chosen.number, key, value)
        if changed and done is None:
            done = f"{version.name}: MLflow's version {chosen.number} carries its tags"
        if done is not None:
            mlflow_runs.name_origin(self._client, chosen.run_id, version)  # a candidate's origin has no version
            self._client.update_model_version(self._lock.name, chosen.number, mlflow_runs.described(version)[0])
        if done is not None or sum(each.name == version.name for each in same) > 1:
            self._settle(version, chosen)
        return done

    def _mended(self, shown: list[Shown], version: Version) -> Shown | None:
        """Upload the missing files to the run of a version; return that version, None if no run is suitable."""
        from mlflow.exceptions import MlflowException

        for each in shown:
            try:
                run = self._client.get_run(each.run_id)
            except MlflowException:
                continue
            is_own = each.tags.get(PACKAGE_TAG) == version.lineage.package
            if is_own and each.source == f"{run.info.artifact_uri}/{model.FOLDER}":
                mlflow_runs.fill(self._client, each.run_id, version)
                return each
        return None

    def _settle(self, version: Version, chosen: Shown) -> None:
        """Keep one MLflow version under a Git version's name: the first one with all its files.

        Two processes that project at the same time may each have created one.
        """
        bearers = [each for each in self.shown() if each.name == version.name]
        if len(bearers) == 1:
            return
        whole = [each for each in bearers if not self._lacking(each, version)]
        kept = whole[0].number if whole else chosen.number
        for each in bearers:
            if each.number != kept:
                self.disown(each)

    def disown(self, shown: Shown) -> None:
        """Remove the Git version's name from an MLflow version; the MLflow version itself stays."""
        with store.faults(self._uri):
            self._client.delete_model_version_tag(self._lock.name, shown.number, NAME_TAG)

    def point(self, alias: str, number: str | None) -> None:
        """Set an alias to an MLflow version number, or delete it if `number` is None."""
        with store.faults(self._uri):
            if number is None:
                self._client.delete_registered_model_alias(self._lock.name, alias)
            else:
                self._client.set_registered_model_alias(self._lock.name, alias, number)

    def _make(self, version: Version) -> Shown:
        self._ensure_model()
        run_id = self._run(version)
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{model.FOLDER}"
        made = self._client.create_model_version(self._lock.name, source, run_id, tags=tags(version))
        return Shown(str(made.version), run_id, source, tags(version))

    def _ensure_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self._lock.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _run(self, version: Version) -> str:
        """Return a run that holds the version's files: the training run if it still has them, else a run of its own."""
        experiment = store.experiment(self._client, self._lock.tracking)
        kept = self._client.search_runs([experiment], f"tags.`{PACKAGE_TAG}` = '{version.lineage.package}'")
        for run in kept:
            if not mlflow_runs.missing_files(self._client, run.info.run_id, version):
                return str(run.info.run_id)
        begun = self._client.search_runs([experiment], f"tags.`{NAME_TAG}` = '{version.name}'", max_results=1)
        run_id = str(begun[0].info.run_id) if begun else mlflow_runs.begin(self._client, experiment, version)
        mlflow_runs.fill(self._client, run_id, version)
        return run_id

    def _lacking(self, shown: Shown, version: Version) -> list[str]:
        """Return the package files that an MLflow version lacks or has with different content."""
        if not shown.source.endswith(f"/{model.FOLDER}"):
            return [shown.source or "no source"]
        return mlflow_runs.missing_files(self._client, shown.run_id, version)


def tags(version: Version) -> dict[str, str]:
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


def told(lock: Lock, version: Version) -> str | None:
    """Project a newly registered version into MLflow; return what was done, None if runs are not kept in MLflow.

    Raises:
        MeritError: the store can't be reached; the version in Git remains valid.
    """
    if not store.keeps_versions(lock.tracking):
        return None
    try:
        shown = Projection(lock)
        return shown.project(version, shown.shown())
    except MeritError as error:
        raise MeritError(f"{version.name} is in Git but not in MLflow: {error}; then 'merit register' again") from error
