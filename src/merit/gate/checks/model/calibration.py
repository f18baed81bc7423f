"""Calibration check: predicted probabilities are near the shares of rows that come true."""

from merit.gate.checks.model.limits import Limit, check_limit
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult

ADVICE = "the probabilities are off: train longer, or regularise less"


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return the check; a regression has no such limit."""
    return {} if evidence.lock.gate.calibration is None else {"calibration": _check_calibration}


def _check_calibration(evidence: Evidence) -> CheckResult:
    assert evidence.lock.gate.calibration is not None
    limit = Limit(evidence.lock.gate.calibration, is_lower_bound=False)
    return check_limit("", evidence.metrics["calibration_error"], limit, size=evidence.size, advice=ADVICE)


NAME = "calibration"
FAMILY = CheckFamily(150, build_checks)
