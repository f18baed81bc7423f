"""The schema of conf/environment/NAME.yaml: what an environment is to serve. It is not part of the lock."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from merit.config.extensions import list_names, list_names_with
from merit.config.schema.base import PositiveInt, Section

TARGET_PACKAGE = "merit.deploy.targets"
TARGET_NAMES = list_names(
    TARGET_PACKAGE, first=("local", "kubernetes", "compose", "render", "cloudrun", "ecs", "spaces")
)
"""The names of all targets; the listed ones come first, in the order of the documentation."""
IMAGELESS_TARGETS = list_names_with(TARGET_PACKAGE, "RUNS_IMAGES", False)
"""Targets that run a version's package without an image."""
FILELESS_TARGETS = list_names_with(TARGET_PACKAGE, "RENDERS_FILES", False)
"""Targets that render no files into deploy/."""
if TYPE_CHECKING:
    TargetName = str
else:
    TargetName = Literal[TARGET_NAMES]
PATTERN_EXAMPLES = {
    (VERSION_PATTERN := r"^v[1-9][0-9]*$"): "v3",
    (IMAGE_PATTERN := r"^[^\s@]+@sha256:[0-9a-f]{64}$"): "registry/name@sha256: and 64 digits of 0-9a-f",
    (QUANTITY_PATTERN := r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi)?$"): "500m, 2 or 512Mi",
    (DOMAIN_PATTERN := r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$"): "flights.example.org",
}
"""Patterns, each with the example that error messages give for it."""
VersionName = Annotated[str, Field(pattern=VERSION_PATTERN)]
"""A model version as its tag ends: v3 for flights@v3."""
ImageDigest = Annotated[str, Field(pattern=IMAGE_PATTERN)]
"""An image by its digest."""
DomainName = Annotated[str, Field(pattern=DOMAIN_PATTERN, max_length=253)]
"""A DNS name in lower case."""
Quantity = Annotated[str, Field(pattern=QUANTITY_PATTERN)]
"""An amount in Kubernetes notation: 500m of a CPU, 512Mi of memory."""


class ResourceLimits(Section):
    """Resource limits of one replica; a target that can't enforce them ignores them (`local`)."""

    cpu: Quantity = "500m"
    """CPUs: 1, or 500m for half of one."""
    memory: Quantity = "512Mi"
    """Memory: 512Mi, 1Gi."""


class TrafficSplit(Section):
    """Another version that serves part of the traffic."""

    version: VersionName
    """The model version."""
    image: ImageDigest | None = None
    """Its image by digest, as recorded by its release; null where the target runs no images."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """The share of requests that it serves, between 0 and 1."""


class ShadowTraffic(TrafficSplit):
    """Another version that receives a copy of requests; its responses are dropped."""

    share: Annotated[float, Field(gt=0, le=1)]
    """The share of requests that it receives a copy of, up to 1."""


class TrafficSplits(Section):
    """Versions that receive requests besides the declared one."""

    canary: TrafficSplit | None = None
    """A version that serves a share of the requests instead of the declared one."""
    shadow: ShadowTraffic | None = None
    """A version that receives a copy of a share of the requests; its responses are dropped."""


class Requirements(Section):
    """Requirements that a version must meet to run in this environment."""

    signature: bool = False
    """Whether its package must be signed, as conf/release says under `signing`."""
    after: Literal["staging"] | None = None
    """The environment for which main must have declared the version before."""
    soak_hours: Annotated[float, Field(ge=0)] = 0.0
    """The hours for which main must have declared it there, without a break."""

    @model_validator(mode="after")
    def _check_soak(self) -> "Requirements":
        if self.soak_hours and self.after is None:
            raise ValueError("soak_hours is the time in the environment that after names; name one, or remove it")
        return self


class LocalTarget(Section):
    """Settings of the target `local`."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 3100
    """The port of 127.0.0.1 on which the environment listens."""


class Environment(Section):
    """conf/environment: what runs where. `merit plan` shows what would change, `merit apply` changes it."""

    version: VersionName | None
    """The model version to serve, such as v3 for flights@v3. The key is required; null runs nothing."""
    image: ImageDigest | None = None
    """Its image by digest, as recorded by its release; null where the target runs no images."""
    target: TargetName = "local"
    """The platform that runs it: processes on this machine, or one that has files under deploy/."""
    replicas: PositiveInt = 1
    """The number of replicas."""
    domain: DomainName | None = None
    """The domain of a TLS proxy in front of it (kubernetes, compose); null declares no proxy."""
    resources: ResourceLimits = ResourceLimits()
    traffic: TrafficSplits = TrafficSplits()
    demands: Requirements = Requirements()
    local: LocalTarget = LocalTarget()

    @model_validator(mode="after")
    def _check_version(self) -> "Environment":
        if self.version is None:
            dependent_values = {
                "image": self.image,
                "traffic.canary": self.traffic.canary,
                "traffic.shadow": self.traffic.shadow,
            }
            lines = [
                f"{key} needs a version beside it; name one, or set it to null"
                for key in dependent_values
                if dependent_values[key]
            ]
            if lines:
                raise ValueError("\n".join(lines))
        return self
