"""Launchers `hydra/launcher=local` and `hydra/launcher=ray`: each job is the folder of a trial, run by merit.sweep."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class LocalConf:
    """Configuration of the local launcher, which has no settings."""

    _target_: str = "hydra_plugins.merit_sweeper.launchers.LocalLauncher"


@dataclass
class RayConf:
    """Configuration of the Ray launcher. All nodes must see the project folder; without an address Ray runs locally."""

    _target_: str = "hydra_plugins.merit_sweeper.launchers.RayLauncher"
    address: str | None = None
    """Address of the head node, such as 127.0.0.1:6379; `auto` finds a running local one. RAY_ADDRESS works too."""


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalConf, provider="merit")
ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayConf, provider="merit")


class _TrialLauncher(Launcher):
    """Base of both launchers: runs the trial that the single override of a job names."""

    workers: Any

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Do nothing: the folder of a trial holds all settings."""

    def width(self, threads: int, *, gpu: bool) -> int:
        """Return the number of trials that can run at once.

        Args:
            threads: CPU threads per trial.
            gpu: whether each trial needs a GPU.
        """
        return int(self.workers.width(threads, gpu=gpu))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run trials one after another; safe to call from several threads."""
        return [self._run_trial(list(overrides)) for overrides in job_overrides]

    def close(self) -> None:
        """Release processes and connections."""
        self.workers.close()

    def _run_trial(self, overrides: list[str]) -> JobReturn:
        values = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(overrides)}
        self.workers.run(Path(str(values["trial"])))
        return JobReturn(overrides=overrides, _return_value=None, status=JobStatus.COMPLETED)


class LocalLauncher(_TrialLauncher):
    """Runs trials on the CPU cores of this machine."""

    def __init__(self) -> None:
        from merit.sweep.trials.local_machine import LocalMachine

        self.workers = LocalMachine()


class RayLauncher(_TrialLauncher):
    """Runs trials on a Ray cluster."""

    def __init__(self, address: str | None) -> None:
        from merit.sweep.trials.ray_cluster import RayCluster

        self.workers = RayCluster(address)
