"""Provides the command line: each command parses its arguments, calls one package of merit and prints the result."""

from merit.cli.group import main

# Imports register the commands; their order is that of `merit --help`.
from merit.cli import (  # isort: skip
    project, configuration, stages, deciding, releasing, predicting, streaming, keys, images, environments, doctor,
    sweep, workflow,
)  # fmt: skip

__all__ = [
    "configuration", "deciding", "doctor", "environments", "images", "keys", "main", "predicting", "project",
    "releasing", "stages", "streaming", "sweep", "workflow",
]  # fmt: skip
