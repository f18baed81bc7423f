"""What the targets that render files share: declared images, amounts as platforms take them, the form of files."""

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
"""Where nothing is said of who may ask."""
PORT = 3000
"""Where the image listens, unless PORT in its environment says otherwise."""
USER = 10001
READY, ALIVE = "/readyz", "/livez"
SHARING = {"canary": "local, kubernetes and cloudrun", "shadow": "local"}
"""The targets that can send a share of the requests elsewhere, by what they get."""
SCALES = {"": 1.0, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


@dataclass(frozen=True)
class Asked:
    """What an image needs to know who may ask: hashes of keys or public keys, which whoever runs it puts there.

    Attributes:
        word: what it is, in names: keys or jwks.
        file: the file that it is read from.
        variable: what holds the file's text, on platforms that give secrets so.
    """

    word: str
    file: str
    variable: str

    @property
    def folder(self) -> str:
        """Where the file is."""
        return self.file.rpartition("/")[0]

    @property
    def base(self) -> str:
        """The file without its folder."""
        return self.file.rpartition("/")[2]


KEYS = Asked("keys", "/run/merit/keys.yaml", "MERIT_KEYS")
JWKS = Asked("jwks", "/run/merit/jwks.json", "MERIT_JWKS")


def asked(auth: Auth) -> Asked | None:
    """Return what an image needs; None where a proxy before it asks. Without a method it asks for keys."""
    return {"none": KEYS, "keys": KEYS, "jwt": JWKS, "proxy": None}[auth.method]


@dataclass(frozen=True)
class Served:
    """A version, and the image that serves it."""

    version: str
    image: str

    @property
    def repository(self) -> str:
        """The image without its digest."""
        return self.image.partition("@")[0]

    @property
    def digest(self) -> str:
        """The digest."""
        return self.image.partition("@")[2]


def served(environment: Environment, releases: Mapping[str, Release]) -> Served:
    """Return the version that is declared with its image.

    Raises:
        MeritError: it has no image, or another than its release.
    """
    if environment.version is None:
        raise MeritError("version is null, so there is nothing to render; name one, such as v3")
    return _image("", environment.version, environment.image, environment.target, releases)


def canary(environment: Environment, releases: Mapping[str, Release]) -> tuple[Served, float] | None:
    """Return the version that gets a share of the requests, and the share; None if none does.

    Raises:
        MeritError: it has no image, or another than its release.
    """
    if (split := environment.traffic.canary) is None:
        return None
    return _image("traffic.canary.", split.version, split.image, environment.target, releases), split.share


def refuse_splits(environment: Environment, *roles: str) -> None:
    """Refuse what this target can't do with requests.

    Raises:
        MeritError: such a role is declared; with the targets that can.
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
    """Return what a model is called on a platform in an environment: words of letters, digits and dashes."""
    return f"{model.replace('_', '-')}-{name}"


def processors(quantity: str) -> float:
    """Return an amount of processors, such as 500m, as a number."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def mebibytes(quantity: str) -> int:
    """Return an amount of memory, such as 1Gi, in MiB, rounded up."""
    unit = quantity.lstrip("0123456789.")
    if unit not in SCALES:
        raise MeritError(f"resources.memory is {quantity}, which is no amount of memory; such as 512Mi or 1Gi")
    return math.ceil(float(quantity.removesuffix(unit)) * SCALES[unit] / SCALES["Mi"])


def rendered(name: str, *documents: Any) -> str:
    """Return YAML with the head that every rendered file has."""
    body = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120)
    return f"{head(name)}{body}"


def head(name: str) -> str:
    """Return the comment that every rendered file begins with, as YAML and a Dockerfile take it."""
    return f"# From conf/environment/{name}.yaml by 'merit apply {name}'. Don't edit this: change that, then apply.\n"
