"""status: shows the declared and the running state of every environment side by side."""

from contextlib import suppress
from typing import Any

from merit.config.schema import Lock
from merit.config.schema.environment import Environment
from merit.deploy import apply_records, environments, mlflow_alias
from merit.deploy.plan import plan
from merit.deploy.targets import registry
from merit.deploy.targets.interface import DesiredState, get_address
from merit.errors import MeritError


def status(lock: Lock) -> list[dict[str, Any]]:
    """Return each environment's declared and running state, start time, health and error."""
    return [_describe_environment(name, lock) for name in environments.list_names()]


def _describe_environment(name: str, lock: Lock) -> dict[str, Any]:
    last_record = next(iter(apply_records.read_records(lock.name, name)), None)
    entry: dict[str, Any] = {"environment": name, "declared": None, "actual": None, "since": None, "healthy": False}
    entry |= {
        "differs": None,
        "alias": None,
        "address": None,
        "applied": None if last_record is None else vars(last_record),
        "error": None,
    }
    try:
        environment_plan = plan(name, lock)
    except MeritError as error:
        return {**entry, **_describe_invalid(name, lock), "error": str(error)}
    return {
        **entry,
        "target": environment_plan.declared.environment.target,
        "declared": environment_plan.target.describe_desired(),
        "actual": environment_plan.actual.facts,
        "since": environment_plan.actual.since or (None if last_record is None else last_record.at),
        "healthy": environment_plan.actual.healthy,
        "address": get_address(environment_plan.actual.facts),
        "differs": environment_plan.differs,
        "alias": environment_plan.alias.current,
    }


def _describe_invalid(name: str, lock: Lock) -> dict[str, Any]:
    """Return the fields that are known of an environment whose declaration is invalid, such as its running state."""
    entry: dict[str, Any] = {}
    declared = Environment(version=None)
    with suppress(MeritError):
        declared = environments.read_environment(name).environment
        entry["declared"] = {"version": declared.version, "replicas": declared.replicas} if declared.version else {}
    with suppress(MeritError):
        actual = registry.create_target(DesiredState(name, declared, lock)).read_actual()
        entry |= {"actual": actual.facts, "since": actual.since, "healthy": actual.healthy}
        entry["address"] = get_address(actual.facts)
        entry["alias"] = mlflow_alias.read_alias(lock, name, None).current
    return {**entry, "target": declared.target}


def render_rows(entries: list[dict[str, Any]]) -> list[list[str]]:
    """Return the status as table rows with the columns environment, declared, actual, alias, since, state."""
    return [_render_row(each) for each in entries]


def list_addresses(entries: list[dict[str, Any]]) -> list[str]:
    """Return one line with the URL of each environment that can be called from this machine."""
    return [f"call {each['environment']}: {each['address']}" for each in entries if each["address"] is not None]


def _render_row(entry: dict[str, Any]) -> list[str]:
    state = "healthy" if entry["healthy"] else "not healthy"
    state = "nothing runs" if entry["actual"] == {} else state
    state += ", differs: see 'merit plan'" if entry["differs"] else ""
    state = state if entry["error"] is None else entry["error"]
    cells = [
        _format_facts(entry["declared"]),
        _format_facts(entry["actual"]),
        entry["alias"] or "none",
        entry["since"] or "",
    ]
    return [entry["environment"], *cells, state]


def _format_facts(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "unknown"
    if not facts:
        return "nothing"
    parts = [str(facts["version"])] if "version" in facts else [f"{len(facts)} files"]
    parts += [f"x{facts['replicas']}"] if "replicas" in facts else []
    parts += [
        f"{role} {facts[role]['version']} {facts[role]['share']:.4g}"
        for role in ("canary", "shadow")
        if facts.get(role)
    ]
    return ", ".join(parts)
