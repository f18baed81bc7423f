"""What runs an environment: each target says what runs, and makes it what is declared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from merit.config.schema import Lock
from merit.config.schema.environment import Environment, Split
from merit.registry.release_tags import Release
from merit.registry.tags import Version

Facts = dict[str, Any]
"""What runs, by what is told of it, such as `version`; two are the same if they are equal. Empty: nothing runs."""

Probe = Callable[[Path, str, str, str, str], None]
"""Asks a server for a package's smoke rows, given the package, its version, the address, a key and the commit; raises
`Refused` if it doesn't answer as the package, as this version, does."""


@dataclass(frozen=True)
class Desired:
    """What an environment is declared to be.

    Attributes:
        name: the environment.
        environment: its file.
        lock: the configuration: the model's name, how it is served and signed.
        versions: the versions that the environment names, by their numbers (`v3`).
        releases: the images of those that have one.
        probe: how a server is tried before it gets requests.
    """

    name: str
    environment: Environment
    lock: Lock
    versions: Mapping[str, Version] = field(default_factory=dict)
    releases: Mapping[str, Release] = field(default_factory=dict)
    probe: Probe | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """Who else gets requests, by role."""
        both = {"canary": self.environment.traffic.canary, "shadow": self.environment.traffic.shadow}
        return {role: split for role, split in both.items() if split is not None}


@dataclass(frozen=True)
class Actual:
    """What runs.

    Attributes:
        facts: what it is.
        healthy: whether all of it is well.
        since: since when this version serves, if the target knows; ISO 8601.
    """

    facts: Facts
    healthy: bool
    since: str | None = None


class Target(Protocol):
    """One way to run an environment."""

    def desired(self) -> Facts:
        """Return what should run."""

    def actual(self) -> Actual:
        """Return what runs; it changes nothing."""

    def check(self) -> None:
        """Check that `apply` can have what it needs.

        Raises:
            MeritError: something is nowhere.
        """

    def apply(self) -> list[str]:
        """Make what runs what should run; return what was done, one line each, none if nothing had to be.

        Raises:
            Refused: a new version did not become ready or answered wrongly; what ran before runs on.
            MeritError: something that is needed is not there.
        """


def address(facts: Facts) -> str | None:
    """Return where what runs is called; None where that is for the platform to say, or nothing runs."""
    return f"http://127.0.0.1:{facts['port']}/predict" if "port" in facts else None


def of(desired: Desired) -> Target:
    """Return the target of an environment."""
    if desired.environment.target == "local":
        from merit.deploy.targets.local.target import Local

        return Local(desired)
    from merit.deploy.targets.manifests import Manifests

    return Manifests(desired)
