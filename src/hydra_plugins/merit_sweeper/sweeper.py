"""The sweeper `hydra/sweeper=merit`: delegates Hydra's multirun to merit.sweep."""

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
    """Configuration of the sweeper, which has no settings here; they are in conf/sweep."""

    _target_: str = "hydra_plugins.merit_sweeper.sweeper.MeritSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="merit", node=MeritSweeperConf, provider="merit")


class MeritSweeper(Sweeper):
    """Runs the search that conf/sweep configures."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the arguments that create a launcher."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run a search over these overrides; return the sweep."""
        from merit.sweep import orchestrate

        return orchestrate.run_sweep(arguments, self._create_launcher)

    def _create_launcher(self, folder: Path) -> Launcher:
        """Return the configured launcher, with its output in the folder of the sweep."""
        from hydra.core.plugins import Plugins

        with open_dict(self.config):
            self.config.hydra.sweep.dir = str(folder)
        return Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )
