"""Entry point of the data gate: contract, integrity and comparison with the champion."""

from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.console.logging import show_phase
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.difference import summarize_target
from merit.gate.checks.data.findings import Findings
from merit.gate.checks.data.integrity import check_integrity
from merit.gate.checks.data.vs_champion import compare_with_champion
from merit.gate.verdict import Check, Verdict


def check_data(lock: Lock, champion: Champion | None) -> Findings:
    """Run all data checks.

    Raises:
        MeritError: the data is missing, unreadable, or not the rows that `validate` checked.
    """
    contract = artifacts.read_json(artifacts.DATA_REPORT, "validate")
    dataset = Dataset.scan(artifacts.require_path(artifacts.RAW, "ingest"), lock.data, str(artifacts.RAW))
    show_phase(f"gate: judging the data, {dataset.height:,} rows")
    if contract.get("rows") != dataset.height:
        raise MeritError(f"{artifacts.DATA_REPORT}: not of the rows of {artifacts.RAW}; run 'merit validate' again")
    if missing := sorted(set(lock.data.columns) - set(dataset.schema)):
        raise MeritError(f"{artifacts.RAW}: lacks the column {', '.join(missing)}; run 'merit ingest' again")
    findings = [compare_with_champion(lock, champion, dataset), check_integrity(lock, dataset)]
    checks = [_check_contract(contract), *(check for each in findings for check in each.checks)]
    return Findings(checks, _build_base_report(dataset) | findings[0].report | findings[1].report)


def _build_base_report(dataset: Dataset) -> dict[str, Any]:
    """Return the report's section `data` as it is without a comparison."""
    return {
        "champion": None,
        "rows": {"now": dataset.height, "before": None, "added": None, "gone": None, "changed": None},
        "columns": None,
        "missing": None,
        "categories": None,
        "target": {"before": None, "after": summarize_target(dataset)},
        "drift": None,
        "identical": False,
    }


def _check_contract(report: dict[str, Any]) -> Check:
    """Return the check that `validate` found no violation of the data contract."""
    violations = len(report["violations"])
    passed = report["passed"] is True and violations == 0
    verdict = Verdict.PASS if passed else Verdict.FAIL
    text = f"{report['rows']:,} rows, {violations} violations"
    return Check("contract", verdict, text, "no violation", f"mend the data; see {artifacts.DATA_REPORT}", group="data")
