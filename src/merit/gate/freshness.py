"""Decides whether the last report is still valid. Every `merit run` calls it, so it imports nothing heavy."""

import hashlib
import json
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate import champion as champions
from merit.gate import config_change, waivers
from merit.gate.champion import Champion
from merit.gate.checks.model import replay_key as bento_key
from merit.gate.report.truncation import truncate_report
from merit.gate.verdict import Verdict, combine_verdicts

MACHINE_DEPENDENT_PREFIXES = ("time: ", "replay")
"""Prefixes of the names of checks whose results also depend on the machine."""


def load_current_report(lock: Lock, ref: str | None = None) -> dict[str, Any] | None:
    """Return the last report if it is complete, covers data and model, and is still valid, else None.

    Args:
        lock: the parsed params.yaml.
        ref: the commit whose champion must have been compared; None for the merge base with main.
    """
    if not all(path.is_file() for path in (artifacts.GATE_REPORT, artifacts.GATE_MARKDOWN, artifacts.GATE_HTML)):
        return None
    try:
        report = artifacts.read_json(artifacts.GATE_REPORT, "gate")
    except MeritError:
        return None
    if report.get("scope") != "all":
        return None
    champion = champions.find_champion(lock.name, ref)
    if not _contains_change(
        report, config_change.compare_with_champion(lock, champion, ref)
    ):  # includes sections without a check
        return None
    return (
        report
        if report.get("inputs") == compute_inputs_digest(lock, champion) and _has_final_verdict(report, lock)
        else None
    )


def _contains_change(report: dict[str, Any], changes: dict[str, Any] | None) -> bool:
    """Return whether a report contains a change, which may be truncated in the report."""
    return report.get("change") in (changes, truncate_report({"change": changes})["change"])


def _has_final_verdict(report: dict[str, Any], lock: Lock) -> bool:
    """Return whether a report's verdict follows from its checks and a new run could not change it.

    Waived checks are ignored. A machine-dependent check that did not pass may pass next time.
    """
    checks = report.get("checks") or []
    waived_names = waivers.list_active_waivers(lock, waivers.get_utc_date())
    counted = [check for check in checks if not (check.get("waived") and check["name"] in waived_names)]
    if any(
        Verdict(check["verdict"]).is_blocking and check["name"].startswith(MACHINE_DEPENDENT_PREFIXES)
        for check in counted
    ):
        return False
    return report.get("verdict") == combine_verdicts(Verdict(check["verdict"]) for check in counted)


def compute_inputs_digest(lock: Lock, champion: Champion | None, scope: str | None = None) -> str:
    """Return the hash of everything that a verdict depends on: files, thresholds, champion and the gate's code.

    Args:
        lock: the parsed params.yaml.
        champion: the champion; None if there is none.
        scope: the judged part; it is hashed, so that a partial verdict never counts as a complete one.
    """
    code_files = sorted(Path(__file__).parent.rglob("*.*"))
    files = [*(() if scope == "model" else _DATA_FILES), *(() if scope == "data" else _list_model_files())]
    files += [path for path in code_files if path.suffix != ".pyc"]
    files += [
        path for name in ("metrics", "reading") for path in sorted((Path(__file__).parents[1] / name).glob("*.py"))
    ]
    file_hashes = [artifacts.hash_file(artifacts.require_path(path, "run")) for path in files]
    champion_state = None if champion is None else [champion.commit, champion.package_hash, champion.data_hash]
    settings = [lock.code, lock.evaluate.model_dump(mode="json"), lock.data.model_dump(mode="json"), scope]
    waived_names = sorted(waivers.list_active_waivers(lock, waivers.get_utc_date()))
    replay = None if scope == "data" else lock.gate.replay
    replay_key = None if replay is None else bento_key.compute_cache_key(replay.rows)
    payload = json.dumps(
        [file_hashes, lock.gate.model_dump(mode="json"), lock.seed, settings, champion_state, waived_names, replay_key]
    )
    return "sha256:" + hashlib.sha256(payload.encode()).hexdigest()


_DATA_FILES = (artifacts.DATA_REPORT, artifacts.RAW)


def _list_model_files() -> list[Path]:
    files = [artifacts.PREDICTIONS, artifacts.METRICS, artifacts.TEST_ROWS, artifacts.TRANSFORM, artifacts.HISTORY]
    source_rows = [artifacts.SOURCE_ROWS] if artifacts.SOURCE_ROWS.is_file() else []
    dvc_files = [path for path in (artifacts.DVC_LOCK, Path("dvc.yaml")) if path.is_file()]
    return [
        *files,
        *source_rows,
        *dvc_files,
        *sorted(artifacts.SEEDS.glob("*.onnx")),
        *sorted(artifacts.PACKAGE.iterdir()),
    ]
