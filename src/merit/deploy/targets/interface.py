"""Defines the interface of deployment targets: a target reports what runs and brings it to the declared state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from merit.config.schema import Lock
from merit.config.schema.environment import Environment, TrafficSplit
from merit.registry.release_tags import Release
from merit.registry.tags import Version

Facts = dict[str, Any]
"""A comparable description of a deployment by name, such as `version` or `replicas`. Empty: nothing runs."""

Probe = Callable[[Path, str, str, str, str], None]
"""Smoke test of a server. Arguments: package folder, version, address, API key, commit. Sends the package's smoke rows
and raises `Refused` if the predictions, the version or the commit in the response differ from the package's."""


@dataclass(frozen=True)
class DesiredState:
    """The declared state of an environment.

    Attributes:
        name: the environment.
        environment: the validated content of its file.
        lock: the configuration: the model's name, and the settings for serving and signing.
        versions: the versions that the environment names, by number such as `v3`.
        releases: the releases of the versions that have an image, by the same number.
        probe: the smoke test that a server must pass before it gets requests; None skips it.
    """

    name: str
    environment: Environment
    lock: Lock
    versions: Mapping[str, Version] = field(default_factory=dict)
    releases: Mapping[str, Release] = field(default_factory=dict)
    probe: Probe | None = None

    @property
    def splits(self) -> dict[str, TrafficSplit]:
        """The declared canary and shadow deployments, by role."""
        declared = {"canary": self.environment.traffic.canary, "shadow": self.environment.traffic.shadow}
        return {role: split for role, split in declared.items() if split is not None}


@dataclass(frozen=True)
class ActualState:
    """The running state of an environment.

    Attributes:
        facts: the description of what runs.
        healthy: whether all of it is healthy.
        since: the time from which this version serves, if the target knows it; ISO 8601.
    """

    facts: Facts
    healthy: bool
    since: str | None = None


class Target(Protocol):
    """A platform that runs an environment.

    A target compares two descriptions: `plan` shows the difference between `actual` and `desired`, and `apply` removes
    it.

    Example:
        class File:
            def __init__(self, desired: DesiredState) -> None:
                self.version = desired.environment.version

            def describe_desired(self) -> Facts:
                return {"version": self.version}

            def read_actual(self) -> ActualState:
                path = Path("serving.txt")
                return ActualState({"version": path.read_text()} if path.is_file() else {}, healthy=True)

            def check_inputs(self) -> None:
                pass

            def apply(self) -> list[str]:
                Path("serving.txt").write_text(str(self.version))
                return [f"serving.txt: {self.version}"]
    """

    def describe_desired(self) -> Facts:
        """Return the description of what should run."""

    def read_actual(self) -> ActualState:
        """Return the running state; read-only."""

    def check_inputs(self) -> None:
        """Check that the inputs of `apply`, such as packages, are available.

        Raises:
            MeritError: an input is not available.
        """

    def apply(self) -> list[str]:
        """Bring the running state to the declared one; return the actions taken, one line each.

        Raises:
            Refused: a new version did not become ready or failed its smoke test; the previous version keeps running.
            MeritError: an input or a program is not available.
        """


def get_address(facts: Facts) -> str | None:
    """Return the URL for predictions; None if the platform assigns it, or nothing runs."""
    return f"http://127.0.0.1:{facts['port']}/predict" if "port" in facts else None
