"""Contract check: `validate` found no violation of the data contract."""

from merit import artifacts
from merit.gate.checks.data.evidence import DataEvidence
from merit.gate.checks.data.findings import Findings
from merit.gate.checks.protocol import DataFamily
from merit.gate.verdict import Check, Verdict

NAME = "contract"
WAIVABLE = False
ADVICE = f"correct the data; see {artifacts.DATA_REPORT}"


def judge_contract(evidence: DataEvidence) -> Findings:
    """Return the check of the report that `validate` wrote."""
    report = evidence.contract
    violations = len(report["violations"])
    verdict = Verdict.PASS if report["passed"] is True and violations == 0 else Verdict.FAIL
    text = f"{report['rows']:,} rows, {violations} violations"
    return Findings([Check(NAME, verdict, text, "no violation", ADVICE, group="data")])


FAMILY = DataFamily(10, judge_contract)
