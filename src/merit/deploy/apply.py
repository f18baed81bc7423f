"""apply: brings an environment to the state that main declares and records it; a second apply changes nothing."""

from dataclasses import dataclass

from merit import git
from merit.config.schema import Lock
from merit.deploy import apply_records, main_branch, mlflow_alias
from merit.deploy import plan as planning
from merit.deploy.targets.interface import Probe, get_address
from merit.errors import MeritError
from merit.process import workspace_lock


@dataclass(frozen=True)
class ApplyResult:
    """The result of an apply.

    Attributes:
        done: the actions taken, one line each; empty if nothing differed.
        record: the tag that records the apply; None if there was nothing to record.
        left: the remaining difference and its remedy; None if there is none.
        address: the URL for predictions, if the target knows it.
    """

    actions: list[str]
    record_tag: str | None
    remaining: str | None
    address: str | None


def apply(name: str, lock: Lock, probe: Probe) -> ApplyResult:
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
    with workspace_lock.lock_environment(name):
        main_branch.fetch_main()
        commit = main_branch.require_current(name)
        plan = planning.plan(name, lock, probe)
        if plan.differs:
            git.check_identity()  # the record is a tag by this identity: fail before anything is switched
        actions, address = plan.target.apply(), get_address(plan.target.describe_desired())
        alias_actions, remaining = _update_alias(plan)
        history = apply_records.read_records(lock.name, name)
        is_recorded = apply_records.is_recorded(plan.declared, history[0] if history else None, plan.package)
        if not (actions or alias_actions) and (is_recorded or (plan.declared_version is None and not history)):
            return ApplyResult([], None, remaining, address)
        actions += alias_actions
        return ApplyResult(actions, _write_record(plan, commit, actions), remaining, address)


def _write_record(plan: planning.Plan, commit: str, actions: list[str]) -> str:
    """Record the actions of an apply; return the tag.

    Raises:
        MeritError: they could not be recorded; the environment keeps its new state.
    """
    try:
        return apply_records.write_record(plan.lock.name, plan.declared, commit, actions, plan.package)
    except MeritError as error:
        outcome = "applied, but not recorded" if actions else "not recorded"
        raise MeritError(
            f"{plan.declared.name}: {outcome}: {error}; 'merit apply {plan.declared.name}' again"
        ) from error


def _update_alias(plan: planning.Plan) -> tuple[list[str], str | None]:
    """Set the alias in MLflow; a failure is reported but not raised, because serving doesn't depend on the alias."""
    name, alias = plan.declared.name, plan.alias
    if alias.current == plan.declared_version and alias.problem is None:
        return [], None
    if alias.problem is not None:
        return [], f"the alias '{name}' is not set: {alias.problem}"
    try:
        mlflow_alias.write_alias(plan.lock, name, plan.declared_version, alias)
    except MeritError as error:
        return [], f"the alias '{name}' is not set: {error}"
    return [f"alias {name}: {alias.current or 'none'} -> {plan.declared_version or 'none'}"], None
