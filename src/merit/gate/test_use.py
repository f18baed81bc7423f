"""Counts the candidates that were judged on the same test rows: rows that are asked too often lie.

Each judged candidate is a question asked of the test rows, and the best of many candidates is partly the luckiest. The
candidates are those that MLflow and Git know of.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from merit import artifacts, git
from merit.config.schema import Lock
from merit.console.logging import logger
from merit.dvc import cache, history
from merit.errors import MeritError
from merit.mlflow import judged_candidates
from merit.mlflow.judged_candidates import Judgement


@dataclass(frozen=True)
class TestUse:
    """How often the test rows were asked.

    Attributes:
        test_rows: the digest of the test rows: of their keys and targets, whatever their other columns.
        package: the candidate's package, by its DVC hash.
        candidates: how many different candidates were judged on them, up to this one and with it.
        sources: where they were counted, such as "MLflow and Git".
        judgements: the candidates that MLflow knows of, by package; None if it can't be asked.
    """

    __test__ = False  # no class of tests, for pytest

    test_rows: str
    package: str
    candidates: int
    sources: str
    judgements: Mapping[str, Judgement] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the use as reports/gate.json holds it."""
        return {"digest": self.test_rows, "candidates": self.candidates, "counted_in": self.sources}


def count_candidates(lock: Lock, rows: pl.DataFrame) -> TestUse:
    """Count the different packages that were judged on the test rows.

    Args:
        lock: the parsed params.yaml.
        rows: the raw test rows.
    """
    file_hash = cache.hash_file(artifacts.TEST_ROWS)
    test_rows, package = compute_digest(lock, rows) or f"md5:{file_hash}", cache.hash_folder(artifacts.PACKAGE)
    judgements, tracking_note = _read_judgements(lock, test_rows)
    packages, git_note = _list_committed(lock, file_hash)
    known = judgements or {}
    name = package[: judged_candidates.DIGEST_CHARS]
    first = known.get(name)
    later = {each for each, judgement in known.items() if first is not None and judgement.time > first.time}
    counted = ({*known} | {each[: judged_candidates.DIGEST_CHARS] for each in packages} | {name}) - later
    return TestUse(test_rows, package, len(counted), f"{tracking_note}{git_note}", judgements)


def record_verdict(lock: Lock, use: TestUse, verdict: str) -> None:
    """Record the verdict in MLflow, where its store exists; a store that refuses it costs no verdict."""
    if use.judgements is None:
        return
    first = use.judgements.get(use.package[: judged_candidates.DIGEST_CHARS])
    judgement = Judgement(judged_candidates.format_now() if first is None else first.time, verdict)
    if judgement == first:
        return
    try:
        judged_candidates.record_judgement(lock.tracking, use.test_rows, use.package, judgement)
    except MeritError as error:
        logger.warning("gate: MLflow does not count this candidate: %s", error)


def compute_digest(lock: Lock, rows: pl.DataFrame) -> str | None:
    """Return the digest of the keys and targets of the test rows; None if the data declares no keys."""
    keys = lock.data.contract.unique
    if not keys or any(rows.schema[name].is_nested() for name in keys):
        return None
    text = rows.select(*keys, pl.col(lock.data.target.name).alias("target/")).write_csv()
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _read_judgements(lock: Lock, test_rows: str) -> tuple[dict[str, Judgement] | None, str]:
    """Return the candidates that MLflow knows of, and the text that names it as a source; None if it can't be asked."""
    try:
        if not judged_candidates.has_store(lock.tracking):
            return None, ""
        return judged_candidates.read_judgements(lock.tracking, test_rows), "MLflow and "
    except MeritError as error:
        logger.warning("gate: MLflow can't be asked how many candidates were judged on the test rows: %s", error)
        return None, ""


def _list_committed(lock: Lock, file_hash: str) -> tuple[set[str], str]:
    """Return the packages in Git's history, and the text that names it as a source."""
    try:
        note = "a shallow clone of Git's history" if git.is_shallow() else "Git"
        return history.list_packages(file_hash, f"{lock.name}@v*"), note
    except MeritError as error:
        logger.warning("gate: Git can't be asked how many candidates were judged on the test rows: %s", error)
        return set(), "this folder"
