"""status: shows the declared and the running state of every environment side by side."""

from contextlib import suppress
from typing import Any

from merit.config.schema import Lock
from merit.config.schema.environment import Environment
from merit.deploy import environments, mlflow_alias, records, targets
from merit.deploy.plan import plan
from merit.deploy.targets import Desired
from merit.errors import MeritError


def status(lock: Lock) -> list[dict[str, Any]]:
    """Return each environment's declared and running state, start time, health and error."""
    return [_of(name, lock) for name in environments.names()]


def _of(name: str, lock: Lock) -> dict[str, Any]:
    last = next(iter(records.read(lock.name, name)), None)
    told: dict[str, Any] = {"environment": name, "declared": None, "actual": None, "since": None, "healthy": False}
    told |= {
        "differs": None,
        "alias": None,
        "address": None,
        "applied": None if last is None else vars(last),
        "error": None,
    }
    try:
        made = plan(name, lock)
    except MeritError as error:
        return {**told, **_despite(name, lock), "error": str(error)}
    return {
        **told,
        "target": made.declared.environment.target,
        "declared": made.target.desired(),
        "actual": made.actual.facts,
        "since": made.actual.since or (None if last is None else last.at),
        "healthy": made.actual.healthy,
        "address": targets.address(made.actual.facts),
        "differs": made.differs,
        "alias": made.alias.now,
    }


def _despite(name: str, lock: Lock) -> dict[str, Any]:
    """Return the fields that are known of an environment whose declaration is invalid, such as its running state."""
    told: dict[str, Any] = {}
    declared = Environment(version=None)
    with suppress(MeritError):
        declared = environments.read(name).environment
        told["declared"] = {"version": declared.version, "replicas": declared.replicas} if declared.version else {}
    with suppress(MeritError):
        actual = targets.of(Desired(name, declared, lock)).actual()
        told |= {"actual": actual.facts, "since": actual.since, "healthy": actual.healthy}
        told["address"] = targets.address(actual.facts)
        told["alias"] = mlflow_alias.read(lock, name, None).now
    return {**told, "target": declared.target}


def rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Return the status as table rows with the columns environment, declared, actual, alias, since, state."""
    return [_row(each) for each in found]


def addresses(found: list[dict[str, Any]]) -> list[str]:
    """Return one line with the URL of each environment that can be called from this machine."""
    return [f"call {each['environment']}: {each['address']}" for each in found if each["address"] is not None]


def _row(told: dict[str, Any]) -> list[str]:
    state = "healthy" if told["healthy"] else "not healthy"
    state = "nothing runs" if told["actual"] == {} else state
    state += ", differs: see 'merit plan'" if told["differs"] else ""
    state = state if told["error"] is None else told["error"]
    cells = [_words(told["declared"]), _words(told["actual"]), told["alias"] or "none", told["since"] or ""]
    return [told["environment"], *cells, state]


def _words(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "unknown"
    if not facts:
        return "nothing"
    said = [str(facts["version"])] if "version" in facts else [f"{len(facts)} files"]
    said += [f"x{facts['replicas']}"] if "replicas" in facts else []
    said += [
        f"{role} {facts[role]['version']} {facts[role]['share']:.4g}"
        for role in ("canary", "shadow")
        if facts.get(role)
    ]
    return ", ".join(said)
