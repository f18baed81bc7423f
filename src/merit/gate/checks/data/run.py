"""Runs the checks of the data, in the order that their files declare."""

from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.console.logging import show_phase
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.difference import summarize_target
from merit.gate.checks.data.evidence import DataEvidence
from merit.gate.checks.data.findings import Findings
from merit.gate.checks.protocol import DataFamily
from merit.gate.checks.registry import list_families


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
    evidence = DataEvidence(lock, dataset, contract, champion)
    findings = [family.judge(evidence) for family in list_families(DataFamily)]
    report = _build_base_report(dataset)
    for each in findings:
        report |= each.report
    return Findings([check for each in findings for check in each.checks], report)


def _build_base_report(dataset: Dataset) -> dict[str, Any]:
    """Return the report's section `data` as it is without a comparison."""
    return {
        "champion": None,
        "rows": {"now": dataset.height, "before": None, "added": None, "gone": None, "changed": None}
        | {"relabelled": None},
        "changed_columns": None,
        "changed_slices": None,
        "columns": None,
        "missing": None,
        "categories": None,
        "target": {"before": None, "after": summarize_target(dataset)},
        "drift": None,
        "identical": False,
    }
