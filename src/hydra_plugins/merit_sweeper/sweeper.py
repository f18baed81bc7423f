"""hydra/sweeper=merit: hands what Hydra asks for to merit.sweep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass
class MeritSweeperConf:
    """The sweeper has no settings here: conf/sweep has them."""

    _target_: str = "hydra_plugins.merit_sweeper.sweeper.MeritSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="merit", node=MeritSweeperConf, provider="merit")


class MeritSweeper(Sweeper):
    """Searches as conf/sweep says."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what launchers are made with."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Search over these overrides; return the sweep."""
        from merit.sweep import orchestrate

        return orchestrate.sweep(arguments, self._launcher)

    def _launcher(self, folder: Path) -> Launcher:
        """Return the launcher that was chosen; what it writes goes into the sweep's folder."""
        from hydra.core.plugins import Plugins

        with open_dict(self.config):
            self.config.hydra.sweep.dir = str(folder)
        return Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )
