"""The schema of conf/environment/NAME.yaml: what an environment is to serve. It is not part of the lock."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from merit.config.schema.base import Positive, Section

SUCH_AS = {
    (NUMBER := r"^v[1-9][0-9]*$"): "v3",
    (IMAGE := r"^[^\s@]+@sha256:[0-9a-f]{64}$"): "registry/name@sha256: and 64 digits of 0-9a-f",
    (QUANTITY := r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi)?$"): "500m, 2 or 512Mi",
    (DOMAIN := r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$"): "flights.example.org",
}
"""Patterns, each with the example that error messages give for it."""
Number = Annotated[str, Field(pattern=NUMBER)]
"""A model version as its tag ends: v3 for flights@v3."""
Image = Annotated[str, Field(pattern=IMAGE)]
"""An image by its digest."""
Domain = Annotated[str, Field(pattern=DOMAIN, max_length=253)]
"""A DNS name in lower case."""
Quantity = Annotated[str, Field(pattern=QUANTITY)]
"""An amount in Kubernetes notation: 500m of a CPU, 512Mi of memory."""


class Resources(Section):
    """Resource limits of one replica; a target that can't enforce them ignores them (`local`)."""

    cpu: Quantity = "500m"
    """CPUs: 1, or 500m for half of one."""
    memory: Quantity = "512Mi"
    """Memory: 512Mi, 1Gi."""


class Split(Section):
    """Another version that serves part of the traffic."""

    version: Number
    """The model version."""
    image: Image | None = None
    """Its image by digest, as recorded by its release; null where the target runs no images."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """The share of requests that it serves, between 0 and 1."""


class Copied(Split):
    """Another version that receives a copy of requests; its responses are dropped."""

    share: Annotated[float, Field(gt=0, le=1)]
    """The share of requests that it receives a copy of, up to 1."""


class Traffic(Section):
    """Versions that receive requests besides the declared one."""

    canary: Split | None = None
    """A version that serves a share of the requests instead of the declared one."""
    shadow: Copied | None = None
    """A version that receives a copy of a share of the requests; its responses are dropped."""


class Demands(Section):
    """Requirements that a version must meet to run in this environment."""

    signature: bool = False
    """Whether its package must be signed, as conf/release says under `signing`."""
    after: Literal["staging"] | None = None
    """The environment for which main must have declared the version before."""
    soak_hours: Annotated[float, Field(ge=0)] = 0.0
    """The hours for which main must have declared it there, without a break."""

    @model_validator(mode="after")
    def _soaks_somewhere(self) -> "Demands":
        if self.soak_hours and self.after is None:
            raise ValueError("soak_hours is the time in the environment that after names; name one, or remove it")
        return self


class Local(Section):
    """Settings of the target `local`."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 3100
    """The port of 127.0.0.1 on which the environment listens."""


class Environment(Section):
    """conf/environment: what runs where. `merit plan` shows what would change, `merit apply` changes it."""

    version: Number | None
    """The model version to serve, such as v3 for flights@v3. The key is required; null runs nothing."""
    image: Image | None = None
    """Its image by digest, as recorded by its release; null where the target runs no images."""
    target: Literal["local", "kubernetes", "compose", "render", "cloudrun", "ecs", "spaces"] = "local"
    """The platform that runs it: processes on this machine, or one that has files under deploy/."""
    replicas: Positive = 1
    """The number of replicas."""
    domain: Domain | None = None
    """The domain of a TLS proxy in front of it (kubernetes, compose); null declares no proxy."""
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
