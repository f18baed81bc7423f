"""render: renders a Render Blueprint (render.yaml) of a web service that runs an image."""

from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.rendering import (
    NOBODY,
    PORT,
    READY,
    asked,
    mebibytes,
    processors,
    refuse_splits,
    rendered,
    served,
    title,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

PLANS = {"starter": (0.5, 512), "standard": (1.0, 2048), "pro": (2.0, 4096), "pro plus": (4.0, 8192)}
"""Render's plans that support more than one instance, smallest first: processors and MiB of memory per instance."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = NOBODY,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    Raises:
        MeritError: there is no image, a canary or a shadow is declared, or no plan is large enough.
    """
    refuse_splits(environment, "canary", "shadow")
    what = served(environment, releases)
    service: dict[str, Any] = {
        "type": "web",
        "name": title(model, name),
        "runtime": "image",
        "image": {"url": what.image},
        "plan": _plan(environment),
        "numInstances": environment.replicas,
        "healthCheckPath": READY,
        "envVars": [{"key": "PORT", "value": str(PORT)}],
    }
    if (needs := asked(auth)) is not None:  # Render's dashboard asks for the value and stores it
        service["envVars"].append({"key": needs.variable, "sync": False})
    return {"render.yaml": rendered(name, {"services": [service]})}


def _plan(environment: Environment) -> str:
    cpu, memory = processors(environment.resources.cpu), mebibytes(environment.resources.memory)
    fitting = [plan for plan, (most, room) in PLANS.items() if cpu <= most and memory <= room]
    if not fitting:
        raise MeritError(f"resources: {cpu:g} processors and {memory} MiB are more than Render's plan 'pro plus' has")
    return fitting[0]
