"""Parity check: the package predicts what the evaluated network does.

It is compared on the test rows as ingested, and on the same rows read again from the source by the package's signature.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

import merit
from merit import artifacts
from merit.errors import MeritError, Refused
from merit.gate.checks.model.source import typed
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.scoring.package import columns_of

NAME = "parity"
KEPT = Path(".merit/parity.json")
"""The cached result on the source's rows: `{key, greatest}`."""


@contextmanager
def begun(evidence: Evidence) -> Iterator[Callable[[], Check]]:
    """Start reading the source's rows in a thread; yield a function that waits for them and returns the check."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(_of_source, evidence)
        yield lambda: _judged(evidence, asked)


def _judged(evidence: Evidence, asked: "Future[tuple[float, str]]") -> Check:
    """Compare the package's predictions with the evaluated network's; the parity in the manifest is not trusted."""
    limit, count = evidence.lock.gate.parity, len(evidence.candidate)
    allowed = f"at most {limit:.0e}"
    try:
        of_source, note = asked.result()
    except Refused as error:
        advice = "the package can't read what training has read: correct conf/data, or mend the source"
        return Check(NAME, Verdict.FAIL, f"on the source's rows: {error}", allowed, advice)
    except MeritError as error:
        advice = "bring the source's files as the lock names them, then 'merit run'"
        return Check(NAME, Verdict.INCONCLUSIVE, f"the source's rows can't be had: {error}", allowed, advice)
    of_ingested = float(np.abs(evidence.candidate - evidence.network).max()) / evidence.unit
    if of_ingested <= limit and not of_source <= limit:
        advice = "training has read the source differently from the package: look at data.columns and data.source"
        difference = f"{of_source:.1e} on {count:,} rows of the source, {of_ingested:.1e} as ingested"
        return Check(NAME, Verdict.FAIL, difference, allowed, advice)
    greatest = max(of_ingested, of_source)
    verdict = Verdict.PASS if of_ingested <= limit else Verdict.FAIL
    advice = "the package is not the network that was evaluated: make both again with 'merit run'"
    return Check(NAME, verdict, f"{greatest:.1e} on {count:,} rows {note}".strip(), allowed, advice)


def _of_source(evidence: Evidence) -> tuple[float, str]:
    """Return the greatest difference from the network on the source's rows, and a note on where the rows come from.

    Raises:
        Refused: the package can't read the rows.
        MeritError: the source's rows are not available.
    """
    if evidence.source is None:
        return 0.0, ""
    key = _key(evidence)
    if (known := _known(key)) is not None:
        return known, "of the source, measured before"
    rows = evidence.source.rows()
    if rows.note:
        return 0.0, rows.note
    answers = evidence.package.predict(columns_of(typed(rows.table, evidence.package), evidence.package.graph.inputs))
    greatest = float(np.abs(answers - evidence.network).max()) / evidence.unit
    if np.isfinite(greatest):
        artifacts.write_json(KEPT, {"key": key, "greatest": greatest})
    return greatest, "of the source"


def _known(key: str) -> float | None:
    """Return the cached difference if it was measured under this key."""
    if KEPT.is_file():
        with suppress(MeritError, KeyError, TypeError, ValueError):
            last = artifacts.read_json(KEPT, "gate")
            return float(last["greatest"]) if last["key"] == key else None
    return None


def _key(evidence: Evidence) -> str:
    """Return the hash of everything that the predictions for the source's rows depend on."""
    code = Path(merit.__file__).parent
    read_by = [
        *sorted((code / "reading").glob("*.py")),
        *sorted((code / "data").glob("*.py")),
        *sorted((code / "scoring").glob("*.py")),
    ]
    files = [artifacts.SOURCE_ROWS, artifacts.TEST_ROWS, artifacts.PREDICTIONS]
    parts = [artifacts.sha256(path) for path in [*(path for path in files if path.is_file()), *read_by]]
    data = evidence.lock.data.model_dump(mode="json", include={"source", "fingerprint", "split", "time"})
    versions = [importlib.metadata.version(name) for name in ("polars", "onnxruntime")]
    text = json.dumps([evidence.package.digest, parts, data, evidence.lock.code, versions])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
