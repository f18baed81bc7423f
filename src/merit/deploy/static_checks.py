"""Checks of an environment's file that don't depend on the version: impossible settings, each with its line."""

from collections.abc import Iterator

from merit.deploy.environments import DeclaredEnvironment
from merit.deploy.targets import registry
from merit.errors import Problem


def find_problems(declared: DeclaredEnvironment) -> Iterator[Problem]:
    """Yield a problem for an environment that comes after itself, and those that only its target knows."""
    if declared.environment.demands.after == declared.name:
        yield declared.build_problem("demands.after", f"{declared.name} can't come after itself", "null")
    yield from registry.find_problems(declared)
