"""Size check: the package is no larger than its limit."""

from merit.gate.checks.protocol import CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict


def check_size(evidence: Evidence) -> CheckResult:
    """Check the size of the package against its limit."""
    size_mb, limit_mb = evidence.package_bytes / 1e6, evidence.lock.gate.size_mb
    verdict = Verdict.PASS if size_mb <= limit_mb else Verdict.FAIL
    return CheckResult("", verdict, f"{size_mb:.2f} MB", f"at most {limit_mb:g} MB", "make the network smaller")


NAME = "size"
FAMILY = CheckFamily(190, lambda _: {"size": check_size})
