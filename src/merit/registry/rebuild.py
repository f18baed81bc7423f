"""`merit registry rebuild` and `check`: synchronise MLflow with Git, or list the differences."""

from collections.abc import Iterator
from contextlib import suppress

from merit import git
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.registry import environment_history, tags
from merit.registry.mlflow import MlflowVersion, Projection, ProjectionDifference
from merit.registry.tags import Version


def rebuild_projection(lock: Lock) -> Iterator[str]:
    """Fill MLflow from Git's tags and DVC, first the versions in order, then the aliases; yield a line per change.

    Idempotent: what is up to date is left alone, so an interrupted rebuild continues where it stopped.

    Raises:
        MeritError: after all versions were tried; lists everything that failed.
    """
    projection, registered, errors = Projection(lock), tags.list_versions(lock.name), []
    with suppress(MeritError):  # reported below, for each version that needs the remote
        tags.fetch_packages(registered)
    mlflow_versions = projection.list_versions()
    for version in registered:
        try:
            if message := projection.project_version(version, mlflow_versions):
                mlflow_versions = projection.list_versions()
                yield message
        except MeritError as error:
            errors.append(str(error))
    for orphan in _find_orphans(projection.list_versions(), registered):
        projection.remove_name(orphan)
        yield f"MLflow's version {orphan.number}: is no longer called {orphan.git_name}, which no tag backs"
    yield from _update_aliases(lock, projection, errors)
    if errors:
        raise MeritError("\n".join(errors))


def _update_aliases(lock: Lock, projection: Projection, errors: list[str]) -> Iterator[str]:
    numbers, aliases = _map_numbers(projection.list_versions()), projection.get_aliases()
    tagged_names = {version.name for version in tags.list_versions(lock.name)}
    for name, version in _read_declared_versions(lock).items():
        if version is not None and version not in numbers:
            if version not in tagged_names:
                errors.append(
                    f"{environment_history.ENVIRONMENTS_FOLDER}/{name}.yaml at main declares {version}, which has no "
                    "tag"
                )
            continue
        expected = None if version is None else numbers[version]
        if aliases.get(name) != expected:
            projection.set_alias(name, expected)
            yield f"{name}: points to {version or 'no version'}"


def find_differences(lock: Lock) -> list[ProjectionDifference]:
    """Return the differences between MLflow and Git in versions, tags, files and aliases.

    Raises:
        MeritError: the store can't be reached, or a package is neither in DVC's cache nor in its remote.
    """
    projection, registered = Projection(lock), tags.list_versions(lock.name)
    tags.fetch_packages(registered)
    mlflow_versions = projection.list_versions()
    projection_differences = [
        difference for version in registered for difference in projection.find_differences(version, mlflow_versions)
    ]
    for orphan in _find_orphans(mlflow_versions, registered):
        projection_differences.append(
            ProjectionDifference(f"MLflow's version {orphan.number}", f"{orphan.git_name}", "there is no such version")
        )
    return [*projection_differences, *_compare_aliases(lock, projection, mlflow_versions)]


def _compare_aliases(
    lock: Lock, projection: Projection, mlflow_versions: list[MlflowVersion]
) -> Iterator[ProjectionDifference]:
    aliases = projection.get_aliases()
    names = {each.number: each.git_name or "a candidate" for each in mlflow_versions}
    for name, version in _read_declared_versions(lock).items():
        number = aliases.get(name)
        current = None if number is None else names.get(number, "a version that is gone")
        if current != version:
            yield ProjectionDifference(f"alias {name}", _describe_version(number, current), version or "no version")


def _describe_version(number: str | None, name: str | None) -> str:
    return "no version" if number is None else f"MLflow's version {number} ({name})"


def _read_declared_versions(lock: Lock) -> dict[str, str | None]:
    """Return the version that each environment on main declares, such as `flights@v3`."""
    tip = git.find_main_tip() or git.get_head()
    if tip is None:
        return {}
    declared = {name: values.get("version") for name, values in environment_history.read_environments(tip).items()}
    return {name: f"{lock.name}@{version}" if version else None for name, version in declared.items()}


def _find_orphans(mlflow_versions: list[MlflowVersion], registered: list[Version]) -> list[MlflowVersion]:
    """Return the MLflow versions whose tag names a version that Git doesn't have."""
    known = {version.name for version in registered}
    return [each for each in mlflow_versions if each.git_name is not None and each.git_name not in known]


def _map_numbers(mlflow_versions: list[MlflowVersion]) -> dict[str, str]:
    """Return the MLflow version number of each Git version; the lowest number if several carry the name."""
    return {each.git_name: each.number for each in reversed(mlflow_versions) if each.git_name is not None}
