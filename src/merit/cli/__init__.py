"""The command line: one command per word of the path; each parses, calls one room, prints."""

from merit.cli.group import main

# In the order in which they are listed.
from merit.cli import project, configuration, stages, deciding, releasing, images, workflow, doctor  # isort: skip

__all__ = ["configuration", "deciding", "doctor", "images", "main", "project", "releasing", "stages", "workflow"]
