"""The checks that the project brings itself, named in gate.checks."""

from functools import partial

from merit.config.components import targets
from merit.errors import MeritError
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return the project's checks by their keys."""
    checks = targets.build_all(evidence.lock.gate.checks)
    return {name: partial(_run_check, name=name, check=check) for name, check in checks.items()}


def _run_check(evidence: Evidence, *, name: str, check: Check) -> CheckResult:
    """Run a check and verify its result, whose type no schema has checked."""
    result = check(evidence)
    if not isinstance(result, CheckResult):
        raise MeritError(f"gate.checks.{name}: gave {type(result).__name__}; it must give a merit.gate.verdict.Check")
    if result.verdict not in list(Verdict):
        raise MeritError(f"gate.checks.{name}: gave the verdict {result.verdict!r:.80}; allowed: {', '.join(Verdict)}")
    found_text, allowed, advice = str(result.found), str(result.allowed), str(result.advice)
    rows_needed = result.rows_needed if isinstance(result.rows_needed, int) else None
    # Copied without `waived` and `group`, so that an own check can neither waive itself nor join merit's rules.
    return CheckResult(name, Verdict(result.verdict), found_text, allowed, advice, rows_needed=rows_needed)


NAME = "own"
FAMILY = CheckFamily(210, build_checks)
