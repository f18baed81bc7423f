"""hydra/launcher=local and hydra/launcher=ray: each job is a trial's folder, which merit.sweep runs."""

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
    """This machine's cores."""

    _target_: str = "hydra_plugins.merit_sweeper.launchers.LocalLauncher"


@dataclass
class RayConf:
    """A Ray cluster whose nodes see the project's folder; without an address, one on this machine alone."""

    _target_: str = "hydra_plugins.merit_sweeper.launchers.RayLauncher"
    address: str | None = None
    """Of the cluster's head, such as 127.0.0.1:6379; auto finds one that runs here. RAY_ADDRESS does as well."""


ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalConf, provider="merit")
ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayConf, provider="merit")


class _Ours(Launcher):
    """What both do: run the trial that a job's one override names."""

    workers: Any

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Need nothing of it: a trial's folder says all."""

    def width(self, threads: int, *, gpu: bool) -> int:
        """Return how many trials there is room for at once."""
        return int(self.workers.width(threads, gpu=gpu))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run trials, one after another; several threads may do so at once."""
        return [self._run(list(overrides)) for overrides in job_overrides]

    def close(self) -> None:
        """Let go of processes and connections."""
        self.workers.close()

    def _run(self, overrides: list[str]) -> JobReturn:
        values = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(overrides)}
        self.workers.run(Path(str(values["trial"])))
        return JobReturn(overrides=overrides, _return_value=None, status=JobStatus.COMPLETED)


class LocalLauncher(_Ours):
    """Fills this machine's cores."""

    def __init__(self) -> None:
        from merit.sweep.local import Local

        self.workers = Local()


class RayLauncher(_Ours):
    """Runs trials on a Ray cluster."""

    def __init__(self, address: str | None) -> None:
        from merit.sweep.on_ray import OnRay

        self.workers = OnRay(address)
