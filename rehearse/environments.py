"""Environments: secrets that only some jobs get, and the branches whose runs those may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from rehearse.expressions import Scope, fill
from rehearse.runs import Trigger

HEADS = "refs/heads/"


@dataclass(frozen=True)
class Environment:
    """An environment of the repository.

    Attributes:
        branches: patterns of the branches whose runs it admits; None: every run's, as GitHub makes an environment that
            a job names and nobody has set up.
        secrets: what its jobs get besides the repository's secrets, and before those.
    """

    branches: tuple[str, ...] | None = None
    secrets: dict[str, str] = field(default_factory=dict)

    def admits(self, trigger: Trigger) -> bool:
        """Say whether a run's job may have it: its ref decides, which for a pull request is that of the merge."""
        if self.branches is None:
            return True
        return any(_matches(trigger.ref.removeprefix(HEADS), pattern) for pattern in self.branches)


def _matches(ref: str, pattern: str) -> bool:
    """Compare part by part, for a wildcard matches no slash."""
    parts, patterns = ref.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def named(job: Mapping[str, Any], scope: Scope) -> str | None:
    """Return the name of a job's environment, if it has one; names don't differ by their case."""
    value = job.get("environment")
    name = value["name"] if isinstance(value, Mapping) else value
    return None if name is None else fill(str(name), scope).casefold()


def refusal(name: str, trigger: Trigger) -> str:
    """Return what GitHub says of a job that its environment doesn't admit."""
    ref = trigger.ref.removeprefix(HEADS)
    return f'Branch "{ref}" is not allowed to deploy to {name} due to environment protection rules.'
