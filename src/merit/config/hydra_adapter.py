"""The only module that uses private parts of Hydra; each name is Hydra's own."""

from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.plugins.config_source import ConfigSource

__all__ = ["ConfigRepository", "create_callbacks", "create_defaults_list", "parse_header"]


def parse_header(text: str) -> dict[str, str | None]:
    """Return the directives of the comment at the head of a configuration file, such as `@package`."""
    return ConfigSource._get_header_dict(text)


def create_callbacks() -> Any:
    """Return the callbacks of a run without a configuration of its own: none."""
    from hydra._internal.callbacks import Callbacks

    return Callbacks()
