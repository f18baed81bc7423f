"""A sweep from its overrides to its report: what it needs is made, and let go of at the end."""

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
    """Search as the overrides and conf/sweep say, by Hydra's multirun; return the sweep, shown and reported.

    Raises:
        ConfigError: something that was asked for can't be done; nothing was begun.
        Refused: more trials failed than may, or all of them.
        MeritError: something is broken; what was trained is kept.
    """
    if hydra.launcher_of(arguments) == hydra.LAUNCHER:
        local.warm()
    try:
        found: Sweep = hydra.multirun(arguments, supervise.task)
    finally:
        local.cool()
    return found


def sweep(arguments: Sequence[str], launcher_of: Callable[[Path], Launcher]) -> Sweep:
    """Do what `multirun` does, by the launcher that Hydra makes."""
    made = plan.make(arguments)
    teller = Teller(made.base, made.name)  # it loads meanwhile what keeps runs
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
