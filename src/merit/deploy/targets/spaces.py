"""spaces: renders the Dockerfile and README.md of a Docker Space on Hugging Face."""

from collections.abc import Mapping

import yaml

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.rendering import (
    NOBODY,
    PORT,
    asked,
    head,
    mebibytes,
    processors,
    refuse_splits,
    served,
    title,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

HARDWARE = {"cpu-basic": (2.0, 16384), "cpu-upgrade": (8.0, 32768)}
"""Spaces' machines without an accelerator, smallest first: processors and MiB of memory."""
SPACE_USER = 1000
"""The user id under which a Space runs."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = NOBODY,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    Raises:
        MeritError: there is no image, more than one replica, a canary or a shadow is declared, or no machine is large
            enough.
    """
    refuse_splits(environment, "canary", "shadow")
    if environment.replicas != 1:
        raise MeritError(
            f"replicas is {environment.replicas}: a Space runs one replica; declare replicas: 1, or another target"
        )
    what = served(environment, releases)
    front = {
        "title": title(model, name),
        "sdk": "docker",
        "app_port": PORT,
        "pinned": False,
        "suggested_hardware": _hardware(environment),
    }
    told = f"Version {what.version} of the model `{model}`: `POST /predict`, see `/` for its documentation.\n"
    if (needs := asked(auth)) is not None:
        told += f"\nThe secret `{needs.variable}` of the Space's settings holds the text of {needs.base}.\n"
    readme = f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n{told}"
    dockerfile = f"{head(name)}FROM {what.image}\nUSER {SPACE_USER}\n"
    return {"Dockerfile": dockerfile, "README.md": readme}


def _hardware(environment: Environment) -> str:
    cpu, memory = processors(environment.resources.cpu), mebibytes(environment.resources.memory)
    fitting = [machine for machine, (most, room) in HARDWARE.items() if cpu <= most and memory <= room]
    if not fitting:
        raise MeritError(
            f"resources: {cpu:g} processors and {memory} MiB are more than a Space has without accelerator"
        )
    return fitting[0]
