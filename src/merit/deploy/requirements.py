"""Validates an environment's versions and images against the requirements under `demands` in its file."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from merit import artifacts, git
from merit.config.problems import meant
from merit.config.schema import Lock
from merit.deploy import limits, main_branch, packages, records
from merit.deploy.environments import Declared
from merit.errors import ConfigError, MeritError, Problem
from merit.registry import release_tags as releases
from merit.registry import tags as versions
from merit.registry.release_tags import Release
from merit.registry.tags import Version


@dataclass
class Held:
    """The versions and images that an environment names, after validation.

    Attributes:
        versions: the versions, by number such as v3.
        releases: the releases of the versions that have an image, by the same number.
        demands: one line for each requirement that is met.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)
    demands: list[str] = field(default_factory=list)


def hold(declared: Declared, lock: Lock) -> Held:
    """Resolve and validate the versions and images that an environment names.

    Raises:
        ConfigError: an unknown version, an image that is not the release's, a version without a passing gate, one that
            skips the environment named by `demands.after`, a missing or invalid signature; lists all problems.
    """
    held = Held()
    problems: list[Problem] = list(limits.problems(declared))
    for named in _named(declared):
        problems += _of_one(declared, lock, named, held)
    if problems:
        raise ConfigError(problems)
    return held


def _named(declared: Declared) -> Iterator[tuple[str, str, str | None]]:
    """Yield the key prefix, version and image of the live, canary and shadow deployments that are declared."""
    told = declared.environment
    if told.version is not None:
        yield "", told.version, told.image
    for role, split in {"canary": told.traffic.canary, "shadow": told.traffic.shadow}.items():
        if split is not None:
            yield f"traffic.{role}.", split.version, split.image


def _of_one(declared: Declared, lock: Lock, named: tuple[str, str, str | None], held: Held) -> Iterator[Problem]:
    key, number, image = named
    known = {each.short_name: each for each in versions.versions(lock.name)}
    if (wrong := versions.unreadable(lock.name).get(f"{lock.name}@{number}")) is not None:
        yield declared.problem(f"{key}version", f"{lock.name}@{number}: {wrong}")
        return
    if (version := known.get(number)) is None:
        allowed = ", ".join(known) or _none_here()
        yield declared.problem(f"{key}version", f"{lock.name}@{number} does not exist", allowed, meant(number, known))
        return
    if (wrong := _not_main(version)) is not None:
        yield declared.problem(f"{key}version", f"{version.name}: {wrong}", "a version that main has locked")
        return
    held.versions[number] = version
    if version.lineage.verdict != "pass":
        found = f"{version.name} has the gate's verdict '{version.lineage.verdict}'"
        yield declared.problem(f"{key}version", found, "a version whose gate passed")
    yield from _image(declared, key, version, image, held)
    if key != "traffic.shadow.":
        yield from _after(declared, lock, key, number, held)
    yield from _signature(declared, lock, key, version, held)


def _none_here() -> str:
    """Return the text for a clone without versions; with an origin or a shallow clone, there may be some to fetch."""
    if git.has_origin() or git.is_shallow():
        return f"none here: {git.how_to_fetch()} brings those that are there, 'merit register' on main makes the first"
    return "none yet: 'merit register' on main makes the first"


def _not_main(version: Version) -> str | None:
    """Return why a version's tag contradicts main, or None; anybody with push access could have created the tag."""
    if not git.is_on(version.commit, main_branch.tip()):
        cut = f"; history is cut off here: {git.how_to_fetch()}" if git.is_shallow() else ""
        return f"its commit {version.commit[:7]} is not on main{cut}"
    if versions.package_at(version.commit) != version.lineage.dvc:
        return f"main's {artifacts.DVC_LOCK} at {version.commit[:7]} names another package than its tag"
    return None


def _image(declared: Declared, key: str, version: Version, image: str | None, held: Held) -> Iterator[Problem]:
    found = releases.find(version)
    if found is not None:
        held.releases[version.short_name] = found
    advice = f"'merit release {version.name}' makes one"
    if image is None and declared.environment.target != "local":
        allowed = found.image if found else ""
        told = f"null, but the target {declared.environment.target} runs images"
        yield declared.problem(f"{key}image", told, allowed, "" if found else advice)
    elif image is not None and found is None:
        yield declared.problem(f"{key}image", f"{version.name} has no image on record", "null", advice)
    elif image is not None and found is not None and image != found.image:
        yield declared.problem(f"{key}image", f"'{image}' is not the image of {version.name}", found.image)


def _after(declared: Declared, lock: Lock, key: str, number: str, held: Held) -> Iterator[Problem]:
    demand = declared.environment.demands
    if demand.after is None:
        return
    asked = f"after {demand.after}" + (f" for {demand.soak_hours:g} hours" if demand.soak_hours else "")
    if any(each.version == number for each in records.read(lock.name, declared.name)):
        held.demands.append(f"{asked}: {lock.name}@{number} was applied to {declared.name} before")
        return
    longest: float | None = None
    for span in main_branch.spans(demand.after):
        if (span.model, span.version) == (lock.name, number):
            longest = max(longest or 0.0, span.hours())
        if longest is not None and longest >= demand.soak_hours:
            break  # long enough: older history need not be read
    if (longest is None or longest < demand.soak_hours) and git.is_shallow():
        found = f"main's history is cut off here, so how long {lock.name}@{number} was in {demand.after} can't be told"
        yield declared.problem(f"{key}version", found, hint=f"{git.how_to_fetch()} brings it")
    elif longest is None:
        found = f"{lock.name}@{number} skips {demand.after}, which main has never declared it for"
        hint = f"'merit promote {number} {demand.after}' and merge that first"
        yield declared.problem(f"{key}version", found, hint=hint)
    elif longest < demand.soak_hours:
        found = f"{lock.name}@{number} has been in {demand.after} for {longest:.1f} hours"
        hint = f"demands.soak_hours asks for {demand.soak_hours:g}; wait"
        yield declared.problem(f"{key}version", found, hint=hint)
    else:
        held.demands.append(f"{asked}: {lock.name}@{number} was there for {longest:.1f} hours")


def _signature(declared: Declared, lock: Lock, key: str, version: Version, held: Held) -> Iterator[Problem]:
    demanded = declared.environment.demands.signature
    if version.lineage.signature is None:
        if demanded:
            hint = f"'merit sign {version.short_name}' signs it, as conf/release says under signing"
            yield declared.problem(
                f"{key}version", f"{version.name} is not signed, as demands.signature asks", hint=hint
            )
        return
    try:
        packages.fetch(version, lock, demanded=demanded)
    except MeritError as error:
        yield declared.problem(f"{key}version", str(error))
        return
    if demanded:
        held.demands.append(f"signature: that of {version.name} holds")
