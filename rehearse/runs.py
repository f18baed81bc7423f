"""What started a run, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Trigger:
    """What started a run.

    Attributes:
        event: its name.
        payload: what GitHub tells of it.
        sha: the commit that is checked out.
        ref: the ref that it is the tip of.
        actor: who did it.
        is_fork: it comes from a fork: no secrets, and a token that may only read.
        branch: the head's branch; of a pull request alone.
    """

    event: str
    payload: Mapping[str, Any]
    sha: str
    ref: str
    actor: str
    is_fork: bool = False
    branch: str = ""


@dataclass
class Step:
    """What became of a step."""

    name: str
    outcome: str = "skipped"
    conclusion: str = "skipped"
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    seconds: float = 0.0


@dataclass
class Run:
    """What became of a run."""

    id: int
    workflow: str
    trigger: Trigger
    conclusion: str = ""
    steps: list[Step] = field(default_factory=list)
    summary: str = ""
    seconds: float = 0.0

    def step(self, name: str) -> Step:
        """Return the step whose name begins so."""
        return next(step for step in self.steps if step.name.startswith(name))

    @property
    def log(self) -> str:
        """All that was printed."""
        return "\n".join(step.log for step in self.steps)
