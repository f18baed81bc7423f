"""spaces: renders the Dockerfile and README.md of a Docker Space on Hugging Face."""

from collections.abc import Mapping

import yaml

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.interface import DesiredState, Target
from merit.deploy.targets.manifests import ManifestTarget
from merit.deploy.targets.rendering import (
    DEFAULT_AUTH,
    IMAGE_PORT,
    build_service_name,
    parse_mebibytes,
    parse_processors,
    refuse_splits,
    render_header,
    select_image,
    select_secret,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

NAME = "spaces"
MACHINES = {"cpu-basic": (2.0, 16384), "cpu-upgrade": (8.0, 32768)}
"""Spaces' machines without an accelerator, smallest first: processors and MiB of memory."""
SPACE_USER_ID = 1000
"""The user id under which a Space runs."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = DEFAULT_AUTH,
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
    image = select_image(environment, releases)
    front_matter = {
        "title": build_service_name(model, name),
        "sdk": "docker",
        "app_port": IMAGE_PORT,
        "pinned": False,
        "suggested_hardware": _select_machine(environment),
    }
    description = f"Version {image.version} of the model `{model}`: `POST /predict`, see `/` for its documentation.\n"
    if (mount := select_secret(auth)) is not None:
        description += f"\nThe secret `{mount.variable}` of the Space's settings holds the text of {mount.file_name}.\n"
    readme = f"---\n{yaml.safe_dump(front_matter, sort_keys=False)}---\n{description}"
    dockerfile = f"{render_header(name)}FROM {image.reference}\nUSER {SPACE_USER_ID}\n"
    return {"Dockerfile": dockerfile, "README.md": readme}


def _select_machine(environment: Environment) -> str:
    cpu, memory = parse_processors(environment.resources.cpu), parse_mebibytes(environment.resources.memory)
    fitting = [
        machine
        for machine, (max_processors, max_mebibytes) in MACHINES.items()
        if cpu <= max_processors and memory <= max_mebibytes
    ]
    if not fitting:
        raise MeritError(
            f"resources: {cpu:g} processors and {memory} MiB are more than a Space has without accelerator"
        )
    return fitting[0]


def create_target(desired: DesiredState) -> Target:
    """Return the target that writes these files."""
    return ManifestTarget(desired, render)
