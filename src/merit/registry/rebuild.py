"""`merit registry rebuild` and `check`: synchronise MLflow with Git, or list the differences."""

from collections.abc import Iterator
from contextlib import suppress

from merit import git
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.registry import environment_history, tags
from merit.registry.mlflow import Fault, Projection, Shown
from merit.registry.tags import Version


def rebuild(lock: Lock) -> Iterator[str]:
    """Fill MLflow from Git's tags and DVC, first the versions in order, then the aliases; yield a line per change.

    Idempotent: what is up to date is left alone, so an interrupted rebuild continues where it stopped.

    Raises:
        MeritError: after all versions were tried; lists everything that failed.
    """
    shown, found, failed = Projection(lock), tags.versions(lock.name), []
    with suppress(MeritError):  # reported below, for each version that needs the remote
        tags.bring(found)
    now = shown.shown()
    for version in found:
        try:
            if done := shown.project(version, now):
                now = shown.shown()
                yield done
        except MeritError as error:
            failed.append(str(error))
    for foreign in _foreign(shown.shown(), found):
        shown.disown(foreign)
        yield f"MLflow's version {foreign.number}: is no longer called {foreign.name}, which no tag backs"
    yield from _point(lock, shown, failed)
    if failed:
        raise MeritError("\n".join(failed))


def _point(lock: Lock, shown: Projection, failed: list[str]) -> Iterator[str]:
    numbers, now = _numbers(shown.shown()), shown.aliases()
    tagged = {version.name for version in tags.versions(lock.name)}
    for name, version in _declared(lock).items():
        if version is not None and version not in numbers:
            if version not in tagged:
                failed.append(f"{environment_history.FOLDER}/{name}.yaml at main declares {version}, which has no tag")
            continue
        wanted = None if version is None else numbers[version]
        if now.get(name) != wanted:
            shown.point(name, wanted)
            yield f"{name}: points to {version or 'no version'}"


def differences(lock: Lock) -> list[Fault]:
    """Return the differences between MLflow and Git in versions, tags, files and aliases.

    Raises:
        MeritError: the store can't be reached, or a package is neither in DVC's cache nor in its remote.
    """
    projection, found = Projection(lock), tags.versions(lock.name)
    tags.bring(found)
    shown = projection.shown()
    faults = [fault for version in found for fault in projection.faults(version, shown)]
    for foreign in _foreign(shown, found):
        faults.append(Fault(f"MLflow's version {foreign.number}", f"{foreign.name}", "there is no such version"))
    return [*faults, *_aliases(lock, projection, shown)]


def _aliases(lock: Lock, projection: Projection, shown: list[Shown]) -> Iterator[Fault]:
    now = projection.aliases()
    names = {each.number: each.name or "a candidate" for each in shown}
    for name, version in _declared(lock).items():
        number = now.get(name)
        stands = None if number is None else names.get(number, "a version that is gone")
        if stands != version:
            yield Fault(f"alias {name}", _version(number, stands), version or "no version")


def _version(number: str | None, name: str | None) -> str:
    return "no version" if number is None else f"MLflow's version {number} ({name})"


def _declared(lock: Lock) -> dict[str, str | None]:
    """Return the version that each environment on main declares, such as `flights@v3`."""
    tip = git.main() or git.head()
    if tip is None:
        return {}
    told = {name: values.get("version") for name, values in environment_history.declared(tip).items()}
    return {name: f"{lock.name}@{version}" if version else None for name, version in told.items()}


def _foreign(shown: list[Shown], found: list[Version]) -> list[Shown]:
    """Return the MLflow versions whose tag names a version that Git doesn't have."""
    known = {version.name for version in found}
    return [each for each in shown if each.name is not None and each.name not in known]


def _numbers(shown: list[Shown]) -> dict[str, str]:
    """Return the MLflow version number of each Git version; the lowest number if several carry the name."""
    return {each.name: each.number for each in reversed(shown) if each.name is not None}
