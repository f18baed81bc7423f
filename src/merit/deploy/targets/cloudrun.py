"""cloudrun: renders a Google Cloud Run service as Knative Serving YAML, with traffic split between revisions."""

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.rendering import (
    ALIVE,
    NOBODY,
    PORT,
    READY,
    Asked,
    Served,
    asked,
    canary,
    mebibytes,
    processors,
    refuse_splits,
    rendered,
    served,
    title,
)
from merit.errors import MeritError
from merit.registry.release_tags import Release

CONCURRENCY = 80
"""Concurrent requests per instance; with less than one processor, Cloud Run allows only one."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = NOBODY,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    A service has one template. With a canary, the template is the canary's, and the stable version keeps its share
    through the name of its existing revision.

    Raises:
        MeritError: there is no image, a shadow is declared, or Cloud Run doesn't offer the resources or the share.
    """
    refuse_splits(environment, "shadow")
    service = title(model, name)
    main = _template(service, environment, served(environment, releases), asked(auth))
    traffic = [{"revisionName": main["metadata"]["name"], "percent": 100}]
    template = main
    if (other := canary(environment, releases)) is not None:
        what, share = other
        template = _template(service, environment, what, asked(auth))
        percent = _percent(share)
        traffic = [
            {"revisionName": main["metadata"]["name"], "percent": 100 - percent},
            {"revisionName": template["metadata"]["name"], "percent": percent, "tag": "canary"},
        ]
    document = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": service},
        "spec": {"template": template, "traffic": traffic},
    }
    return {"service.yaml": rendered(name, document)}


def _percent(share: float) -> int:
    # Compared with a tolerance, since 0.07 * 100 is not exactly 7.
    if abs(share * 100 - (percent := round(share * 100))) > 1e-9:
        raise MeritError(
            f"traffic.canary.share is {share:g}: Cloud Run shares requests by whole percents; such as 0.05"
        )
    return percent


def _template(service: str, environment: Environment, what: Served, needs: Asked | None) -> dict[str, Any]:
    """Return the template of a version's revision; its name contains a hash of its content, so it is reproducible."""
    cpu, memory = _cpu(environment), mebibytes(environment.resources.memory)
    probe = {"httpGet": {"path": READY, "port": PORT}, "periodSeconds": 1, "failureThreshold": 60, "timeoutSeconds": 1}
    container = {
        "image": what.image,
        "ports": [{"name": "http1", "containerPort": PORT}],
        "resources": {"limits": {"cpu": cpu, "memory": f"{memory}Mi"}},
        "startupProbe": probe,
        "livenessProbe": {"httpGet": {"path": ALIVE, "port": PORT}, "periodSeconds": 10, "timeoutSeconds": 3},
    }
    made: dict[str, Any] = {
        "metadata": {
            "annotations": {
                "autoscaling.knative.dev/minScale": str(environment.replicas),
                "autoscaling.knative.dev/maxScale": str(environment.replicas * 2),
            },
        },
        "spec": {
            "containerConcurrency": CONCURRENCY if processors(cpu) >= 1 else 1,
            "containers": [container],
        },
    }
    if needs is not None:  # a secret in Secret Manager; `latest` is resolved on each read
        items = [{"key": "latest", "path": needs.base}]
        secret = {"secretName": f"{service}-{needs.word}", "items": items}
        made["spec"]["volumes"] = [{"name": needs.word, "secret": secret}]
        container["volumeMounts"] = [{"name": needs.word, "mountPath": needs.folder}]
    known = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:8]
    named = copy.deepcopy(made)
    named["metadata"] = {"name": f"{service}-{what.version}-{known}", **made["metadata"]}
    return named


def _cpu(environment: Environment) -> str:
    cpu = environment.resources.cpu
    if processors(cpu) > 1 and processors(cpu) not in {2.0, 4.0, 6.0, 8.0}:
        raise MeritError(f"resources.cpu is {cpu}: above 1, Cloud Run has 2, 4, 6 or 8 processors")
    if processors(cpu) < 1 and mebibytes(environment.resources.memory) > 1024:
        raise MeritError(
            f"resources.memory is {environment.resources.memory}: more than 1Gi needs cpu: 1 or more on Cloud Run"
        )
    return cpu
