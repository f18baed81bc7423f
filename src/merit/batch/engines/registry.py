"""Finds an engine by its name."""

from typing import cast

from merit.batch.engines.interface import Engine
from merit.config import extensions

PACKAGE = "merit.batch.engines"


def find_engine(name: str) -> Engine:
    """Return the engine of that name; import only its libraries, because imports are slow."""
    return cast("Engine", extensions.import_extension(PACKAGE, name))
