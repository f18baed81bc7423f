"""The form of conf/environment/NAME.yaml: what an environment is declared to serve. It is no part of the lock."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from merit.config.schema.base import Positive, Section

SUCH_AS = {
    (NUMBER := r"^v[1-9][0-9]*$"): "v3",
    (IMAGE := r"^[^\s@]+@sha256:[0-9a-f]{64}$"): "registry/name@sha256: and 64 digits of 0-9a-f",
    (QUANTITY := r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi)?$"): "500m, 2 or 512Mi",
    (DOMAIN := r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$"): "flights.example.org",
}
"""Patterns, and how each is told to people."""
Number = Annotated[str, Field(pattern=NUMBER)]
"""A version of the model, as its tag ends: v3 for flights@v3."""
Image = Annotated[str, Field(pattern=IMAGE)]
"""An image by its digest."""
Domain = Annotated[str, Field(pattern=DOMAIN, max_length=253)]
"""A name on the network, in small letters."""
Quantity = Annotated[str, Field(pattern=QUANTITY)]
"""An amount in the words of Kubernetes: 500m of a processor, 512Mi of memory."""


class Resources(Section):
    """What one replica may use; a target that can't hold it to that leaves it out (`local`)."""

    cpu: Quantity = "500m"
    """Processors: 1, or 500m for half of one."""
    memory: Quantity = "512Mi"
    """Memory: 512Mi, 1Gi."""


class Split(Section):
    """Another version that takes part of the traffic."""

    version: Number
    """Which version of the model."""
    image: Image | None = None
    """Its image by digest, as its release has recorded it; null where the target runs no images."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """The share of requests that it gets, of 1."""


class Copied(Split):
    """Another version that gets a copy of requests; nobody gets its answers."""

    share: Annotated[float, Field(gt=0, le=1)]
    """The share of requests that it gets a copy of, of 1."""


class Traffic(Section):
    """Who else gets requests than the version that is declared."""

    canary: Split | None = None
    """A version that answers a share of the requests instead."""
    shadow: Copied | None = None
    """A version that gets a copy of a share of the requests; its answers are dropped."""


class Demands(Section):
    """What a version must satisfy to run here."""

    signature: bool = False
    """Whether its package must be signed, as conf/release says under `signing`."""
    after: Literal["staging"] | None = None
    """The environment that main must have declared it for before."""
    soak_hours: Annotated[float, Field(ge=0)] = 0.0
    """Hours that it must have been declared there, without a break."""

    @model_validator(mode="after")
    def _soaks_somewhere(self) -> "Demands":
        if self.soak_hours and self.after is None:
            raise ValueError("soak_hours is the time in the environment that after names; name one, or remove it")
        return self


class Local(Section):
    """What the target `local` needs beside the rest."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 3100
    """The port of 127.0.0.1 that the environment answers on."""


class Environment(Section):
    """conf/environment: what runs where. `merit plan` shows what would change, `merit apply` makes it so."""

    version: Number | None
    """The version of the model that serves, such as v3 for flights@v3; null, written out: nothing runs."""
    image: Image | None = None
    """Its image by digest, as its release has recorded it; null where the target runs no images."""
    target: Literal["local", "kubernetes", "compose", "render", "cloudrun", "ecs", "spaces"] = "local"
    """What runs it: processes on this machine, or what the files under deploy/ are for."""
    replicas: Positive = 1
    """How many of it answer."""
    domain: Domain | None = None
    """The name that a proxy with TLS answers to before it (kubernetes, compose); null: no proxy is declared."""
    resources: Resources = Resources()
    traffic: Traffic = Traffic()
    demands: Demands = Demands()
    local: Local = Local()

    @model_validator(mode="after")
    def _stands_on_a_version(self) -> "Environment":
        if self.version is None:
            given = {"image": self.image, "traffic.canary": self.traffic.canary, "traffic.shadow": self.traffic.shadow}
            lines = [f"{key} needs a version beside it; name one, or set it to null" for key in given if given[key]]
            if lines:
                raise ValueError("\n".join(lines))
        return self
