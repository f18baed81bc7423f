"""compose: renders a compose.yaml for docker or podman on one machine."""

from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.interface import DesiredState, Target
from merit.deploy.targets.manifests import ManifestTarget
from merit.deploy.targets.rendering import (
    DEFAULT_AUTH,
    IMAGE_PORT,
    SecretMount,
    build_service_name,
    parse_mebibytes,
    parse_processors,
    refuse_splits,
    render_yaml,
    select_image,
    select_secret,
)
from merit.registry.release_tags import Release

NAME = "compose"
PROXY_IMAGE = "caddy:2.10-alpine"
"""The image of the proxy in front of a domain; Caddy obtains the TLS certificate automatically."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = DEFAULT_AUTH,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    With a domain, Caddy serves it over TLS; without one, the replicas listen on loopback, on `local.port` and the ports
    that follow it.

    Raises:
        MeritError: there is no image, or a canary or a shadow is declared.
    """
    refuse_splits(environment, "canary", "shadow")
    image = select_image(environment, releases)
    first_port = environment.local.port
    last_port = first_port + environment.replicas - 1
    ports = f"{first_port}" if first_port == last_port else f"{first_port}-{last_port}"
    limits = {
        "cpus": f"{parse_processors(environment.resources.cpu):g}",
        "memory": f"{parse_mebibytes(environment.resources.memory)}M",
    }
    service: dict[str, Any] = {
        "image": image.reference,
        "labels": {"merit.version": image.version},
        "ports": [f"127.0.0.1:{ports}:{IMAGE_PORT}"],
        "deploy": {"replicas": environment.replicas, "resources": {"limits": limits}},
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108  # in the image
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
    }
    document: dict[str, Any] = {"name": build_service_name(model, name), "services": {model: service}}
    if (mount := select_secret(auth)) is not None:
        document |= _mount_secret(service, mount, name)
    if environment.domain is not None:
        document |= _add_proxy(document["services"], model, environment.domain)
    return {"compose.yaml": render_yaml(name, document)}


def _mount_secret(service: dict[str, Any], mount: SecretMount, name: str) -> dict[str, Any]:
    """Mount the secret for authentication into a service, from a file under .merit/ that is not in Git."""
    service["secrets"] = [{"source": mount.name, "target": mount.path}]
    return {"secrets": {mount.name: {"file": f"${{MERIT_SECRETS:-../../.merit/{name}}}/{mount.file_name}"}}}


def _add_proxy(services: dict[str, Any], model: str, domain: str) -> dict[str, Any]:
    """Put a TLS proxy that obtains and renews its certificate before a service and unpublish the service's port."""
    del services[model]["ports"]
    services["proxy"] = {
        "image": PROXY_IMAGE,
        "command": ["caddy", "reverse-proxy", "--from", domain, "--to", f"{model}:{IMAGE_PORT}"],
        "ports": ["80:80", "443:443"],
        "volumes": ["certificates:/data"],
        "read_only": True,
        "tmpfs": ["/config", "/tmp"],  # noqa: S108  # in the image
        "cap_drop": ["ALL"],
        "cap_add": ["NET_BIND_SERVICE"],
        "security_opt": ["no-new-privileges:true"],
        "depends_on": [model],
        "restart": "unless-stopped",
    }
    return {"volumes": {"certificates": {}}}


def create_target(desired: DesiredState) -> Target:
    """Return the target that writes these files."""
    return ManifestTarget(desired, render)
