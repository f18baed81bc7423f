"""Orchestrates a sweep from its overrides to its report, and releases its resources at the end."""

from collections.abc import Callable, Sequence
from pathlib import Path

from merit.config import multirun as hydra
from merit.errors import MeritError
from merit.pipeline import run
from merit.sweep import claims, local, plan, prepare, supervise
from merit.sweep.loop import Loop, threads_of
from merit.sweep.record import Sweep
from merit.sweep.trial_executor import Crew, Launcher
from merit.tracking.sweeps import Teller


def multirun(arguments: Sequence[str]) -> Sweep:
    """Run a sweep by Hydra's multirun, print and write its report, and return it.

    Args:
        arguments: overrides as after `merit train -m`: swept keys, `sweep=...` and `hydra/launcher=...`.

    Raises:
        ConfigError: the request is invalid; no trial was started.
        Refused: all trials failed, or more than sweep.max_failures.
        MeritError: something is broken; finished trials are kept.

    Example:
        best = multirun(["model=linear,mlp", "sweep.workers=2"]).best()
    """
    if hydra.launcher_of(arguments) == hydra.LAUNCHER:
        local.warm()
    try:
        found: Sweep = hydra.multirun(arguments, supervise.task)
    finally:
        local.cool()
    return found


def sweep(arguments: Sequence[str], launcher_of: Callable[[Path], Launcher]) -> Sweep:
    """Run a sweep with the launcher that Hydra instantiates; `multirun` calls this through Hydra's sweeper plugin.

    Args:
        arguments: overrides as after `merit train -m`.
        launcher_of: returns the launcher for the sweep's folder.
    """
    made = plan.make(arguments)
    teller = Teller(made.base, made.name)  # its process imports the tracking library meanwhile
    try:
        return _driven(made, launcher_of, teller)
    finally:
        teller.close()


def _driven(made: plan.Plan, launcher_of: Callable[[Path], Launcher], teller: Teller) -> Sweep:
    stores = run.features()
    folder = prepare.folder_of(made)
    prepare.close(folder, made.base, stores)
    owner = claims.Owner(folder)
    try:
        from merit.sweep.study import Study

        try:
            with claims.claiming(folder):
                study = Study(made, folder, owner.place)
            teller.begin()
        except MeritError:
            prepare.undo(folder)
            raise
        how = made.base.trainer
        crew = Crew(launcher_of(folder), made.settings.workers, threads_of(how), gpu=how.accelerator == "gpu")
        try:
            return Loop(made, folder, study, crew, owner, teller=teller).run()
        finally:
            crew.close()
            study.close()
    finally:
        owner.leave()
