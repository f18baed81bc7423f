"""The command line: one command per word of the path; each parses, calls one room, prints."""

from merit.cli.group import main

# In the order in which they are listed.
from merit.cli import (  # isort: skip
    project, configuration, stages, deciding, releasing, predicting, streaming, keys, images, environments, doctor,
    sweep, workflow,
)  # fmt: skip

__all__ = [
    "configuration", "deciding", "doctor", "environments", "images", "keys", "main", "predicting", "project",
    "releasing", "stages", "streaming", "sweep", "workflow",
]  # fmt: skip
