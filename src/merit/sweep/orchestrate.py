"""Orchestrates a sweep from its overrides to its report, and releases its resources at the end."""

from collections.abc import Callable, Sequence
from pathlib import Path

from merit.config.sweep import hydra_multirun
from merit.errors import MeritError
from merit.pipeline import run
from merit.sweep import ownership, plan
from merit.sweep.loop import SweepLoop, count_threads
from merit.sweep.record import Sweep
from merit.sweep.trials import local_machine, prepare, supervise
from merit.sweep.trials.trial_executor import Launcher, TrialExecutor
from merit.tracking.sweep_logger import SweepLogger


def run_multirun(arguments: Sequence[str]) -> Sweep:
    """Run a sweep by Hydra's multirun, print and write its report, and return it.

    Args:
        arguments: overrides as after `merit train -m`: swept keys, `sweep=...` and `hydra/launcher=...`.

    Raises:
        ConfigError: the request is invalid; no trial was started.
        Refused: all trials failed, or more than sweep.max_failures.
        MeritError: something is broken; finished trials are kept.

    Example:
        best = run_multirun(["model=linear,mlp", "sweep.workers=2"]).find_best()
    """
    if hydra_multirun.find_launcher(arguments) == hydra_multirun.DEFAULT_LAUNCHER:
        local_machine.start_forkserver()
    try:
        result: Sweep = hydra_multirun.run_multirun(arguments, supervise.run_job)
    finally:
        local_machine.stop_forkserver()
    return result


def run_sweep(arguments: Sequence[str], launcher_of: Callable[[Path], Launcher]) -> Sweep:
    """Run a sweep with the launcher that Hydra instantiates; `run_multirun` calls this through Hydra's sweeper plugin.

    Args:
        arguments: overrides as after `merit train -m`.
        launcher_of: returns the launcher for the sweep's folder.
    """
    sweep_plan = plan.make_plan(arguments)
    sweep_logger = SweepLogger(
        sweep_plan.base_lock, sweep_plan.name
    )  # its process imports the tracking library meanwhile
    try:
        return _orchestrate(sweep_plan, launcher_of, sweep_logger)
    finally:
        sweep_logger.close()


def _orchestrate(sweep_plan: plan.Plan, launcher_of: Callable[[Path], Launcher], sweep_logger: SweepLogger) -> Sweep:
    stores = run.update_features()
    folder = prepare.prepare_folder(sweep_plan)
    prepare.write_denied_paths(folder, sweep_plan.base_lock, stores)
    owner = ownership.Owner(folder)
    try:
        from merit.sweep.search.study import Study

        try:
            with ownership.lock_claims(folder):
                study = Study(sweep_plan, folder, owner.worker_index)
            sweep_logger.start_sweep()
        except MeritError:
            prepare.remove_unused_folder(folder)
            raise
        settings = sweep_plan.base_lock.trainer
        executor = TrialExecutor(
            launcher_of(folder), sweep_plan.settings.workers, count_threads(settings), gpu=settings.accelerator == "gpu"
        )
        try:
            return SweepLoop(sweep_plan, folder, study, executor, owner, sweep_logger=sweep_logger).run()
        finally:
            executor.close()
            study.close()
    finally:
        owner.withdraw()
