"""plan: computes the changes that apply would make in an environment, and checks that they are allowed; read-only."""

from dataclasses import dataclass
from typing import Any

from merit.config.schema import Lock
from merit.deploy import apply_records, environments, mlflow_alias, requirements
from merit.deploy.apply_records import Record
from merit.deploy.environments import DeclaredEnvironment
from merit.deploy.mlflow_alias import Alias
from merit.deploy.targets import registry
from merit.deploy.targets.interface import ActualState, DesiredState, Probe, Target
from merit.errors import MeritError
from merit.registry import tags

SETTINGS_FACT = "settings"
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

    declared: DeclaredEnvironment
    lock: Lock
    target: Target
    actual: ActualState
    alias: Alias
    package: str | None
    changes: list[Change]
    metrics: dict[str, tuple[float | None, float | None]]
    met_requirements: list[str]

    @property
    def declared_version(self) -> str | None:
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
    declared = environments.read_environment(name)
    resolved = requirements.resolve_environment(declared, lock)
    target = registry.create_target(
        DesiredState(name, declared.environment, lock, resolved.versions, resolved.releases, probe)
    )
    actual, version_number = target.read_actual(), declared.environment.version
    declared_version = None if version_number is None else f"{lock.name}@{version_number}"
    alias = mlflow_alias.read_alias(lock, name, declared_version)
    package = None if version_number is None else resolved.versions[version_number].lineage.package
    last_record = next(iter(apply_records.read_records(lock.name, name)), None)
    changes = [*_diff_alias(name, alias, declared_version), *_diff_facts(actual.facts, target.describe_desired())]
    changes += _diff_package(last_record, version_number, package)
    if changes:
        target.check_inputs()
    # Targets that render files know hashes of files, not a version: use the recorded one.
    metrics = _compare_metrics(
        lock.name, actual.facts.get("version") or (last_record and last_record.version), version_number
    )
    return Plan(declared, lock, target, actual, alias, package, changes, metrics, resolved.met_requirements)


def _diff_package(last_record: Record | None, version_number: str | None, package: str | None) -> list[Change]:
    """Return a change if the version's tag was recreated and names another package than the applied one."""
    previous = (
        apply_records.find_replaced_package(last_record, version_number, package) if last_record is not None else None
    )
    if previous is None:
        return []
    return [Change(f"package of {version_number}, whose tag was created again", previous, package)]


def _diff_alias(name: str, alias: Alias, declared_version: str | None) -> list[Change]:
    if alias.current == declared_version and alias.problem is None:
        return []
    expected = declared_version if alias.problem is None else f"{declared_version} ({alias.problem})"
    return [Change(f"alias {name} in MLflow", alias.current, expected)]


def _diff_facts(actual: dict[str, Any], declared: dict[str, Any]) -> list[Change]:
    names = [*declared, *(name for name in actual if name not in declared)]
    return [
        Change(each, actual.get(each), declared.get(each)) for each in names if actual.get(each) != declared.get(each)
    ]


def _compare_metrics(model: str, serving: Any, declared: str | None) -> dict[str, tuple[float | None, float | None]]:
    """Return each metric's values for the serving and the declared version; empty if these are the same version."""
    if serving == declared or not isinstance(serving, str) or declared is None:
        return {}
    try:
        metrics_pair = [tags.find_version(f"{model}@{each}").lineage.metrics for each in (serving, declared)]
    except MeritError:  # several versions serve after an interrupted apply, so `now` names no single version
        return {}
    return {
        name: (metrics_pair[0].get(name), metrics_pair[1].get(name))
        for name in dict.fromkeys([*metrics_pair[0], *metrics_pair[1]])
    }


def as_json(result: Plan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "environment": result.declared.name,
        "model": result.lock.name,
        "target": result.declared.environment.target,
        "version": result.declared_version,
        "differs": result.differs,
        "changes": [vars(each) for each in result.changes],
        "metrics": {name: {"now": now, "declared": then} for name, (now, then) in result.metrics.items()},
        "demands": result.met_requirements,
    }


def render_lines(result: Plan) -> list[str]:
    """Return a plan as lines of text, like a diff."""
    headline = f"{result.declared.name}: {result.declared_version or 'nothing'} on {result.declared.environment.target}"
    if not result.differs:
        return [f"{headline}; no difference"]
    output = [headline]
    for each in result.changes:
        output += _render_change(each)
    for name, (now, then) in result.metrics.items():
        difference = f" ({then - now:+.4f})" if now is not None and then is not None else ""
        output.append(f"  {name}: {_format_value(now)} -> {_format_value(then)}{difference}")
    return [*output, *(f"  held: {each}" for each in result.met_requirements)]


def _render_change(change: Change) -> list[str]:
    """Return a change as its `-` and `+` lines; a value that is absent has no line."""
    if change.what == SETTINGS_FACT:  # hashes mean nothing to a reader
        return ["  settings: other ones of params.yaml under serve"] if change.now and change.declared else []
    sides = {"-": change.now, "+": change.declared}
    return [f"{sign} {change.what}: {_format_value(value)}" for sign, value in sides.items() if value is not None]


def _format_value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_format_value(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
