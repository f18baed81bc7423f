"""Decides whether the last report is still valid. Every `merit run` calls it, so it imports nothing heavy."""

import hashlib
import json
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate import champion as champions
from merit.gate import change, waivers
from merit.gate.champion import Champion
from merit.gate.checks.model import bento_key
from merit.gate.report.truncation import fit
from merit.gate.verdict import Verdict, overall

OF_THE_MACHINE = ("time: ", "replay")
"""Prefixes of the names of checks whose results also depend on the machine."""


def current(lock: Lock, against: str | None = None) -> dict[str, Any] | None:
    """Return the last report if it is complete, covers data and model, and is still valid, else None.

    Args:
        lock: the parsed params.yaml.
        against: the commit whose champion must have been compared; None for the merge base with main.
    """
    if not all(path.is_file() for path in (artifacts.GATE_REPORT, artifacts.GATE_MARKDOWN, artifacts.GATE_HTML)):
        return None
    try:
        last = artifacts.read_json(artifacts.GATE_REPORT, "gate")
    except MeritError:
        return None
    if last.get("scope") != "all":
        return None
    champion = champions.find(lock.name, against)
    if not _tells(last, change.since(lock, champion, against)):  # includes sections without a check
        return None
    return last if last.get("inputs") == digest(lock, champion) and _follows(last, lock) else None


def _tells(report: dict[str, Any], changed: dict[str, Any] | None) -> bool:
    """Return whether a report contains a change, which may be truncated in the report."""
    return report.get("change") in (changed, fit({"change": changed})["change"])


def _follows(report: dict[str, Any], lock: Lock) -> bool:
    """Return whether a report's verdict follows from its checks and a new run could not change it.

    Waived checks are ignored. A machine-dependent check that did not pass may pass next time.
    """
    checks = report.get("checks") or []
    excused = waivers.active(lock, waivers.today())
    counted = [check for check in checks if not (check.get("waived") and check["name"] in excused)]
    if any(check["verdict"] != Verdict.PASS and check["name"].startswith(OF_THE_MACHINE) for check in counted):
        return False
    return report.get("verdict") == overall(Verdict(check["verdict"]) for check in counted)


def digest(lock: Lock, champion: Champion | None, only: str | None = None) -> str:
    """Return the hash of everything that a verdict depends on: files, thresholds, champion and the gate's code.

    Args:
        lock: the parsed params.yaml.
        champion: the champion; None if there is none.
        only: the judged part; it is hashed, so that a partial verdict never counts as a complete one.
    """
    code = sorted(Path(__file__).parent.rglob("*.*"))
    files = [*(() if only == "model" else _DATA), *(() if only == "data" else _model())]
    files += [path for path in code if path.suffix != ".pyc"]
    files += sorted((Path(__file__).parents[1] / "reading").glob("*.py"))
    parts = [artifacts.sha256(artifacts.require(path, "run")) for path in files]
    rival = None if champion is None else [champion.commit, champion.package_hash, champion.data_hash]
    own = [lock.code, lock.evaluate.model_dump(mode="json"), lock.data.model_dump(mode="json"), only]
    excused = sorted(waivers.active(lock, waivers.today()))
    served = None if only == "data" or lock.gate.replay is None else bento_key.key(lock.gate.replay.rows)
    text = json.dumps([parts, lock.gate.model_dump(mode="json"), lock.seed, own, rival, excused, served])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


_DATA = (artifacts.DATA_REPORT, artifacts.RAW)


def _model() -> list[Path]:
    files = [artifacts.PREDICTIONS, artifacts.METRICS, artifacts.TEST_ROWS, artifacts.TRANSFORM, artifacts.HISTORY]
    source_rows = [artifacts.SOURCE_ROWS] if artifacts.SOURCE_ROWS.is_file() else []
    locked = [path for path in (artifacts.DVC_LOCK, Path("dvc.yaml")) if path.is_file()]
    return [*files, *source_rows, *locked, *sorted(artifacts.PACKAGE.iterdir())]
