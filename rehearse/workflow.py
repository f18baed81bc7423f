"""A workflow as it is written: only keys that the rehearsal understands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import yaml

from rehearse import UnknownError
from rehearse.expressions import Scope, value_of

KEYS = {
    "workflow": {"name", "run-name", "on", "permissions", "env", "concurrency", "defaults", "jobs"},
    "job": {"name", "runs-on", "needs", "if", "permissions", "env", "outputs", "strategy", "steps",
            "timeout-minutes", "continue-on-error", "concurrency", "environment", "defaults"},
    "step": {"id", "name", "if", "uses", "with", "run", "shell", "env", "working-directory",
             "continue-on-error", "timeout-minutes"},
    "strategy": {"matrix", "fail-fast", "max-parallel"},
    "defaults": {"run"},
    "defaults.run": {"shell", "working-directory"},
    "concurrency": {"group", "cancel-in-progress"},
    "environment": {"name", "url"},
}  # fmt: skip
EVENTS = {
    "pull_request": {"types", "branches", "paths"},
    "push": {"branches", "tags", "paths"},
    "workflow_run": {"workflows", "types"},
    "issue_comment": {"types"},
    "workflow_dispatch": {"inputs"},
}
DEFAULT_TYPES = {"pull_request": ["opened", "synchronize", "reopened"]}


@dataclass(frozen=True)
class Workflow:
    """A workflow's file."""

    file: str
    name: str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, file: str, text: str) -> "Workflow":
        """Return the workflow that a text holds.

        Raises:
            UnknownError: it uses a key, or waits for an event, that the rehearsal doesn't know.
        """
        values = yaml.safe_load(text)
        # YAML 1.1 reads the key `on` as true.
        values = {"on" if key is True else key: value for key, value in values.items()}
        _check(file, "workflow", values)
        for event, filters in _events(values["on"]).items():
            if event not in EVENTS or set(filters) - EVENTS[event]:
                raise UnknownError(f"{file}: on: {event}: {sorted(filters)} is not known")
        for name, job in values["jobs"].items():
            _check(f"{file}: {name}", "job", job)
            for step in job["steps"]:
                _check(f"{file}: {name}", "step", step)
        return cls(file, values.get("name", file), values)

    def answers(self, event: str, payload: Mapping[str, Any], files: Sequence[str] = ()) -> bool:
        """Say whether an event that changed some files starts it."""
        events = _events(self.values["on"])
        if event not in events:
            return False
        filters = events[event]
        types = filters.get("types", DEFAULT_TYPES.get(event))
        if types is not None and payload.get("action") not in types:
            return False
        if event == "workflow_run" and payload["workflow_run"]["name"] not in filters["workflows"]:
            return False
        base = payload.get("pull_request", {}).get("base", {}).get("ref") or payload.get("ref", "").removeprefix(
            "refs/heads/"
        )
        if "paths" in filters and not any(_fits(file, filters["paths"]) for file in files):
            return False
        return base in filters["branches"] if "branches" in filters else True


def _fits(file: str, patterns: Sequence[str]) -> bool:
    """Say whether a file is one of those named, or below a folder that is named with `/**`."""
    return any(file == each or (each.endswith("/**") and file.startswith(each[:-2])) for each in patterns)


def _events(on: Any) -> dict[str, Mapping[str, Any]]:
    if isinstance(on, str):
        return {on: {}}
    if isinstance(on, list):
        return {name: {} for name in on}
    return {name: filters or {} for name, filters in on.items()}


def _check(where: str, kind: str, values: Mapping[str, Any]) -> None:
    unknown = set(values) - KEYS[kind]
    if unknown:
        raise UnknownError(f"{where}: key {', '.join(map(repr, sorted(map(str, unknown))))} of a {kind} is not known")
    for name in ("strategy", "defaults", "concurrency", "environment"):
        if isinstance(values.get(name), Mapping):
            _check(where, name, values[name])
    if isinstance(values.get("defaults"), Mapping):
        _check(where, "defaults.run", values["defaults"].get("run", {}))
    if kind == "step" and ("run" in values) == ("uses" in values):
        raise UnknownError(f"{where}: a step either runs or uses something")


def combinations(strategy: Mapping[str, Any], scope: Scope) -> list[dict[str, Any]]:
    """Return the values of `matrix` for each job of a strategy; one without any if there is no matrix."""
    if "matrix" not in strategy:
        return [{}]
    matrix = value_of(strategy["matrix"], scope)
    matrix = {name: value_of(values, scope) for name, values in matrix.items()}
    if "exclude" in matrix:
        raise UnknownError("matrix: exclude is not known")
    included = matrix.pop("include", [])
    if matrix and included:
        raise UnknownError("matrix: include beside other keys is not known")
    found = [dict(zip(matrix, values, strict=True)) for values in product(*matrix.values())] if matrix else []
    return found + included
