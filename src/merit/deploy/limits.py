"""What an environment's file asks for that can't be, whatever version it names; each fault with its line."""

from collections.abc import Iterator

from merit.deploy import environments
from merit.deploy.environments import Declared
from merit.deploy.targets.local.state import MOST
from merit.errors import MeritError, Problem


def problems(declared: Declared) -> Iterator[Problem]:
    """Yield what can't be: an environment after itself, too many replicas, a port that another one has."""
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
    """Yield the other environments that run here; what is wrong with one is told where it is asked for."""
    for name in environments.names():
        try:
            other = environments.read(name)
        except MeritError:
            continue
        if name != declared.name and other.environment.target == "local" and other.environment.version is not None:
            yield other
