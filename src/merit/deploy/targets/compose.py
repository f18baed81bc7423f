"""compose: renders a compose.yaml for docker or podman on one machine."""

from collections.abc import Mapping
from typing import Any

from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.rendering import (
    NOBODY,
    PORT,
    Asked,
    asked,
    mebibytes,
    processors,
    refuse_splits,
    rendered,
    served,
    title,
)
from merit.registry.release_tags import Release

PROXY = "caddy:2.10-alpine"
"""The image of the proxy in front of a domain; Caddy obtains the TLS certificate automatically."""


def render(
    environment: Environment,
    model: str,
    releases: Mapping[str, Release],
    name: str = "production",
    auth: Auth = NOBODY,
) -> dict[str, str]:
    """Return the texts of an environment's files, by name.

    With a domain, Caddy serves it over TLS; without one, the replicas listen on loopback, on `local.port` and the ports
    that follow it.

    Raises:
        MeritError: there is no image, or a canary or a shadow is declared.
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
    document: dict[str, Any] = {"name": title(model, name), "services": {model: service}}
    if (needs := asked(auth)) is not None:
        document |= _secret(service, needs, name)
    if environment.domain is not None:
        document |= _proxy(document["services"], model, environment.domain)
    return {"compose.yaml": rendered(name, document)}


def _secret(service: dict[str, Any], needs: Asked, name: str) -> dict[str, Any]:
    """Mount the secret for authentication into a service, from a file under .merit/ that is not in Git."""
    service["secrets"] = [{"source": needs.word, "target": needs.file}]
    return {"secrets": {needs.word: {"file": f"${{MERIT_SECRETS:-../../.merit/{name}}}/{needs.base}"}}}


def _proxy(services: dict[str, Any], model: str, domain: str) -> dict[str, Any]:
    """Put a TLS proxy that obtains and renews its certificate before a service and unpublish the service's port."""
    del services[model]["ports"]
    services["proxy"] = {
        "image": PROXY,
        "command": ["caddy", "reverse-proxy", "--from", domain, "--to", f"{model}:{PORT}"],
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
