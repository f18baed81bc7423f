"""The form of the section `release`: what a version's image is made of, where it goes and who signs the package."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from merit.config.schema.base import Section

REGISTRY = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$"
"""A registry as an image's name begins with it: a host, a port, and the folders that the image belongs to."""


class Signing(Section):
    """conf/release, `signing`: how the package of a version is signed. The private key is in MERIT_SIGNING_KEY."""

    method: Literal["none", "key", "keyless"] = "none"
    """Nobody signs, a key does, or the identity that a workflow runs as does (Sigstore)."""
    public_key: str | None = None
    """The file of the public key that a signature is held against, where the method is key."""
    identity: str | None = None
    """Who must have signed, where the method is keyless: a workflow's address, or a mail address."""
    issuer: str | None = None
    """Who vouches for the identity, where the method is keyless."""

    @model_validator(mode="after")
    def _names_whom_to_trust(self) -> "Signing":
        if self.method == "key" and self.public_key is None:
            raise ValueError("method is key, so public_key must name the file of the public key")
        if self.method == "keyless" and (self.identity is None or self.issuer is None):
            raise ValueError("method is keyless, so identity and issuer must say whose signature counts")
        return self


class Release(Section):
    """conf/release: the image of a version, and where it is pushed."""

    registry: Annotated[str, Field(pattern=REGISTRY)] | None = None
    """Where images are pushed, such as 127.0.0.1:5000 or a host with a folder; MERIT_REGISTRY in the environment
    comes first. Null: nowhere, and `merit release` says so."""
    base_image: Annotated[str, Field(pattern=r"^[^\s-]\S*$")] = "python:3.11-slim"
    """The image that it begins from: any with Python 3.11 to 3.13 and venv. A digest in it (`…@sha256:…`) keeps it."""
    engine: Literal["auto", "docker", "podman", "buildah"] = "auto"
    """What builds it; auto takes the first of docker, podman and buildah that works here."""
    signing: Signing = Signing()
