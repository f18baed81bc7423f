"""Results of the data gate: checks of the group `data`, and the section `data` of the gate's report."""

from dataclasses import dataclass, field
from typing import Any

from merit.gate.verdict import Check, Verdict

MAX_LISTED_ITEMS = 3
"""Columns that a check lists by name, the worst first."""


@dataclass(frozen=True)
class Findings:
    """Checks, and the entries that they add to the report's section `data`."""

    checks: list[Check]
    report: dict[str, Any] = field(default_factory=dict)


def build_check(name: str, passed: bool | None, found: str, allowed: str, advice: str) -> Check:
    """Return a data check: `good` True passes, False fails, None (undecidable) is inconclusive."""
    verdict = Verdict.INCONCLUSIVE if passed is None else Verdict.PASS if passed else Verdict.FAIL
    return Check(f"data: {name}", verdict, found, allowed, advice, group="data")


def build_not_applicable(name: str, found: str, allowed: str) -> Check:
    """Return a data check that has nothing to compare."""
    return Check(f"data: {name}", Verdict.NOT_APPLICABLE, found, allowed, group="data")


def format_worst(items: list[str]) -> str:
    """Return the first few entries of a list, worst first, as one line that ends in the number left out."""
    rest = f" and {len(items) - MAX_LISTED_ITEMS} more" if len(items) > MAX_LISTED_ITEMS else ""
    return ", ".join(items[:MAX_LISTED_ITEMS]) + rest
