"""compose: a compose.yaml for docker or podman on one machine."""

from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.gitops.targets.declared import PORT, mebibytes, processors, refuse_splits, rendered, served, title
from merit.releases import Release


def render(
    environment: Environment, model: str, releases: Mapping[str, Release], name: str = "production"
) -> dict[str, str]:
    """Return the files of an environment, by name. It listens on loopback, on `local.port` and those after it.

    Raises:
        MeritError: there is no image, or a share of the requests is declared.
    """
    refuse_splits(environment, "canary", "shadow")
    what = served(environment, releases)
    first = environment.local.port
    last = first + environment.replicas - 1
    ports = f"{first}" if first == last else f"{first}-{last}"
    limits = {
        "cpus": f"{processors(environment.resources.cpu):g}",
        "memory": f"{mebibytes(environment.resources.memory)}M",
    }
    service: dict[str, Any] = {
        "image": what.image,
        "labels": {"merit.version": what.version},
        "ports": [f"127.0.0.1:{ports}:{PORT}"],
        "deploy": {"replicas": environment.replicas, "resources": {"limits": limits}},
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108  # in the image
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
    }
    return {"compose.yaml": rendered(name, {"name": title(model, name), "services": {model: service}})}
