"""apply: brings an environment to the state that main declares and records it; a second apply changes nothing."""

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
    """The result of an apply.

    Attributes:
        done: the actions taken, one line each; empty if nothing differed.
        record: the tag that records the apply; None if there was nothing to record.
        left: the remaining difference and its remedy; None if there is none.
        address: the URL for predictions, if the target knows it.
    """

    done: list[str]
    record: str | None
    left: str | None
    address: str | None


def apply(name: str, lock: Lock, probe: Probe) -> Applied:
    """Bring an environment to the state that its file declares.

    Args:
        name: the environment.
        lock: the configuration.
        probe: the smoke test that a new server must pass before it gets requests.

    Raises:
        Refused: the file differs from main, or the new version does not become ready; the previous version keeps
            running.
        MeritError: the declaration is not allowed, another apply is in progress, a service can't be reached, or the
            apply could not be recorded.
    """
    with workspace_lock.environment(name):
        main_branch.fetch()
        commit = main_branch.is_current(name)
        made = planning.plan(name, lock, probe)
        if made.differs:
            git.check_identity()  # the record is a tag by this identity: fail before anything is switched
        done, address = made.target.apply(), targets.address(made.target.desired())
        alias, left = _project(made)
        last = records.read(lock.name, name)
        is_told = records.is_told(made.declared, last[0] if last else None, made.package)
        if not (done or alias) and (is_told or (made.wanted is None and not last)):
            return Applied([], None, left, address)
        done += alias
        return Applied(done, _recorded(made, commit, done), left, address)


def _recorded(made: planning.Plan, commit: str, done: list[str]) -> str:
    """Record the actions of an apply; return the tag.

    Raises:
        MeritError: they could not be recorded; the environment keeps its new state.
    """
    try:
        return records.write(made.lock.name, made.declared, commit, done, made.package)
    except MeritError as error:
        told = "applied, but not recorded" if done else "not recorded"
        raise MeritError(f"{made.declared.name}: {told}: {error}; 'merit apply {made.declared.name}' again") from error


def _project(made: planning.Plan) -> tuple[list[str], str | None]:
    """Set the alias in MLflow; a failure is reported but not raised, because serving doesn't depend on the alias."""
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
