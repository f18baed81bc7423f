"""ecs: renders a task definition and a service of Amazon ECS on Fargate, as JSON input for the AWS CLI."""

import json
from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.rendering import (
    NOBODY,
    PORT,
    USER,
    Asked,
    Served,
    asked,
    mebibytes,
    processors,
    refuse_splits,
    served,
    title,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

SIZES = {256: [512, 1024, 2048]} | {
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
CHECK = (
    "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/readyz', timeout=2)"
)
"""The health check's Python code."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = NOBODY,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    Settings that belong to an AWS account (roles, subnets) are passed to the AWS CLI, not rendered.

    Raises:
        MeritError: there is no image, a canary or a shadow is declared, or no size is large enough.
    """
    refuse_splits(environment, "canary", "shadow")
    what = served(environment, releases)
    family = title(model, name)
    task = _task(family, what, *_size(environment))
    if (needs := asked(auth)) is not None:
        task["containerDefinitions"][0]["secrets"] = [_secret(family, needs)]
    return {"service.json": _text(_service(family, environment.replicas)), "task-definition.json": _text(task)}


def _secret(family: str, needs: Asked) -> dict[str, str]:
    """Return a secret that ECS reads from the Parameter Store at a task's start; a bare name means this account."""
    return {"name": needs.variable, "valueFrom": f"/merit/{family}/{needs.word}"}


def _container(what: Served) -> dict[str, Any]:
    return {
        "name": "model",
        "image": what.image,
        "essential": True,
        "user": f"{USER}:{USER}",
        "readonlyRootFilesystem": True,
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}, "initProcessEnabled": True},
        "portMappings": [{"name": "http", "containerPort": PORT, "protocol": "tcp", "appProtocol": "http"}],
        "mountPoints": [{"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": False}],  # noqa: S108  # in the image
        "healthCheck": {
            "command": ["CMD", "/opt/merit/bin/python", "-c", CHECK],
            "interval": 10,
            "timeout": 5,
            "retries": 3,
            "startPeriod": 30,
        },
        "dockerLabels": {"merit.version": what.version},
    }


def _task(family: str, what: Served, cpu: int, memory: int) -> dict[str, Any]:
    return {
        "family": family,
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": str(cpu),
        "memory": str(memory),
        "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "containerDefinitions": [_container(what)],
        "volumes": [{"name": "tmp"}],
        "tags": [{"key": "merit.version", "value": what.version}],
    }


def _service(family: str, replicas: int) -> dict[str, Any]:
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


def _size(environment: Environment) -> tuple[int, int]:
    """Return the smallest Fargate size (CPU units, MiB) that satisfies the declared resources."""
    cpu, memory = processors(environment.resources.cpu) * 1024, mebibytes(environment.resources.memory)
    fitting = ((units, room) for units, rooms in SIZES.items() for room in rooms if cpu <= units and memory <= room)
    if (found := next(fitting, None)) is None:
        raise MeritError(
            f"resources: {environment.resources.cpu} and {environment.resources.memory} are more than a task has on "
            "Fargate (8 processors, 60Gi)"
        )
    return found


def _text(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
