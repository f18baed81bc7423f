"""Test rows check: they were not asked too often, and so still tell a better model from a luckier one."""

from merit.gate.checks.protocol import CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict

ADVICE = (
    "the best of so many candidates is partly the luckiest: move data.split to newer rows, which nobody has asked yet; "
    "to go on with these, raise gate.test_rows.candidates, or set it to null"
)


def check_test_rows(evidence: Evidence) -> CheckResult:
    """Check the number of candidates that were judged on the same test rows against the declared budget."""
    use, budget = evidence.test_use, evidence.lock.gate.test_rows.candidates
    candidates = "1 candidate was" if use.candidates == 1 else f"{use.candidates:,} candidates were"
    found = f"{candidates} judged on these {evidence.rows.height:,} rows (counted in {use.sources})"
    verdict = Verdict.PASS if budget is None or use.candidates <= budget else Verdict.INCONCLUSIVE
    return CheckResult("", verdict, found, "any number" if budget is None else f"at most {budget:,}", ADVICE)


NAME = "test rows"
FAMILY = CheckFamily(215, lambda _: {NAME: check_test_rows})
