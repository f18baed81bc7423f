"""Whether the last report still holds; asked by every run, so it imports nothing heavy."""

import hashlib
import json
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.gate import champion as champions
from merit.gate.champion import Champion


def current(lock: Lock) -> dict[str, Any] | None:
    """Return the last report if nothing it was made from has changed since, else None."""
    if not artifacts.GATE_REPORT.is_file():
        return None
    last: dict[str, Any] = artifacts.read_json(artifacts.GATE_REPORT, "gate")
    complete = artifacts.GATE_MARKDOWN.is_file() and artifacts.GATE_HTML.is_file()
    return last if complete and last.get("inputs") == digest(lock, champions.find(None)) else None


def digest(lock: Lock, champion: Champion | None) -> str:
    """Return the hash of all that a verdict depends on: files, thresholds, rival, and the code of this room."""
    code = sorted(Path(__file__).parent.rglob("*.*"))
    files = [artifacts.PREDICTIONS, artifacts.METRICS, artifacts.DATA_REPORT, artifacts.TEST_ROWS, artifacts.TRANSFORM]
    files += [artifacts.HISTORY, *sorted(artifacts.PACKAGE.iterdir()), *(p for p in code if p.suffix != ".pyc")]
    parts = [artifacts.sha256(artifacts.require(path, "run")) for path in files]
    rival = None if champion is None else [champion.commit, champion.package_hash]
    text = json.dumps([parts, lock.gate.model_dump(mode="json"), lock.seed, rival])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
