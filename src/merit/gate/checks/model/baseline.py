"""Baseline check: the candidate is no worse than gradient boosting on the same columns and rows."""

from merit.gate.checks.model.limits import check_no_worse
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult

ADVICE = "gradient boosting does better on the same columns: use it, or improve the network"


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return the check of the metric that gate.baseline names."""
    return {f"baseline: {evidence.lock.gate.baseline.metric}": _check_baseline}


def _check_baseline(evidence: Evidence) -> CheckResult:
    rule = evidence.lock.gate.baseline
    difference = evidence.compare_seeds([evidence.baseline], [rule.metric])[rule.metric]
    return check_no_worse(difference, evidence, rule, ADVICE)


NAME = "baseline"
FAMILY = CheckFamily(120, build_checks)
