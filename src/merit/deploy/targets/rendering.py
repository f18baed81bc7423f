"""Shared code of the targets that render files: images, secrets, resource quantities, and the YAML with its header."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from merit.config.schema.environment import Environment, TrafficSplit
from merit.config.schema.serve import Auth
from merit.errors import MeritError
from merit.registry.release_tags import Release

DEFAULT_AUTH = Auth()
"""The default settings for authentication."""
IMAGE_PORT = 3000
"""The port on which the image listens, unless its environment variable PORT sets another."""
IMAGE_USER_ID = 10001
"""The user id under which the image runs."""
READY_PATH, LIVE_PATH = "/readyz", "/livez"
SPLIT_TARGETS = {"canary": "local, kubernetes and cloudrun", "shadow": "local"}
"""The targets that support a canary and those that support a shadow."""
BYTES_PER_UNIT = {"": 1.0, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
"""Bytes per unit of memory."""


@dataclass(frozen=True)
class SecretMount:
    """The secret that an image needs to authenticate clients: hashes of API keys, or public keys for JWTs.

    The platform's operator provides it, as a mounted file or as an environment variable.

    Attributes:
        word: the secret's name: keys or jwks.
        file: the path at which the image reads it.
        variable: the environment variable for the file's text, on platforms that pass secrets that way.
    """

    name: str
    path: str
    variable: str

    @property
    def folder(self) -> str:
        """The folder of the file."""
        return self.path.rpartition("/")[0]

    @property
    def file_name(self) -> str:
        """The file's name without its folder."""
        return self.path.rpartition("/")[2]


KEYS_SECRET = SecretMount("keys", "/run/merit/keys.yaml", "MERIT_KEYS")
JWKS_SECRET = SecretMount("jwks", "/run/merit/jwks.json", "MERIT_JWKS")


def select_secret(auth: Auth) -> SecretMount | None:
    """Return the secret that an image needs; None if a proxy authenticates. The method none also mounts API keys."""
    return {"none": KEYS_SECRET, "keys": KEYS_SECRET, "jwt": JWKS_SECRET, "proxy": None}[auth.method]


@dataclass(frozen=True)
class VersionImage:
    """A version and the image that serves it."""

    version: str
    reference: str

    @property
    def repository(self) -> str:
        """The image's repository, without the digest."""
        return self.reference.partition("@")[0]

    @property
    def digest(self) -> str:
        """The image's digest, such as sha256:..."""
        return self.reference.partition("@")[2]


def select_image(environment: Environment, releases: Mapping[str, Release]) -> VersionImage:
    """Return the declared version with its image.

    Raises:
        MeritError: no version is declared, it has no image, or the image is not its release's.
    """
    if environment.version is None:
        raise MeritError("version is null, so there is nothing to render; name one, such as v3")
    return _check_image("", environment.version, environment.image, environment.target, releases)


def select_canary(environment: Environment, releases: Mapping[str, Release]) -> tuple[VersionImage, float] | None:
    """Return the canary's version with its image, and its share of the requests; None if no canary is declared.

    Raises:
        MeritError: it has no image, or the image is not its release's.
    """
    if (split := environment.traffic.canary) is None:
        return None
    return _check_image("traffic.canary.", split.version, split.image, environment.target, releases), split.share


def refuse_splits(environment: Environment, *roles: str) -> None:
    """Refuse the roles (canary, shadow) that a target doesn't support.

    Raises:
        MeritError: one of these roles is declared; the message names the targets that support it.
    """
    declared: dict[str, TrafficSplit | None] = {
        "canary": environment.traffic.canary,
        "shadow": environment.traffic.shadow,
    }
    for role in roles:
        if declared[role] is not None:
            raise MeritError(
                f"traffic.{role}: the target {environment.target} can't do that; {SPLIT_TARGETS[role]} can, or set it "
                "to null"
            )


def _check_image(
    key: str, version: str, image: str | None, target: str, releases: Mapping[str, Release]
) -> VersionImage:
    release = releases.get(version)
    hint = f"; {version} has {release.image}" if release else f"; 'merit release' makes one of {version}"
    if image is None:
        raise MeritError(f"{key}image is null, but the target {target} runs images{hint}")
    if release is not None and image.partition("@")[2] != release.digest:
        raise MeritError(f"{key}image is {image}, which is not what {version} was released as{hint}")
    return VersionImage(version, image)


def build_service_name(model: str, name: str) -> str:
    """Return the name of a model's service in an environment; it has letters, digits and dashes only."""
    return f"{model.replace('_', '-')}-{name}"


def parse_processors(quantity: str) -> float:
    """Parse a Kubernetes CPU quantity, such as 500m, into processors."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def parse_mebibytes(quantity: str) -> int:
    """Parse a Kubernetes memory quantity, such as 1Gi, into MiB, rounded up."""
    unit = quantity.lstrip("0123456789.")
    if unit not in BYTES_PER_UNIT:
        raise MeritError(f"resources.memory is {quantity}, which is no amount of memory; such as 512Mi or 1Gi")
    return math.ceil(float(quantity.removesuffix(unit)) * BYTES_PER_UNIT[unit] / BYTES_PER_UNIT["Mi"])


def render_yaml(name: str, *documents: Any) -> str:
    """Return documents as YAML below the header comment of every rendered file."""
    body = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120)
    return f"{render_header(name)}{body}"


def render_header(name: str) -> str:
    """Return the header comment of every rendered file, valid in YAML and in a Dockerfile."""
    return f"# From conf/environment/{name}.yaml by 'merit apply {name}'. Don't edit this: change that, then apply.\n"
