"""cloudrun: renders a Google Cloud Run service as Knative Serving YAML, with traffic split between revisions."""

import copy
import hashlib
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
    LIVE_PATH,
    READY_PATH,
    SecretMount,
    VersionImage,
    build_service_name,
    parse_mebibytes,
    parse_processors,
    refuse_splits,
    render_yaml,
    select_canary,
    select_image,
    select_secret,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

NAME = "cloudrun"
MAX_CONCURRENT_REQUESTS = 80
"""Concurrent requests per instance; with less than one processor, Cloud Run allows only one."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = DEFAULT_AUTH,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    A service has one template. With a canary, the template is the canary's, and the stable version keeps its share
    through the name of its existing revision.

    Raises:
        MeritError: there is no image, a shadow is declared, or Cloud Run doesn't offer the resources or the share.
    """
    refuse_splits(environment, "shadow")
    service = build_service_name(model, name)
    stable_template = _build_template(service, environment, select_image(environment, releases), select_secret(auth))
    traffic = [{"revisionName": stable_template["metadata"]["name"], "percent": 100}]
    template = stable_template
    if (canary_split := select_canary(environment, releases)) is not None:
        image, share = canary_split
        template = _build_template(service, environment, image, select_secret(auth))
        percent = _convert_percent(share)
        traffic = [
            {"revisionName": stable_template["metadata"]["name"], "percent": 100 - percent},
            {"revisionName": template["metadata"]["name"], "percent": percent, "tag": "canary"},
        ]
    document = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": service},
        "spec": {"template": template, "traffic": traffic},
    }
    return {"service.yaml": render_yaml(name, document)}


def _convert_percent(share: float) -> int:
    # Compared with a tolerance, since 0.07 * 100 is not exactly 7.
    if abs(share * 100 - (percent := round(share * 100))) > 1e-9:
        raise MeritError(
            f"traffic.canary.share is {share:g}: Cloud Run shares requests by whole percents; such as 0.05"
        )
    return percent


def _build_template(
    service: str, environment: Environment, image: VersionImage, mount: SecretMount | None
) -> dict[str, Any]:
    """Return the template of a version's revision; its name contains a hash of its content, so it is reproducible."""
    cpu, memory = _validate_cpu(environment), parse_mebibytes(environment.resources.memory)
    probe = {
        "httpGet": {"path": READY_PATH, "port": IMAGE_PORT},
        "periodSeconds": 1,
        "failureThreshold": 60,
        "timeoutSeconds": 1,
    }
    container = {
        "image": image.reference,
        "ports": [{"name": "http1", "containerPort": IMAGE_PORT}],
        "resources": {"limits": {"cpu": cpu, "memory": f"{memory}Mi"}},
        "startupProbe": probe,
        "livenessProbe": {"httpGet": {"path": LIVE_PATH, "port": IMAGE_PORT}, "periodSeconds": 10, "timeoutSeconds": 3},
    }
    revision: dict[str, Any] = {
        "metadata": {
            "annotations": {
                "autoscaling.knative.dev/minScale": str(environment.replicas),
                "autoscaling.knative.dev/maxScale": str(environment.replicas * 2),
            },
        },
        "spec": {
            "containerConcurrency": MAX_CONCURRENT_REQUESTS if parse_processors(cpu) >= 1 else 1,
            "containers": [container],
        },
    }
    if mount is not None:  # a secret in Secret Manager; `latest` is resolved on each read
        items = [{"key": "latest", "path": mount.file_name}]
        secret = {"secretName": f"{service}-{mount.name}", "items": items}
        revision["spec"]["volumes"] = [{"name": mount.name, "secret": secret}]
        container["volumeMounts"] = [{"name": mount.name, "mountPath": mount.folder}]
    content_hash = hashlib.sha256(json.dumps(revision, sort_keys=True).encode()).hexdigest()[:8]
    named_revision = copy.deepcopy(revision)
    named_revision["metadata"] = {"name": f"{service}-{image.version}-{content_hash}", **revision["metadata"]}
    return named_revision


def _validate_cpu(environment: Environment) -> str:
    cpu = environment.resources.cpu
    if parse_processors(cpu) > 1 and parse_processors(cpu) not in {2.0, 4.0, 6.0, 8.0}:
        raise MeritError(f"resources.cpu is {cpu}: above 1, Cloud Run has 2, 4, 6 or 8 processors")
    if parse_processors(cpu) < 1 and parse_mebibytes(environment.resources.memory) > 1024:
        raise MeritError(
            f"resources.memory is {environment.resources.memory}: more than 1Gi needs cpu: 1 or more on Cloud Run"
        )
    return cpu


def create_target(desired: DesiredState) -> Target:
    """Return the target that writes these files."""
    return ManifestTarget(desired, render)
