"""ecs: renders a task definition and a service of Amazon ECS on Fargate, as JSON input for the AWS CLI."""

import json
from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.interface import DesiredState, Target
from merit.deploy.targets.manifests import ManifestTarget
from merit.deploy.targets.rendering import (
    DEFAULT_AUTH,
    IMAGE_PORT,
    IMAGE_USER_ID,
    SecretMount,
    VersionImage,
    build_service_name,
    parse_mebibytes,
    parse_processors,
    refuse_splits,
    select_image,
    select_secret,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

NAME = "ecs"
FARGATE_SIZES = {256: [512, 1024, 2048]} | {
    cpu: list(range(least, most + 1, step))
    for cpu, least, most, step in (
        (512, 1024, 4096, 1024),
        (1024, 2048, 8192, 1024),
        (2048, 4096, 16384, 1024),
        (4096, 8192, 30720, 1024),
        (8192, 16384, 61440, 4096),
    )
}
"""Fargate's sizes: the allowed MiB of memory by CPU units (1024 units are one processor)."""
HEALTH_CHECK_CODE = (
    "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/readyz', timeout=2)"
)
"""The health check's Python code."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = DEFAULT_AUTH,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    Settings that belong to an AWS account (roles, subnets) are passed to the AWS CLI, not rendered.

    Raises:
        MeritError: there is no image, a canary or a shadow is declared, or no size is large enough.
    """
    refuse_splits(environment, "canary", "shadow")
    image = select_image(environment, releases)
    family = build_service_name(model, name)
    task = _build_task(family, image, *_select_size(environment))
    if (mount := select_secret(auth)) is not None:
        task["containerDefinitions"][0]["secrets"] = [_build_secret(family, mount)]
    return {
        "service.json": _render_json(_build_service(family, environment.replicas)),
        "task-definition.json": _render_json(task),
    }


def _build_secret(family: str, mount: SecretMount) -> dict[str, str]:
    """Return a secret that ECS reads from the Parameter Store at a task's start; a bare name means this account."""
    return {"name": mount.variable, "valueFrom": f"/merit/{family}/{mount.name}"}


def _build_container(image: VersionImage) -> dict[str, Any]:
    return {
        "name": "model",
        "image": image.reference,
        "essential": True,
        "user": f"{IMAGE_USER_ID}:{IMAGE_USER_ID}",
        "readonlyRootFilesystem": True,
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}, "initProcessEnabled": True},
        "portMappings": [{"name": "http", "containerPort": IMAGE_PORT, "protocol": "tcp", "appProtocol": "http"}],
        "mountPoints": [{"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": False}],  # noqa: S108  # in the image
        "healthCheck": {
            "command": ["CMD", "/opt/merit/bin/python", "-c", HEALTH_CHECK_CODE],
            "interval": 10,
            "timeout": 5,
            "retries": 3,
            "startPeriod": 30,
        },
        "dockerLabels": {"merit.version": image.version},
    }


def _build_task(family: str, image: VersionImage, cpu: int, memory: int) -> dict[str, Any]:
    return {
        "family": family,
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": str(cpu),
        "memory": str(memory),
        "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "containerDefinitions": [_build_container(image)],
        "volumes": [{"name": "tmp"}],
        "tags": [{"key": "merit.version", "value": image.version}],
    }


def _build_service(family: str, replicas: int) -> dict[str, Any]:
    return {
        "serviceName": family,
        "taskDefinition": family,
        "desiredCount": replicas,
        "launchType": "FARGATE",
        "deploymentConfiguration": {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
    }


def _select_size(environment: Environment) -> tuple[int, int]:
    """Return the smallest Fargate size (CPU units, MiB) that satisfies the declared resources."""
    cpu, memory = parse_processors(environment.resources.cpu) * 1024, parse_mebibytes(environment.resources.memory)
    fitting = (
        (units, memory_size)
        for units, memory_sizes in FARGATE_SIZES.items()
        for memory_size in memory_sizes
        if cpu <= units and memory <= memory_size
    )
    if (size := next(fitting, None)) is None:
        raise MeritError(
            f"resources: {environment.resources.cpu} and {environment.resources.memory} are more than a task has on "
            "Fargate (8 processors, 60Gi)"
        )
    return size


def _render_json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def create_target(desired: DesiredState) -> Target:
    """Return the target that writes these files."""
    return ManifestTarget(desired, render)
