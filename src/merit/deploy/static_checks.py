"""Checks of an environment's file that don't depend on the version: impossible settings, each with its line."""

from collections.abc import Iterator

from merit.deploy import environments
from merit.deploy.environments import DeclaredEnvironment
from merit.deploy.targets.local.state import MAX_REPLICAS
from merit.errors import MeritError, Problem


def find_problems(declared: DeclaredEnvironment) -> Iterator[Problem]:
    """Yield a problem for an environment that comes after itself, too many replicas, or a port already in use."""
    environment = declared.environment
    if environment.demands.after == declared.name:
        yield declared.build_problem("demands.after", f"{declared.name} can't come after itself", "null")
    if environment.target != "local" or environment.version is None:
        return
    if environment.replicas > MAX_REPLICAS:
        yield declared.build_problem(
            "replicas", f"found {environment.replicas}", f"at most {MAX_REPLICAS} with the target local"
        )
    for other in _iter_other_local(declared):
        if other.environment.local.port == environment.local.port:
            location = other.build_problem("local.port", "").where
            yield declared.build_problem(
                "local.port", f"{environment.local.port} is that of {location} too", hint="change one of them"
            )


def _iter_other_local(declared: DeclaredEnvironment) -> Iterator[DeclaredEnvironment]:
    """Yield the other environments of the target local; invalid ones are skipped, their own plan reports them."""
    for name in environments.list_names():
        try:
            other = environments.read_environment(name)
        except MeritError:
            continue
        if name != declared.name and other.environment.target == "local" and other.environment.version is not None:
            yield other
