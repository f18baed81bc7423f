"""Entry point of the data gate: contract, integrity and comparison with the champion."""

from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.console.tables import show_phase
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks.data.difference import target
from merit.gate.checks.data.findings import Findings
from merit.gate.checks.data.integrity import itself
from merit.gate.checks.data.table import Table
from merit.gate.checks.data.vs_champion import against
from merit.gate.verdict import Check, Verdict


def look(lock: Lock, champion: Champion | None) -> Findings:
    """Run all data checks.

    Raises:
        MeritError: the data is missing, unreadable, or not the rows that `validate` checked.
    """
    contract = artifacts.read_json(artifacts.DATA_REPORT, "validate")
    now = Table.scan(artifacts.require(artifacts.RAW, "ingest"), lock.data, str(artifacts.RAW))
    show_phase(f"gate: judging the data, {now.height:,} rows")
    if contract.get("rows") != now.height:
        raise MeritError(f"{artifacts.DATA_REPORT}: not of the rows of {artifacts.RAW}; run 'merit validate' again")
    if lacking := sorted(set(lock.data.columns) - set(now.schema)):
        raise MeritError(f"{artifacts.RAW}: lacks the column {', '.join(lacking)}; run 'merit ingest' again")
    found = [against(lock, champion, now), itself(lock, now)]
    checks = [_contract(contract), *(check for each in found for check in each.checks)]
    return Findings(checks, _unknown(now) | found[0].report | found[1].report)


def _unknown(now: Table) -> dict[str, Any]:
    """Return the report's section `data` as it is without a comparison."""
    return {
        "champion": None,
        "rows": {"now": now.height, "before": None, "added": None, "gone": None, "changed": None},
        "columns": None,
        "missing": None,
        "categories": None,
        "target": {"before": None, "after": target(now)},
        "drift": None,
        "identical": False,
    }


def _contract(report: dict[str, Any]) -> Check:
    """Return the check that `validate` found no violation of the data contract."""
    broken = len(report["violations"])
    passed = report["passed"] is True and broken == 0
    verdict = Verdict.PASS if passed else Verdict.FAIL
    found = f"{report['rows']:,} rows, {broken} violations"
    return Check(
        "contract", verdict, found, "no violation", f"mend the data; see {artifacts.DATA_REPORT}", group="data"
    )
