"""Shared code of the targets that render files: images, secrets, resource quantities, and the YAML with its header."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from merit.config.schema.environment import Environment, Split
from merit.config.schema.serve import Auth
from merit.errors import MeritError
from merit.registry.release_tags import Release

NOBODY = Auth()
"""The default settings for authentication."""
PORT = 3000
"""The port on which the image listens, unless its environment variable PORT sets another."""
USER = 10001
"""The user id under which the image runs."""
READY, ALIVE = "/readyz", "/livez"
SHARING = {"canary": "local, kubernetes and cloudrun", "shadow": "local"}
"""The targets that support a canary and those that support a shadow."""
SCALES = {"": 1.0, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
"""Bytes per unit of memory."""


@dataclass(frozen=True)
class Asked:
    """The secret that an image needs to authenticate clients: hashes of API keys, or public keys for JWTs.

    The platform's operator provides it, as a mounted file or as an environment variable.

    Attributes:
        word: the secret's name: keys or jwks.
        file: the path at which the image reads it.
        variable: the environment variable for the file's text, on platforms that pass secrets that way.
    """

    word: str
    file: str
    variable: str

    @property
    def folder(self) -> str:
        """The folder of the file."""
        return self.file.rpartition("/")[0]

    @property
    def base(self) -> str:
        """The file's name without its folder."""
        return self.file.rpartition("/")[2]


KEYS = Asked("keys", "/run/merit/keys.yaml", "MERIT_KEYS")
JWKS = Asked("jwks", "/run/merit/jwks.json", "MERIT_JWKS")


def asked(auth: Auth) -> Asked | None:
    """Return the secret that an image needs; None if a proxy authenticates. The method none also mounts API keys."""
    return {"none": KEYS, "keys": KEYS, "jwt": JWKS, "proxy": None}[auth.method]


@dataclass(frozen=True)
class Served:
    """A version and the image that serves it."""

    version: str
    image: str

    @property
    def repository(self) -> str:
        """The image's repository, without the digest."""
        return self.image.partition("@")[0]

    @property
    def digest(self) -> str:
        """The image's digest, such as sha256:..."""
        return self.image.partition("@")[2]


def served(environment: Environment, releases: Mapping[str, Release]) -> Served:
    """Return the declared version with its image.

    Raises:
        MeritError: no version is declared, it has no image, or the image is not its release's.
    """
    if environment.version is None:
        raise MeritError("version is null, so there is nothing to render; name one, such as v3")
    return _image("", environment.version, environment.image, environment.target, releases)


def canary(environment: Environment, releases: Mapping[str, Release]) -> tuple[Served, float] | None:
    """Return the canary's version with its image, and its share of the requests; None if no canary is declared.

    Raises:
        MeritError: it has no image, or the image is not its release's.
    """
    if (split := environment.traffic.canary) is None:
        return None
    return _image("traffic.canary.", split.version, split.image, environment.target, releases), split.share


def refuse_splits(environment: Environment, *roles: str) -> None:
    """Refuse the roles (canary, shadow) that a target doesn't support.

    Raises:
        MeritError: one of these roles is declared; the message names the targets that support it.
    """
    declared: dict[str, Split | None] = {"canary": environment.traffic.canary, "shadow": environment.traffic.shadow}
    for role in roles:
        if declared[role] is not None:
            raise MeritError(
                f"traffic.{role}: the target {environment.target} can't do that; {SHARING[role]} can, or set it to null"
            )


def _image(key: str, version: str, image: str | None, target: str, releases: Mapping[str, Release]) -> Served:
    release = releases.get(version)
    known = f"; {version} has {release.image}" if release else f"; 'merit release' makes one of {version}"
    if image is None:
        raise MeritError(f"{key}image is null, but the target {target} runs images{known}")
    if release is not None and image.partition("@")[2] != release.digest:
        raise MeritError(f"{key}image is {image}, which is not what {version} was released as{known}")
    return Served(version, image)


def title(model: str, name: str) -> str:
    """Return the name of a model's service in an environment; it has letters, digits and dashes only."""
    return f"{model.replace('_', '-')}-{name}"


def processors(quantity: str) -> float:
    """Parse a Kubernetes CPU quantity, such as 500m, into processors."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def mebibytes(quantity: str) -> int:
    """Parse a Kubernetes memory quantity, such as 1Gi, into MiB, rounded up."""
    unit = quantity.lstrip("0123456789.")
    if unit not in SCALES:
        raise MeritError(f"resources.memory is {quantity}, which is no amount of memory; such as 512Mi or 1Gi")
    return math.ceil(float(quantity.removesuffix(unit)) * SCALES[unit] / SCALES["Mi"])


def rendered(name: str, *documents: Any) -> str:
    """Return documents as YAML below the header comment of every rendered file."""
    body = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120)
    return f"{head(name)}{body}"


def head(name: str) -> str:
    """Return the header comment of every rendered file, valid in YAML and in a Dockerfile."""
    return f"# From conf/environment/{name}.yaml by 'merit apply {name}'. Don't edit this: change that, then apply.\n"
