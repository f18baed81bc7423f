"""Runs the complete path: compose, the stages that DVC finds out of date, gate and register."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

from merit import artifacts, tracking
from merit.config import lock as locks
from merit.config.compose import Composer
from merit.config.schema import Lock
from merit.console.logging import show_line as show_progress
from merit.console.logging import show_phase
from merit.dvc import restore
from merit.errors import ConfigError, MeritError, Refused
from merit.gate import freshness
from merit.mlflow import store
from merit.process import workspace_lock

PRELOAD_DELAY_S = 3.0
SWEEP_WAIT_TIMEOUT_S = 900.0
"""Seconds that a sweep waits for another run in this folder, which may be computing the same features."""
DAMAGED_FILE_PHRASES = ("corrupted", "validation failed", "unable to read", "utf-8")
"""Phrases in DVC's error messages about a file that it can't read; no type is common to all, nor names the file."""
COMMON_STAGE, TRAIN_STAGE, BASELINE_STAGE, SEEDS_STAGE = "features", "train", "baseline", "seeds"
EVALUATE_STAGE, PACKAGE_STAGE = "evaluate", "package"
TRAIN_DEPENDENT_STAGES = {TRAIN_STAGE, EVALUATE_STAGE, PACKAGE_STAGE}
"""TRAIN_STAGE runs in parallel with BASELINE_STAGE, PACKAGE_STAGE with EVALUATE_STAGE, and SEEDS_STAGE with all four.

COMMON_STAGE is the last stage that both TRAIN_STAGE and BASELINE_STAGE depend on.
TRAIN_DEPENDENT_STAGES is TRAIN_STAGE, the longer of them, and the stages
that can be out of date while BASELINE_STAGE is up to date."""
PARALLEL_STAGES = {BASELINE_STAGE, *TRAIN_DEPENDENT_STAGES}


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes:
        report: the gate's report.
        lock: the configuration that ran.
        version: the candidate's number in MLflow; None if the gate failed or MLflow doesn't keep the runs.
        is_from_overrides: whether the overrides made a configuration that differs from conf/ alone.
        record_error: the error that prevented recording the run after the gate; None without one.
    """

    report: dict[str, Any]
    lock: Lock
    version: str | None
    is_from_overrides: bool = False
    record_error: MeritError | None = None


ShowLine = Callable[[str], object]
"""Reports a line of progress to the user."""


def run_path(overrides: Sequence[str], show_line: ShowLine = show_progress) -> RunResult:
    """Write the lock, run the stages that are out of date, run the gate, record the run, register what passed.

    Args:
        overrides: Hydra overrides of conf/.
        show_line: reports outputs that dvc.lock names and that are missing here.

    Returns:
        The gate's report and the registered candidate; nothing is judged or registered again if all is up to date.

    Raises:
        ConfigError: conf/ or the overrides are invalid; nothing was done.
        Refused: a stage completed with a negative result, such as a violated contract.
        MeritError: a stage or DVC failed.
    """
    composer = Composer()
    lock = composer.compose(overrides).lock
    is_from_overrides = bool(overrides) and _differs_from_conf(composer, lock)
    with workspace_lock.lock_run():
        locks.write_lock(lock)
        with _preload_in_background(lock):
            update_stages(show_line=show_line)
        last_report = freshness.load_current_report(lock)
        if last_report is not None and (receipt := _find_receipt(lock, last_report)) is not None:
            return RunResult(last_report, lock, receipt.get("version"), is_from_overrides)
        # The gate runs again before a registration: a report file from an earlier run is not trusted.
        report = _run_gate(lock)
        try:
            return RunResult(report, lock, _record_and_register(lock, report), is_from_overrides)
        except MeritError as fault:  # the verdict is shown all the same
            return RunResult(report, lock, None, is_from_overrides, fault)


def _differs_from_conf(composer: Composer, lock: Lock) -> bool:
    """Return whether conf/ without overrides composes to another lock or is invalid."""
    try:
        return composer.compose().lock != lock
    except ConfigError:
        return True


@contextmanager
def _preload_in_background(lock: Lock) -> Iterator[None]:
    """Import the modules of the later steps in a thread, while the stages run in other processes.

    It starts late enough that a run with nothing to do doesn't pay for it.
    """
    timer = threading.Timer(PRELOAD_DELAY_S, _preload_modules, [lock])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _preload_modules(lock: Lock) -> None:
    import merit.gate.judge

    tracking.select_tracker(lock.tracking)
    if not store.has_registry(lock.tracking):
        return
    import merit.registry.mlflow_candidates  # noqa: F401  # imported in advance

    # An error of the store is reported later, in the main thread, by the step that uses the store.
    with suppress(MeritError):
        store.open_store(lock.tracking)


