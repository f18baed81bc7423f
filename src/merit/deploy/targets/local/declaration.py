"""Checks what an environment's file declares for the target local: too many replicas, or a port already in use."""

from collections.abc import Iterator

from merit.deploy import environments
from merit.deploy.environments import DeclaredEnvironment
from merit.deploy.targets.local.state import MAX_REPLICAS
from merit.errors import MeritError, Problem


def find_problems(declared: DeclaredEnvironment) -> Iterator[Problem]:
    """Yield a problem for too many replicas, and for a port that another environment has."""
    environment = declared.environment
    if environment.version is None:
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
    """Yield the other environments of this target; invalid ones are skipped, their own plan reports them."""
    for name in environments.list_names():
        try:
            other = environments.read_environment(name)
        except MeritError:
            continue
        is_same_target = other.environment.target == declared.environment.target
        if name != declared.name and is_same_target and other.environment.version is not None:
            yield other
