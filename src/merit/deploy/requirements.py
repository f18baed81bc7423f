"""Validates an environment's versions and images against the requirements under `demands` in its file."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from merit import artifacts, git
from merit.config.problems import suggest_name
from merit.config.schema import Lock
from merit.config.schema.environment import IMAGELESS_TARGETS
from merit.deploy import apply_records, main_branch, package_cache, static_checks
from merit.deploy.environments import DeclaredEnvironment
from merit.errors import ConfigError, MeritError, Problem
from merit.registry import release_tags as releases
from merit.registry import tags as versions
from merit.registry.release_tags import Release
from merit.registry.tags import Version


@dataclass
class ResolvedEnvironment:
    """The versions and images that an environment names, after validation.

    Attributes:
        versions: the versions, by number such as v3.
        releases: the releases of the versions that have an image, by the same number.
        demands: one line for each requirement that is met.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)
    met_requirements: list[str] = field(default_factory=list)


def resolve_environment(declared: DeclaredEnvironment, lock: Lock) -> ResolvedEnvironment:
    """Resolve and validate the versions and images that an environment names.

    Raises:
        ConfigError: an unknown version, an image that is not the release's, a version without a passing gate, one that
            skips the environment named by `demands.after`, a missing or invalid signature; lists all problems.
    """
    resolved = ResolvedEnvironment()
    problems: list[Problem] = list(static_checks.find_problems(declared))
    for deployment in _iter_deployments(declared):
        problems += _validate_deployment(declared, lock, deployment, resolved)
    if problems:
        raise ConfigError(problems)
    return resolved


def _iter_deployments(declared: DeclaredEnvironment) -> Iterator[tuple[str, str, str | None]]:
    """Yield the key prefix, version and image of the live, canary and shadow deployments that are declared."""
    environment = declared.environment
    if environment.version is not None:
        yield "", environment.version, environment.image
    for role, split in {"canary": environment.traffic.canary, "shadow": environment.traffic.shadow}.items():
        if split is not None:
            yield f"traffic.{role}.", split.version, split.image


def _validate_deployment(
    declared: DeclaredEnvironment, lock: Lock, deployment: tuple[str, str, str | None], resolved: ResolvedEnvironment
) -> Iterator[Problem]:
    key, number, image = deployment
    versions_by_number = {each.short_name: each for each in versions.list_versions(lock.name)}
    if (problem := versions.find_malformed_tags(lock.name).get(f"{lock.name}@{number}")) is not None:
        yield declared.build_problem(f"{key}version", f"{lock.name}@{number}: {problem}")
        return
    if (version := versions_by_number.get(number)) is None:
        allowed = ", ".join(versions_by_number) or _describe_missing_versions()
        yield declared.build_problem(
            f"{key}version", f"{lock.name}@{number} does not exist", allowed, suggest_name(number, versions_by_number)
        )
        return
    if (problem := _find_main_conflict(version)) is not None:
        yield declared.build_problem(f"{key}version", f"{version.name}: {problem}", "a version that main has locked")
        return
    resolved.versions[number] = version
    if version.lineage.verdict != "pass":
        message = f"{version.name} has the gate's verdict '{version.lineage.verdict}'"
        yield declared.build_problem(f"{key}version", message, "a version whose gate passed")
    yield from _validate_image(declared, key, version, image, resolved)
    if key != "traffic.shadow.":
        yield from _validate_predecessor(declared, lock, key, number, resolved)
    yield from _validate_signature(declared, lock, key, version, resolved)


def _describe_missing_versions() -> str:
    """Return the text for a clone without versions; with an origin or a shallow clone, there may be some to fetch."""
    if git.has_origin() or git.is_shallow():
        return (
            f"none here: {git.suggest_fetch_command()} brings those that are there, 'merit register' on main makes the "
            "first"
        )
    return "none yet: 'merit register' on main makes the first"


