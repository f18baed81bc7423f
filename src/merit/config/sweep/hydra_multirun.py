"""Hydra's multirun: find, configure and call sweeper and launcher plugins as Hydra itself does.

Hydra composes a configuration with one key, the folder of a trial. merit composes and checks the trials' own
configuration, conf/, before any of them starts, so a launcher only has to carry a path to another machine.
"""

from collections.abc import Callable, Sequence
from typing import Any

from merit.errors import ConfigError, MeritError, Problem

SWEEPER_PLUGIN, DEFAULT_LAUNCHER = "merit", "local"
HYDRA_OVERRIDES = (
    f"hydra/sweeper={SWEEPER_PLUGIN}",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
    "hydra.output_subdir=null",
    "hydra.sweep.dir=sweeps",
    "hydra.sweep.subdir='.'",
    "hydra.job.name=merit-trial",
)
LAUNCHER_EXTRAS = {"ray": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}
CONFIG_NAME = "merit_trial"


def run_multirun(arguments: Sequence[str], task: Callable[[Any], None]) -> Any:
    """Run Hydra's sweeper plugin on overrides, with the launcher plugin that `hydra/launcher=` names.

    Args:
        arguments: Hydra's overrides.
        task: the function that a job of the launcher calls; it must be importable by name.

    Raises:
        ConfigError: settings of Hydra's that merit doesn't pass on.
        MeritError: there is no such launcher.
    """
    from hydra import initialize
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext, RunMode

    from merit.config import hydra_adapter

    hydra_overrides = [text for text in arguments if is_hydra_override(text)]
    _check_hydra_overrides(hydra_overrides)
    ConfigStore.instance().store(name=CONFIG_NAME, node={"trial": None})
    with initialize(config_path=None, version_base="1.3", job_name="merit-trial"):
        loader = GlobalHydra.instance().config_loader()
        launcher_overrides = (
            hydra_overrides
            if any(text.startswith("hydra/launcher=") for text in hydra_overrides)
            else [f"hydra/launcher={DEFAULT_LAUNCHER}"]
        )
        launcher_overrides += [] if launcher_overrides is hydra_overrides else hydra_overrides
        try:
            config = loader.load_configuration(
                CONFIG_NAME, overrides=[*HYDRA_OVERRIDES, *launcher_overrides], run_mode=RunMode.MULTIRUN
            )
        except Exception as error:  # Hydra raises many unrelated types for mistakes in overrides
            raise _make_launcher_error(hydra_overrides, loader.get_group_options("hydra/launcher"), error) from error
        sweeper = Plugins.instance().instantiate_sweeper(
            config=config,
            hydra_context=HydraContext(config_loader=loader, callbacks=hydra_adapter.create_callbacks()),
            task_function=task,
        )
        return sweeper.sweep(arguments=list(arguments))


def is_hydra_override(override: str) -> bool:
    """Return whether an override sets Hydra's own configuration."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


def find_launcher(arguments: Sequence[str]) -> str:
    """Return the launcher that overrides choose."""
    launchers = [text.partition("=")[2] for text in arguments if text.startswith("hydra/launcher=")]
    return launchers[-1] if launchers else DEFAULT_LAUNCHER


def _check_hydra_overrides(hydra_overrides: Sequence[str]) -> None:
    """Refuse all of Hydra's settings except the launcher's: others run code, or load it from elsewhere."""
    problems = [
        Problem("command line", text, "Hydra's own settings", "hydra/launcher=NAME, hydra.launcher.KEY=VALUE")
        for text in hydra_overrides
        if not text.startswith(("hydra/launcher=", "hydra.launcher.")) or "_target_" in text.partition("=")[0]
    ]
    if problems:
        raise ConfigError(problems)


def _make_launcher_error(hydra_overrides: Sequence[str], options: Sequence[str], error: Exception) -> MeritError:
    name = find_launcher(hydra_overrides)
    allowed = sorted({*options, *LAUNCHER_EXTRAS})
    if name not in options:
        extra = LAUNCHER_EXTRAS.get(name)
        hint = f"install it: pip install 'merit-ml[{extra}]'" if extra else ""
        return ConfigError(
            [Problem("command line", "hydra/launcher", f"no launcher {name!r}", ", ".join(allowed), hint)]
        )
    reason = " ".join(str(error).split())[:300]
    return ConfigError([Problem("command line", "hydra.launcher", reason, "keys of the launcher's own")])
