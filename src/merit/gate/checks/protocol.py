"""Defines the interface of the gate's checks that a project brings itself, named in gate.checks."""

from typing import Protocol

from merit.gate import verdict
from merit.gate.evidence import Evidence


class Check(Protocol):
    """A gate check of a project: called with the evidence, returns its result.

    The class takes its arguments from YAML; the report names the check by its key in gate.checks.
    docs/how-to/own-python.md shows it whole.

    Example:
        class MeanIsNear:
            def __init__(self, *, most):
                self.most = most

            def __call__(self, evidence: merit.Evidence) -> merit.CheckResult:
                gap = abs(evidence.candidate.mean() - evidence.target.mean())
                verdict = merit.Verdict.PASS if gap <= self.most else merit.Verdict.FAIL
                return merit.CheckResult("", verdict, f"{gap:.3f}", f"at most {self.most}")
    """

    def __call__(self, evidence: Evidence) -> verdict.Check:
        """Return the result: the verdict, what was found, what is allowed, and what to do if it did not pass."""
