"""Checks of an environment's file that don't depend on the version: impossible settings, each with its line."""

from collections.abc import Iterator

from merit.deploy import environments
from merit.deploy.environments import Declared
from merit.deploy.targets.local.state import MOST
from merit.errors import MeritError, Problem


def problems(declared: Declared) -> Iterator[Problem]:
    """Yield a problem for an environment that comes after itself, too many replicas, or a port already in use."""
    told = declared.environment
    if told.demands.after == declared.name:
        yield declared.problem("demands.after", f"{declared.name} can't come after itself", "null")
    if told.target != "local" or told.version is None:
        return
    if told.replicas > MOST:
        yield declared.problem("replicas", f"found {told.replicas}", f"at most {MOST} with the target local")
    for other in _beside(declared):
        if other.environment.local.port == told.local.port:
            place = other.problem("local.port", "").where
            yield declared.problem("local.port", f"{told.local.port} is that of {place} too", hint="change one of them")


def _beside(declared: Declared) -> Iterator[Declared]:
    """Yield the other environments of the target local; invalid ones are skipped, their own plan reports them."""
    for name in environments.names():
        try:
            other = environments.read(name)
        except MeritError:
            continue
        if name != declared.name and other.environment.target == "local" and other.environment.version is not None:
            yield other
