"""apply: an environment becomes what main declares, and that is recorded; a second apply has nothing to do."""

from dataclasses import dataclass

from merit import git
from merit.config.schema import Lock
from merit.deploy import main_branch, mlflow_alias, records, targets
from merit.deploy import plan as planning
from merit.deploy.targets import Probe
from merit.errors import MeritError
from merit.process import workspace_lock


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
        MeritError: the environment asks for what may not be, another apply is at it, something can't be reached, or
            what was done could not be recorded.
    """
    with workspace_lock.environment(name):
        main_branch.fetch()
        commit = main_branch.is_current(name)
        made = planning.plan(name, lock, probe)
        if made.differs:
            git.check_identity()  # before anything is switched that could not be recorded
        done, address = made.target.apply(), targets.address(made.target.desired())
        alias, left = _project(made)
        last = records.read(lock.name, name)
        is_told = records.is_told(made.declared, last[0] if last else None, made.package)
        if not (done or alias) and (is_told or (made.wanted is None and not last)):
            return Applied([], None, left, address)
        done += alias
        return Applied(done, _recorded(made, commit, done), left, address)


def _recorded(made: planning.Plan, commit: str, done: list[str]) -> str:
    """Record what was done; return the tag.

    Raises:
        MeritError: it could not be recorded; what was done stands.
    """
    try:
        return records.write(made.lock.name, made.declared, commit, done, made.package)
    except MeritError as error:
        told = "applied, but not recorded" if done else "not recorded"
        raise MeritError(f"{made.declared.name}: {told}: {error}; 'merit apply {made.declared.name}' again") from error


def _project(made: planning.Plan) -> tuple[list[str], str | None]:
    """Set the alias in MLflow; what serves doesn't depend on it, so what hinders that is told and no more."""
    name, found = made.declared.name, made.alias
    if found.now == made.wanted and found.wrong is None:
        return [], None
    if found.wrong is not None:
        return [], f"the alias '{name}' is not set: {found.wrong}"
    try:
        mlflow_alias.write(made.lock, name, made.wanted, found)
    except MeritError as error:
        return [], f"the alias '{name}' is not set: {error}"
    return [f"alias {name}: {found.now or 'none'} -> {made.wanted or 'none'}"], None
