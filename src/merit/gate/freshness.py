"""Whether the last report still holds; asked by every run, so it imports nothing heavy."""

import hashlib
import json
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate import champion as champions
from merit.gate import change
from merit.gate.champion import Champion
from merit.gate.verdict import Verdict, overall


def current(lock: Lock) -> dict[str, Any] | None:
    """Return the last report if it is whole and nothing it was made from has changed since, else None."""
    if not all(path.is_file() for path in (artifacts.GATE_REPORT, artifacts.GATE_MARKDOWN, artifacts.GATE_HTML)):
        return None
    try:
        last = artifacts.read_json(artifacts.GATE_REPORT, "gate")
    except MeritError:
        return None
    champion = champions.find(lock.name)
    if last.get("change") != change.since(lock, champion):  # what it tells of sections that no check looks at
        return None
    return last if last.get("inputs") == digest(lock, champion) and _follows(last) else None


def _follows(report: dict[str, Any]) -> bool:
    """Say whether a report's verdict is the one that its checks give."""
    checks = report.get("checks") or []
    return report.get("verdict") == overall(Verdict(check["verdict"]) for check in checks)


def digest(lock: Lock, champion: Champion | None) -> str:
    """Return the hash of all that a verdict depends on: files, thresholds, rival, and the code of this room."""
    code = sorted(Path(__file__).parent.rglob("*.*"))
    files = [artifacts.PREDICTIONS, artifacts.METRICS, artifacts.DATA_REPORT, artifacts.TEST_ROWS, artifacts.TRANSFORM]
    files += [artifacts.HISTORY, *sorted(artifacts.PACKAGE.iterdir()), *(p for p in code if p.suffix != ".pyc")]
    parts = [artifacts.sha256(artifacts.require(path, "run")) for path in files]
    rival = None if champion is None else [champion.commit, champion.package_hash]
    own = [lock.code, lock.evaluate.model_dump(mode="json")]
    text = json.dumps([parts, lock.gate.model_dump(mode="json"), lock.seed, own, rival])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
