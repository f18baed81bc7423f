"""What the data gate finds: checks of the group `data`, and the report's key of that name."""

from dataclasses import dataclass, field
from typing import Any

from merit.gate.verdict import Check, Verdict

SHOWN = 3
"""Columns that a check names, the worst first."""


@dataclass(frozen=True)
class Findings:
    """The checks, and what they bring to the report."""

    checks: list[Check]
    report: dict[str, Any] = field(default_factory=dict)


def judged(name: str, good: bool | None, found: str, allowed: str, advice: str) -> Check:
    """Return a check: whether what was found is good, or None if that can't be told."""
    verdict = Verdict.INCONCLUSIVE if good is None else Verdict.PASS if good else Verdict.FAIL
    return Check(f"data: {name}", verdict, found, allowed, advice, group="data")


def named(worst: list[str]) -> str:
    """Return the worst few of a list in one line, with how many more there are."""
    more = f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    return ", ".join(worst[:SHOWN]) + more
