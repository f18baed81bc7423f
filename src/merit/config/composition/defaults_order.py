"""Resolve defaults lists with Hydra: the chosen files of conf/, in merge order. Hydra itself reads no file.

Only the part of Hydra that follows defaults lists is used. Hydra's own configuration, search path and plugins are not
loaded: they don't affect the lock, and loading them takes longer than everything else.
"""

from collections.abc import Sequence

from hydra import version
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

from merit.config.composition import group_choices
from merit.config.hydra_adapter import ConfigRepository, create_defaults_list, parse_header


class _LoadedRepository(ConfigRepository):
    """Hydra's view of the files of conf/ that were read already."""

    def __init__(self, files: group_choices.ConfigFiles) -> None:
        self.files = files
        self.groups = group_choices.list_groups(files)
        self.sources: list[ConfigSource] = []
        self.results: dict[str, ConfigResult | None] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.results:
            self.results[config_path] = self._make_result(config_path)
        return self.results[config_path]

    def _make_result(self, path: str) -> ConfigResult | None:
        file = self.files.get(path.removesuffix(".yaml"))
        if file is None:
            return None
        content = OmegaConf.create(dict.fromkeys(list(file.root.value)[:1]))  # Hydra only tests for content
        result = ConfigResult("conf", str(file.path), content, parse_header(file.head))
        result.defaults_list = self._create_defaults_list(path, OmegaConf.create(file.defaults.to_plain()))
        return result

    def group_exists(self, config_path: str) -> bool:
        return config_path in self.groups

    def config_exists(self, config_path: str) -> bool:
        return self.load_config(config_path) is not None

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> list[str]:
        return group_choices.list_choices(self.files, group_name)


def resolve_defaults(files: group_choices.ConfigFiles, group_overrides: Sequence[str]) -> list[ResultDefault]:
    """Return the files that config.yaml and these overrides of groups choose, in merge order: the last one wins.

    Raises:
        Exception: of many unrelated types, for mistakes in a defaults list.
    """
    version.setbase("1.3")
    overrides = OverridesParser.create().parse_overrides(list(group_overrides))
    return create_defaults_list(
        _LoadedRepository(files), "config", overrides, prepend_hydra=False, skip_missing=False
    ).defaults
