"""Floor checks: no metric of the candidate is worse than an absolute limit, whatever its rivals do."""

from functools import partial

from merit.gate.checks.model.limits import Limit, check_limit
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult

ADVICE = "improve the model, or judge it on more test rows"


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return a check for each metric of gate.floors."""
    floors = evidence.lock.gate.floors
    return {f"floor: {metric}": partial(_check_floor, metric=metric, limit=limit) for metric, limit in floors.items()}


def _check_floor(evidence: Evidence, *, metric: str, limit: float) -> CheckResult:
    floor = Limit(limit, is_lower_bound=evidence.is_higher_better(metric))
    return check_limit("", evidence.metrics[metric], floor, size=evidence.size, advice=ADVICE)


NAME = "floors"
FAMILY = CheckFamily(110, build_checks, phase="comparing with baseline and champion")
