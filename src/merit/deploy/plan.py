"""plan: computes the changes that apply would make in an environment, and checks that they are allowed; read-only."""

from dataclasses import dataclass
from typing import Any

from merit.config.schema import Lock
from merit.deploy import environments, mlflow_alias, records, targets
from merit.deploy import requirements as demands
from merit.deploy.environments import Declared
from merit.deploy.mlflow_alias import Alias
from merit.deploy.records import Record
from merit.deploy.targets import Actual, Desired, Probe, Target
from merit.errors import MeritError
from merit.registry import tags

SETTINGS = "settings"
"""The fact that holds a hash of the service's settings, for targets that report it."""


@dataclass(frozen=True)
class Change:
    """A difference between the running state and the declaration.

    Attributes:
        what: the name of the fact.
        now: its current value; None if absent.
        declared: its declared value; None if absent.
    """

    what: str
    now: Any
    declared: Any


@dataclass(frozen=True)
class Plan:
    """The changes that an apply would make.

    Attributes:
        declared: the environment.
        lock: the configuration.
        target: the platform that runs the environment.
        actual: the running state.
        alias: the alias in MLflow.
        package: the digest of the declared version's package.
        changes: all differences between the running and the declared state.
        metrics: for each metric, its values for the serving and the declared version.
        demands: one line for each requirement that is met.
    """

    declared: Declared
    lock: Lock
    target: Target
    actual: Actual
    alias: Alias
    package: str | None
    changes: list[Change]
    metrics: dict[str, tuple[float | None, float | None]]
    demands: list[str]

    @property
    def wanted(self) -> str | None:
        """The declared version, such as flights@v3."""
        number = self.declared.environment.version
        return None if number is None else f"{self.lock.name}@{number}"

    @property
    def differs(self) -> bool:
        """Whether apply would change anything."""
        return bool(self.changes)


def plan(name: str, lock: Lock, probe: Probe | None = None) -> Plan:
    """Return the changes that apply would make.

    Args:
        name: the environment.
        lock: the configuration.
        probe: the smoke test that apply runs against a new server.

    Raises:
        ConfigError: the declaration is not allowed; lists every reason.
        MeritError: there is no such environment, or its running state can't be read.
    """
    declared = environments.read(name)
    held = demands.hold(declared, lock)
    target = targets.of(Desired(name, declared.environment, lock, held.versions, held.releases, probe))
    actual, number = target.actual(), declared.environment.version
    wanted = None if number is None else f"{lock.name}@{number}"
    alias = mlflow_alias.read(lock, name, wanted)
    package = None if number is None else held.versions[number].lineage.package
    last = next(iter(records.read(lock.name, name)), None)
    changes = [*_alias_change(name, alias, wanted), *_changes(actual.facts, target.desired())]
    changes += _replaced(last, number, package)
    if changes:
        target.check()
    # Targets that render files know hashes of files, not a version: use the recorded one.
    metrics = _metrics(lock.name, actual.facts.get("version") or (last and last.version), number)
    return Plan(declared, lock, target, actual, alias, package, changes, metrics, held.demands)


def _replaced(last: Record | None, number: str | None, package: str | None) -> list[Change]:
    """Return a change if the version's tag was recreated and names another package than the applied one."""
    former = records.replaced(last, number, package) if last is not None else None
    return [] if former is None else [Change(f"package of {number}, whose tag was made anew", former, package)]


def _alias_change(name: str, alias: Alias, wanted: str | None) -> list[Change]:
    if alias.now == wanted and alias.wrong is None:
        return []
    told = wanted if alias.wrong is None else f"{wanted} ({alias.wrong})"
    return [Change(f"alias {name} in MLflow", alias.now, told)]


def _changes(now: dict[str, Any], declared: dict[str, Any]) -> list[Change]:
    names = [*declared, *(name for name in now if name not in declared)]
    return [Change(each, now.get(each), declared.get(each)) for each in names if now.get(each) != declared.get(each)]


def _metrics(model: str, now: Any, declared: str | None) -> dict[str, tuple[float | None, float | None]]:
    """Return each metric's values for the serving and the declared version; empty if these are the same version."""
    if now == declared or not isinstance(now, str) or declared is None:
        return {}
    try:
        both = [tags.find(f"{model}@{each}").lineage.metrics for each in (now, declared)]
    except MeritError:  # several versions serve after an interrupted apply, so `now` names no single version
        return {}
    return {name: (both[0].get(name), both[1].get(name)) for name in dict.fromkeys([*both[0], *both[1]])}


def as_json(made: Plan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "environment": made.declared.name,
        "model": made.lock.name,
        "target": made.declared.environment.target,
        "version": made.wanted,
        "differs": made.differs,
        "changes": [vars(each) for each in made.changes],
        "metrics": {name: {"now": now, "declared": then} for name, (now, then) in made.metrics.items()},
        "demands": made.demands,
    }


def lines(made: Plan) -> list[str]:
    """Return a plan as lines of text, like a diff."""
    told = f"{made.declared.name}: {made.wanted or 'nothing'} on {made.declared.environment.target}"
    if not made.differs:
        return [f"{told}; no difference"]
    found = [told]
    for each in made.changes:
        found += _two(each)
    for name, (now, then) in made.metrics.items():
        gap = f" ({then - now:+.4f})" if now is not None and then is not None else ""
        found.append(f"  {name}: {_word(now)} -> {_word(then)}{gap}")
    return [*found, *(f"  held: {each}" for each in made.demands)]


def _two(change: Change) -> list[str]:
    """Return a change as its `-` and `+` lines; a value that is absent has no line."""
    if change.what == SETTINGS:  # hashes mean nothing to a reader
        return ["  settings: other ones of params.yaml under serve"] if change.now and change.declared else []
    sides = {"-": change.now, "+": change.declared}
    return [f"{sign} {change.what}: {_word(value)}" for sign, value in sides.items() if value is not None]


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_word(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
