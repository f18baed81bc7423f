"""Whether the last report still holds; asked by every run, so it imports nothing heavy."""

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
"""How the names of checks begin whose findings hang on the machine as well."""


def current(lock: Lock, against: str | None = None) -> dict[str, Any] | None:
    """Return the last report if it is whole, on data and model both, and still holds, else None.

    Args:
        lock: the configuration.
        against: the commit whose champion must have been the rival; None for the merge base with main.
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
    if not _tells(last, change.since(lock, champion, against)):  # also of sections that no check looks at
        return None
    return last if last.get("inputs") == digest(lock, champion) and _follows(last, lock) else None


def _tells(report: dict[str, Any], changed: dict[str, Any] | None) -> bool:
    """Say whether a report tells of a change, which is cut in it where it is too long."""
    return report.get("change") in (changed, fit({"change": changed})["change"])


def _follows(report: dict[str, Any], lock: Lock) -> bool:
    """Say whether a report's verdict is the one that its checks give, and will give if they are asked again.

    A check that conf/ waives counts for nothing; one that hangs on the machine and did not pass may pass next time.
    """
    checks = report.get("checks") or []
    excused = waivers.active(lock, waivers.today())
    counted = [check for check in checks if not (check.get("waived") and check["name"] in excused)]
    if any(check["verdict"] != Verdict.PASS and check["name"].startswith(OF_THE_MACHINE) for check in counted):
        return False
    return report.get("verdict") == overall(Verdict(check["verdict"]) for check in counted)


def digest(lock: Lock, champion: Champion | None, only: str | None = None) -> str:
    """Return the hash of all that a verdict depends on: files, thresholds, rival, and the code of this room.

    Args:
        lock: the configuration.
        champion: the rival.
        only: what is judged, if not all: such a verdict is never taken for the whole.
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
