"""Parity check: the package predicts what the evaluated network does.

It is compared on the test rows as ingested, and on the same rows read again from the source by the package's signature.
"""

import hashlib
import importlib.metadata
import json
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import numpy as np

from merit import artifacts
from merit.errors import MeritError, Refused
from merit.gate.checks.background import BackgroundCheck
from merit.gate.checks.model.source_rows import convert_columns
from merit.gate.checks.protocol import CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict
from merit.scoring.package import extract_columns

NAME = "parity"
WAIVABLE = False
CACHE_FILE = Path(".merit/parity.json")
"""The cached result on the source's rows: `{key, greatest}`."""


def build_checks(evidence: Evidence) -> dict[str, BackgroundCheck[tuple[float, str]]]:
    """Return the check, which reads the source's rows in the background."""
    return {NAME: BackgroundCheck(lambda _: _measure_source_difference(evidence), _judge_difference)}


def _judge_difference(evidence: Evidence, pending: "Future[tuple[float, str]]") -> CheckResult:
    """Compare the package's predictions with the evaluated network's; the parity in the manifest is not trusted."""
    limit, count = evidence.lock.gate.parity, len(evidence.candidate)
    allowed = f"at most {limit:.0e}"
    try:
        source_difference, note = pending.result()
    except Refused as error:
        advice = "the package can't read what training has read: correct conf/data, or the source"
        return CheckResult(NAME, Verdict.FAIL, f"on the source's rows: {error}", allowed, advice)
    except MeritError as error:
        advice = "bring the source's files as the lock names them, then 'merit run'"
        return CheckResult(NAME, Verdict.INCONCLUSIVE, f"the source's rows can't be had: {error}", allowed, advice)
    ingested_difference = float(np.abs(evidence.candidate - evidence.network).max()) / evidence.prediction_unit
    if ingested_difference <= limit and not source_difference <= limit:
        advice = "training has read the source differently from the package: look at data.columns and data.source"
        difference = f"{source_difference:.1e} on {count:,} rows of the source, {ingested_difference:.1e} as ingested"
        return CheckResult(NAME, Verdict.FAIL, difference, allowed, advice)
    max_difference = max(ingested_difference, source_difference)
    verdict = Verdict.PASS if ingested_difference <= limit else Verdict.FAIL
    advice = "the package is not the network that was evaluated: make both again with 'merit run'"
    return CheckResult(NAME, verdict, f"{max_difference:.1e} on {count:,} rows {note}".strip(), allowed, advice)


def _measure_source_difference(evidence: Evidence) -> tuple[float, str]:
    """Return the greatest difference from the network on the source's rows, and a note on where the rows come from.

    Raises:
        Refused: the package can't read the rows.
        MeritError: the source's rows are not available.
    """
    if evidence.source is None:
        return 0.0, ""
    key = _compute_cache_key(evidence)
    if (cached := _read_cached(key)) is not None:
        return cached, "of the source, measured before"
    rows = evidence.source.get_rows()
    if rows.note:
        return 0.0, rows.note
    predictions = evidence.package.predict(
        extract_columns(convert_columns(rows.table, evidence.package), evidence.package.graph.inputs)
    )
    max_difference = float(np.abs(predictions - evidence.network).max()) / evidence.prediction_unit
    if np.isfinite(max_difference):
        artifacts.write_json(CACHE_FILE, {"key": key, "greatest": max_difference})
    return max_difference, "of the source"


def _read_cached(key: str) -> float | None:
    """Return the cached difference if it was measured under this key."""
    if CACHE_FILE.is_file():
        with suppress(MeritError, KeyError, TypeError, ValueError):
            cached = artifacts.read_json(CACHE_FILE, "gate")
            return float(cached["greatest"]) if cached["key"] == key else None
    return None


def _compute_cache_key(evidence: Evidence) -> str:
    """Return the hash of everything that the predictions for the source's rows depend on."""
    code = Path(__file__).parents[3]
    code_files = [
        *sorted((code / "reading").glob("*.py")),
        *sorted((code / "data").glob("*.py")),
        *sorted((code / "scoring").glob("*.py")),
    ]
    files = [artifacts.SOURCE_ROWS, artifacts.TEST_ROWS, artifacts.PREDICTIONS]
    parts = [artifacts.hash_file(path) for path in [*(path for path in files if path.is_file()), *code_files]]
    data = evidence.lock.data.model_dump(mode="json", include={"source", "fingerprint", "split", "time"})
    versions = [importlib.metadata.version(name) for name in ("polars", "onnxruntime")]
    text = json.dumps([evidence.package.digest, parts, data, evidence.lock.code, versions])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


FAMILY = CheckFamily(180, build_checks, schedule="background")
