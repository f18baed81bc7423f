"""Reads images from a container registry (existence, labels, size, digest) and attaches SBOMs to them."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit.config.schema.release import REGISTRY_PATTERN
from merit.errors import MeritError, describe_cause
from merit.release import oras_adapter

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
SBOM_TYPE = "application/vnd.cyclonedx+json"
NOT_FOUND = 404


@dataclass(frozen=True)
class Image:
    """An image in a registry.

    Attributes:
        digest: the digest of its manifest.
        size_bytes: the compressed size of its layers and configuration, which a machine downloads.
        labels: the labels in its configuration.
        media_type: the media type of its manifest.
        manifest_bytes: the size of the manifest itself.
    """

    digest: str
    size_bytes: int
    labels: Mapping[str, str]
    media_type: str
    manifest_bytes: int


def resolve_registry(declared: str | None) -> str:
    """Return the registry to push to: MERIT_REGISTRY if set, else the one declared in conf/release.

    Raises:
        MeritError: neither is set, or the name is invalid.
    """
    if registry := os.environ.get("MERIT_REGISTRY") or declared:
        if not re.fullmatch(REGISTRY_PATTERN, registry):
            raise MeritError(
                f"MERIT_REGISTRY is '{registry}', which is no registry; allowed: a host, a port and folders, in small "
                "letters, such as 127.0.0.1:5000/team"
            )
        return registry
    raise MeritError(
        "release.registry is null, so there is nowhere to push; name one in conf/release, such as 127.0.0.1:5000, "
        "or in MERIT_REGISTRY"
    )


def find_image(name: str) -> Image | None:
    """Return the image of a name with a tag or a digest; None if the registry has no such image.

    Raises:
        MeritError: the registry can't be reached, or the name is not that of a single-platform image.
    """
    with _convert_errors(name):
        client = oras_adapter.create_client(name)
        container = client.get_container(name)
        base = f"{client.prefix}://{container.registry}/v2/{container.api_prefix}"
        response = _request(client, f"{base}/manifests/{container.digest or container.tag}", ", ".join(MANIFEST_TYPES))
        if response is None:
            return None
        body, manifest = bytes(response.content), response.json()
        media_type = manifest.get("mediaType") or response.headers.get("Content-Type", "")
        if media_type not in MANIFEST_TYPES:
            raise MeritError(
                f"{name}: the registry has a manifest of the type {media_type[:80]} there, not an image of merit's"
            )
        config = _request(client, f"{base}/blobs/{manifest['config']['digest']}", "*/*")
        if config is None:
            raise MeritError(f"{name}: the registry has its manifest but not its configuration; remove it there")
        size = sum(each["size"] for each in [manifest["config"], *manifest["layers"]])
        labels = (config.json().get("config") or {}).get("Labels") or {}
    return Image("sha256:" + hashlib.sha256(body).hexdigest(), size, labels, media_type, len(body))


def attach_sbom(name: str, image: Image, sbom: Path, tag: str) -> None:
    """Push an SBOM as an OCI artifact that refers to an image.

    Args:
        name: the image's name without tag and digest.
        image: the image.
        sbom: the file.
        tag: the artifact's own tag, for registries without the referrers API.

    Raises:
        MeritError: the registry rejects it.
    """
    with _convert_errors(name):
        client = oras_adapter.create_client(name)
    from oras.oci import Subject  # imported after oras.client: importing it first fails

    subject: Any = Subject(image.media_type, image.digest, image.manifest_bytes)
    files: list[Any] = [f"{sbom}:{SBOM_TYPE}"]
    with _convert_errors(name):
        client.push(f"{name}:{tag}", files=files, subject=subject, disable_path_validation=True, quiet=True)


def _request(client: Any, url: str, accept: str) -> Any:
    response = client.do_request(url, "GET", headers={"Accept": accept})
    if response.status_code == NOT_FOUND:
        return None
    response.raise_for_status()
    return response


@contextmanager
def _convert_errors(name: str) -> Iterator[None]:
    """Convert exceptions of oras and requests to a MeritError of one line."""
    import requests

    try:
        yield
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise MeritError(
            f"the registry {name.partition('/')[0]} can't be used for {name}: {describe_cause(error)}; is it up, and "
            "has "
            "'docker login' been done?"
        ) from error
