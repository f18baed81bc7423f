"""apply: an environment becomes what main declares, and that is recorded; a second apply has nothing to do."""

from dataclasses import dataclass

from merit import exclusive
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gitops import aliases, main, records, targets
from merit.gitops import plan as planning
from merit.gitops.targets import Probe


@dataclass(frozen=True)
class Applied:
    """What an apply did.

    Attributes:
        done: what it did, one line each; none if nothing had to be.
        record: its tag, if it did anything.
        left: what still differs and what to do about it.
        address: where it is called, if the target knows.
    """

    done: list[str]
    record: str | None
    left: str | None
    address: str | None


def apply(name: str, lock: Lock, probe: Probe) -> Applied:
    """Make an environment what its file declares.

    Args:
        name: the environment.
        lock: the configuration.
        probe: how a new server is tried before it gets requests.

    Raises:
        Refused: the file is not what main says, or the new version does not come up; what ran before runs on.
        MeritError: the environment asks for what may not be, another apply is at it, or something can't be reached.
    """
    with exclusive.environment(name):
        main.fetch()
        commit = main.is_current(name)
        made = planning.plan(name, lock, probe)
        done, address = made.target.apply(), targets.address(made.target.desired())
        alias, left = _project(made)
        last = records.read(lock.name, name)
        is_told = records.is_told(made.declared, last[0] if last else None)
        if not (done or alias) and (is_told or (made.wanted is None and not last)):
            return Applied([], None, left, address)
        return Applied([*done, *alias], records.write(lock.name, made.declared, commit, [*done, *alias]), left, address)


def _project(made: planning.Plan) -> tuple[list[str], str | None]:
    """Set the alias in MLflow; what serves doesn't depend on it, so what hinders that is told and no more."""
    name, found = made.declared.name, made.alias
    if found.now == made.wanted and found.wrong is None:
        return [], None
    if found.wrong is not None:
        return [], f"the alias '{name}' is not set: {found.wrong}"
    try:
        aliases.write(made.lock, name, made.wanted, found)
    except MeritError as error:
        return [], f"the alias '{name}' is not set: {error}"
    return [f"alias {name}: {found.now or 'none'} -> {made.wanted or 'none'}"], None