def _find_main_conflict(version: Version) -> str | None:
    """Return why a version's tag contradicts main, or None; anybody with push access could have created the tag."""
    if not git.is_on_branch(version.commit, main_branch.resolve_tip()):
        hint = f"; history is cut off here: {git.suggest_fetch_command()}" if git.is_shallow() else ""
        return f"its commit {version.commit[:7]} is not on main{hint}"
    if versions.read_package_hash(version.commit) != version.lineage.dvc:
        return f"main's {artifacts.DVC_LOCK} at {version.commit[:7]} names another package than its tag"
    return None


def _validate_image(
    declared: DeclaredEnvironment, key: str, version: Version, image: str | None, resolved: ResolvedEnvironment
) -> Iterator[Problem]:
    release = releases.find_release(version)
    if release is not None:
        resolved.releases[version.short_name] = release
    advice = f"'merit release {version.name}' makes one"
    if image is None and declared.environment.target not in IMAGELESS_TARGETS:
        allowed = release.image if release else ""
        message = f"null, but the target {declared.environment.target} runs images"
        yield declared.build_problem(f"{key}image", message, allowed, "" if release else advice)
    elif image is not None and release is None:
        yield declared.build_problem(f"{key}image", f"{version.name} has no image on record", "null", advice)
    elif image is not None and release is not None and image != release.image:
        yield declared.build_problem(f"{key}image", f"'{image}' is not the image of {version.name}", release.image)


def _validate_predecessor(
    declared: DeclaredEnvironment, lock: Lock, key: str, number: str, resolved: ResolvedEnvironment
) -> Iterator[Problem]:
    requirements = declared.environment.demands
    if requirements.after is None:
        return
    requirement = f"after {requirements.after}" + (
        f" for {requirements.soak_hours:g} hours" if requirements.soak_hours else ""
    )
    if any(each.version == number for each in apply_records.read_records(lock.name, declared.name)):
        resolved.met_requirements.append(f"{requirement}: {lock.name}@{number} was applied to {declared.name} before")
        return
    longest_hours: float | None = None
    for period in main_branch.iter_periods(requirements.after):
        if (period.model, period.version) == (lock.name, number):
            longest_hours = max(longest_hours or 0.0, period.compute_hours())
        if longest_hours is not None and longest_hours >= requirements.soak_hours:
            break  # long enough: older history need not be read
    if (longest_hours is None or longest_hours < requirements.soak_hours) and git.is_shallow():
        message = (
            f"main's history is cut off here, so how long {lock.name}@{number} was in {requirements.after} can't be "
            "told"
        )
        yield declared.build_problem(f"{key}version", message, hint=f"{git.suggest_fetch_command()} brings it")
    elif longest_hours is None:
        message = f"{lock.name}@{number} skips {requirements.after}, which main has never declared it for"
        hint = f"'merit promote {number} {requirements.after}' and merge that first"
        yield declared.build_problem(f"{key}version", message, hint=hint)
    elif longest_hours < requirements.soak_hours:
        message = f"{lock.name}@{number} has been in {requirements.after} for {longest_hours:.1f} hours"
        hint = f"demands.soak_hours asks for {requirements.soak_hours:g}; wait"
        yield declared.build_problem(f"{key}version", message, hint=hint)
    else:
        resolved.met_requirements.append(f"{requirement}: {lock.name}@{number} was there for {longest_hours:.1f} hours")


def _validate_signature(
    declared: DeclaredEnvironment, lock: Lock, key: str, version: Version, resolved: ResolvedEnvironment
) -> Iterator[Problem]:
    is_required = declared.environment.demands.signature
    if version.lineage.signature is None:
        if is_required:
            hint = f"'merit sign {version.short_name}' signs it, as conf/release says under signing"
            yield declared.build_problem(
                f"{key}version", f"{version.name} is not signed, as demands.signature asks", hint=hint
            )
        return
    try:
        package_cache.fetch_package(version, lock, require_signature=is_required)
    except MeritError as error:
        yield declared.build_problem(f"{key}version", str(error))
        return
    if is_required:
        resolved.met_requirements.append(f"signature: that of {version.name} holds")
