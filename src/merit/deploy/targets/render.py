"""render: renders a Render Blueprint (render.yaml) of a web service that runs an image."""

from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.interface import DesiredState, Target
from merit.deploy.targets.manifests import ManifestTarget
from merit.deploy.targets.rendering import (
    DEFAULT_AUTH,
    IMAGE_PORT,
    READY_PATH,
    build_service_name,
    parse_mebibytes,
    parse_processors,
    refuse_splits,
    render_yaml,
    select_image,
    select_secret,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

NAME = "render"
RENDER_PLANS = {"starter": (0.5, 512), "standard": (1.0, 2048), "pro": (2.0, 4096), "pro plus": (4.0, 8192)}
"""Render's plans that support more than one instance, smallest first: processors and MiB of memory per instance."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = DEFAULT_AUTH,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    Raises:
        MeritError: there is no image, a canary or a shadow is declared, or no plan is large enough.
    """
    refuse_splits(environment, "canary", "shadow")
    image = select_image(environment, releases)
    service: dict[str, Any] = {
        "type": "web",
        "name": build_service_name(model, name),
        "runtime": "image",
        "image": {"url": image.reference},
        "plan": _select_plan(environment),
        "numInstances": environment.replicas,
        "healthCheckPath": READY_PATH,
        "envVars": [{"key": "PORT", "value": str(IMAGE_PORT)}],
    }
    if (mount := select_secret(auth)) is not None:  # Render's dashboard asks for the value and stores it
        service["envVars"].append({"key": mount.variable, "sync": False})
    return {"render.yaml": render_yaml(name, {"services": [service]})}


def _select_plan(environment: Environment) -> str:
    cpu, memory = parse_processors(environment.resources.cpu), parse_mebibytes(environment.resources.memory)
    fitting = [
        plan
        for plan, (max_processors, max_mebibytes) in RENDER_PLANS.items()
        if cpu <= max_processors and memory <= max_mebibytes
    ]
    if not fitting:
        raise MeritError(f"resources: {cpu:g} processors and {memory} MiB are more than Render's plan 'pro plus' has")
    return fitting[0]


def create_target(desired: DesiredState) -> Target:
    """Return the target that writes these files."""
    return ManifestTarget(desired, render)