def _run_gate(lock: Lock) -> dict[str, Any]:
    from merit.gate.judge import gate

    return gate(lock)


def _create_receipt(lock: Lock, report: dict[str, Any]) -> dict[str, str]:
    return {
        "package": report["candidate"]["digest"],
        "gate": report["inputs"],
        "uri": tracking.describe_location(lock.tracking),
    }


def _find_receipt(lock: Lock, report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the receipt of this exact registration, which makes a query of the tracking store unnecessary."""
    runs_folder = tracking.find_local_path(lock.tracking)
    if not artifacts.REGISTRATION.is_file() or (runs_folder is not None and not runs_folder.exists()):
        return None
    try:
        receipt = artifacts.read_json(artifacts.REGISTRATION, "register")
    except MeritError:
        return None
    return receipt if _create_receipt(lock, report).items() <= receipt.items() else None


def _record_and_register(lock: Lock, report: dict[str, Any]) -> str | None:
    """Record the run; register the package in MLflow if the gate passed and MLflow keeps the runs."""
    show_phase("run: recording the run, and registering what passed")
    run_id = tracking.select_tracker(lock.tracking).complete_run(lock)
    candidate = None
    if report["verdict"] == "pass" and store.has_registry(lock.tracking):
        from merit.registry.mlflow_candidates import register_candidate

        candidate = register_candidate(lock, run_id, report)
    artifacts.write_json(
        artifacts.REGISTRATION, {**_create_receipt(lock, report), "run_id": run_id, "version": candidate}
    )
    return candidate


def update_stages(last_stage: str | None = None, show_line: ShowLine = show_progress) -> list[str]:
    """Run the stages that are out of date; return their names.

    Outputs that dvc.lock names for the present inputs are downloaded from DVC's remote instead of computed.

    Args:
        last_stage: the last stage to run; None for all stages.
        show_line: reports outputs that were downloaded or couldn't be.

    Raises:
        Refused: a stage completed with a negative result.
        MeritError: a stage or DVC failed; an output must not be downloaded; runs can't be recorded.
    """
    with _open_dvc() as repo:
        restore.restore_current(repo, show_line)
        stale = set(repo.status() if last_stage is None else repo.status(last_stage, with_deps=True))
        if not stale:
            return []
        if TRAIN_STAGE in stale:  # fail now rather than after the training
            tracking.check_tracking(locks.read_lock().tracking)
        is_small = last_stage is not None or stale - {SEEDS_STAGE} < {EVALUATE_STAGE, PACKAGE_STAGE}
        if is_small or not _list_stages(repo) >= PARALLEL_STAGES:
            return _list_names(repo.reproduce(last_stage))
        completed = _list_names(repo.reproduce(COMMON_STAGE))
    with _run_aside(SEEDS_STAGE) if SEEDS_STAGE in stale else nullcontext():
        completed += _update_model(stale)
    with _open_dvc() as repo:
        return completed + _list_names(repo.reproduce())


def _update_model(stale: set[str]) -> list[str]:
    """Run the stages from TRAIN_STAGE on that are out of date, in pairs; return their names."""
    with _open_dvc() as repo:  # reopened each time, for another process has written dvc.lock
        if stale - {SEEDS_STAGE} <= TRAIN_DEPENDENT_STAGES:
            completed = _list_names(repo.reproduce(TRAIN_STAGE))
        else:
            completed = _reproduce_beside(repo, TRAIN_STAGE, BASELINE_STAGE)
    with _open_dvc() as repo:
        pair = {PACKAGE_STAGE, EVALUATE_STAGE}
        if set(repo.status([*pair])) >= pair and not any(_is_input(repo, *each) for each in permutations(pair, 2)):
            completed += _reproduce_beside(repo, PACKAGE_STAGE, EVALUATE_STAGE)
    return completed


def rerun_all_stages() -> None:
    """Run every stage without DVC's cache, even if it is up to date; dvc.lock then contains the new hashes.

    Raises:
        Refused: a stage completed with a negative result.
        MeritError: a stage or DVC failed.
    """
    with _open_dvc() as repo:
        repo.reproduce(force=True, run_cache=False, no_commit=True)


def update_features() -> list[Path]:
    """Run the stages up to features that are out of date; return the folders where DVC stores data on this machine.

    Raises:
        Refused: a stage completed with a negative result.
        MeritError: a stage or DVC failed.
    """
    with workspace_lock.lock_run(SWEEP_WAIT_TIMEOUT_S):
        update_stages(COMMON_STAGE)
    with _open_dvc() as repo:
        remotes = (remote.get("url", "") for remote in repo.config["remote"].values())
        return [Path(repo.dvc_dir), Path(repo.cache.local.path), *(Path(url) for url in remotes if "://" not in url)]


@contextmanager
def _open_dvc() -> Iterator[Any]:
    """Yield DVC's repository object and translate DVC's exceptions into one-line errors."""
    # Stages call `merit` by name; PATH makes that the running installation.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.stage.exceptions import StageCmdFailedError

    from merit.dvc.repository import open_checked

    try:
        with open_checked() as repo:
            repo.scm_context.quiet = True  # merit itself says after the verdict what to commit
            yield repo
    except ReproductionError as error:
        cause = error.__cause__
        if isinstance(cause, MeritError):
            raise cause from error
        if isinstance(cause, StageCmdFailedError):
            raise _create_stage_error(error, cause) from error
        raise MeritError(f"pipeline: {_format_error(error)} ({_format_error(cause)})") from error
    except DvcException as error:
        raise MeritError(f"pipeline: {_format_error(error)}{_advise_lock_repair(error)}") from error


def _advise_lock_repair(error: Exception) -> str:
    """Return advice if the error is a dvc.lock that DVC can't read, else an empty text."""
    message, name = str(error), artifacts.DVC_LOCK.name
    if f"{name}'" not in message or not any(phrase in message for phrase in DAMAGED_FILE_PHRASES):
        return ""
    return f"; run 'git checkout {name}', or remove it and run again"


def _list_stages(repo: Any) -> set[str]:
    return {stage.addressing for stage in repo.index.stages}


def _list_names(stages: Sequence[Any]) -> list[str]:
    return [stage.addressing for stage in stages]


def _is_input(repo: Any, stage: str, dependent: str) -> bool:
    """Return whether an output of a stage is a dependency of another one, in this project's dvc.yaml."""
    stages = {each.addressing: each for each in repo.index.stages}
    outputs = {out.fs_path for out in stages[stage].outs}
    return any(Path(dep.fs_path).is_relative_to(out) for dep in stages[dependent].deps for out in outputs)


def _reproduce_beside(repo: Any, stage: str, side_stage: str) -> list[str]:
    """Run a stage while another process runs a shorter one; return their names."""
    with _run_aside(side_stage):
        completed = repo.reproduce(stage, single_item=True)
    return [side_stage, *_list_names(completed)]


@contextmanager
def _run_aside(stage: str) -> Iterator[None]:
    """Run a stage in another process during the block, and wait for it: one stage alone leaves processors idle.

    If it fails there, the following run of all stages runs it again and shows its output.
    """
    command, devnull = [sys.executable, "-m", "merit.pipeline.run", stage], subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=devnull, stdout=devnull, stderr=devnull, start_new_session=True
    ) as side_process:
        try:
            yield
        except BaseException:
            with suppress(ProcessLookupError):  # the group: DVC's process would leave the stage's command working
                os.killpg(side_process.pid, signal.SIGTERM)
            raise


def _create_stage_error(error: Exception, cause: Exception) -> MeritError:
    """Return the error for a failed stage; DVC reports the stage and its exit code only inside its messages."""
    stage = re.search(r"'(.+)'", str(error))
    status = re.search(r"exited with (-?\d+)", str(cause))
    name, code = stage[1] if stage else "?", int(status[1]) if status else -1
    if code in {-signal.SIGINT, 128 + signal.SIGINT}:
        raise KeyboardInterrupt
    if code == Refused.exit_code:
        return Refused(f"pipeline: stage '{name}' refused; the reason is printed above")
    return MeritError(
        f"pipeline: stage '{name}' failed with exit code {code}; the reason is printed above, 'merit run' tries again"
    )


def _format_error(error: BaseException | None) -> str:
    return " ".join(str(error).split())


def _update_stage(stage: str) -> None:
    """Run one stage if it is out of date, without output."""
    with _open_dvc() as repo:
        repo.reproduce(stage, single_item=True)


if __name__ == "__main__":
    _update_stage(sys.argv[1])
