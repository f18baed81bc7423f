"""The schema of conf/release: a version's image, where it is pushed, and how its package is signed."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from merit.config.schema.base import Section

REGISTRY_PATTERN = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$"
"""The registry part of an image name: a host, a port and folders."""


class Signing(Section):
    """conf/release, `signing`: how the package of a version is signed. MERIT_SIGNING_KEY has the private key."""

    method: Literal["none", "key", "keyless"] = "none"
    """none; key, a key pair of your own; or keyless, the identity that a workflow runs as (Sigstore)."""
    public_key: str | None = None
    """The file of the public key that verifies signatures; required by method key."""
    identity: str | None = None
    """The required signer, a workflow's address or a mail address; required by method keyless."""
    issuer: str | None = None
    """The issuer that vouches for the identity; required by method keyless."""

    @model_validator(mode="after")
    def _check_signer(self) -> "Signing":
        if self.method == "key" and self.public_key is None:
            raise ValueError("method is key, so public_key must name the file of the public key")
        if self.method == "keyless" and (self.identity is None or self.issuer is None):
            raise ValueError("method is keyless, so identity and issuer must say whose signature counts")
        return self


class Release(Section):
    """conf/release: how the image of a version is built, and where it is pushed."""

    registry: Annotated[str, Field(pattern=REGISTRY_PATTERN)] | None = None
    """The registry to push images to, such as 127.0.0.1:5000 or a host with a folder. MERIT_REGISTRY in the environment
    takes precedence. null pushes nowhere, and `merit release` says so."""
    base_image: Annotated[str, Field(pattern=r"^[^\s-]\S*$")] = "python:3.11-slim"
    """The base image: any with Python 3.11 to 3.13 and venv. A digest in it (`…@sha256:…`) pins it."""
    engine: Literal["auto", "docker", "podman", "buildah"] = "auto"
    """The build engine; auto uses the first of docker, podman and buildah that works on this machine."""
    signing: Signing = Signing()
