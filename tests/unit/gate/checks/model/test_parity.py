from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError, Refused
from merit.gate.checks.model import parity
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict

LIMIT = 2.0**-10
"""A difference that float32 and float64 hold exactly."""


def _judge(evidence: Evidence, ingested: float, source: float | MeritError = 0.0) -> Check:
    pending: Future[tuple[float, str]] = Future()
    if isinstance(source, MeritError):
        pending.set_exception(source)
    else:
        pending.set_result((source, "of the source"))
    network = np.zeros(4)
    network[2] = -ingested
    return parity._judge_difference(replace(evidence, candidate=np.zeros(4), network=network), pending)


@pytest.fixture
def strict(evidence: Evidence, make_lock: Callable[..., Lock]) -> Evidence:
    """Evidence under a limit of parity that is a power of two."""
    return replace(evidence, lock=make_lock(lambda values: values["gate"].update(parity=LIMIT)))


@pytest.mark.parametrize(
    ("ingested", "source", "verdict", "reason"),
    [
        (LIMIT, LIMIT, Verdict.PASS, "not the network"),
        (0.0, LIMIT * 1.01, Verdict.FAIL, "training has read the source differently"),
        (LIMIT, nan, Verdict.FAIL, "training has read the source differently"),
        (LIMIT * 1.01, 0.0, Verdict.FAIL, "not the network"),
        (LIMIT * 1.01, LIMIT * 1.01, Verdict.FAIL, "not the network"),
        (nan, 0.0, Verdict.FAIL, "not the network"),
        (0.0, Refused("two cells"), Verdict.FAIL, "can't read what training has read"),
        (0.0, MeritError("gone"), Verdict.INCONCLUSIVE, "bring the source's files"),
    ],
)
def test_the_package_is_the_network_on_the_rows_as_ingested_and_on_those_of_the_source(
    strict: Evidence, ingested: float, source: float | MeritError, verdict: Verdict, reason: str
) -> None:
    check = _judge(strict, ingested, source)
    assert check.verdict is verdict
    assert reason in check.advice


@pytest.mark.parametrize(
    ("task", "deviation", "verdict"),
    [("regression", 8.0, Verdict.PASS), ("regression", 7.9, Verdict.FAIL), ("binary", 100.0, Verdict.FAIL)],
)
def test_numbers_are_compared_in_deviations_of_the_target_and_probabilities_as_they_are(
    strict: Evidence, task: str, deviation: float, verdict: Verdict
) -> None:
    target = strict.lock.data.target.model_copy(update={"task": task})
    lock = strict.lock.model_copy(update={"data": strict.lock.data.model_copy(update={"target": target})})
    assert _judge(replace(strict, lock=lock, deviation=deviation), 8 * LIMIT).verdict is verdict


def test_what_was_measured_counts_until_its_rows_its_package_or_its_reading_changes(
    evidence: Evidence, make_lock: Callable[..., Lock], workdir: Path
) -> None:
    keys = [parity._compute_cache_key(evidence)]
    assert parity._compute_cache_key(evidence) == keys[0]
    for file in (artifacts.SOURCE_ROWS, artifacts.TEST_ROWS, artifacts.PREDICTIONS):
        file.parent.mkdir(parents=True, exist_ok=True)
        for content in (b"1", b"2"):
            file.write_bytes(content)
            keys.append(parity._compute_cache_key(evidence))
    for change in (
        {"package": replace(evidence.package, digest="sha256:other")},
        {"lock": evidence.lock.model_copy(update={"code": {"mymodels": "sha256:1"}})},
        {"lock": make_lock(lambda values: values["data"].update(fingerprint="sha256:" + "1" * 64))},
        {"lock": make_lock(lambda values: values["data"]["source"].update(path="other.parquet"))},
        {"lock": make_lock(lambda values: values["data"]["split"].update(test_until="2024-12-30"))},
    ):
        keys.append(parity._compute_cache_key(replace(evidence, **change)))
    assert len(set(keys)) == len(keys) == 12
    other = make_lock(lambda values: values["serve"].update(port=4000))
    assert parity._compute_cache_key(replace(evidence, lock=other)) == keys[6]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"key": "k", "greatest": 0.5}', 0.5),
        ('{"key": "other", "greatest": 0.5}', None),
        ('{"key": "k"}', None),
        ("[]", None),
        ("{", None),
    ],
)
def test_a_cached_difference_counts_under_its_own_key(workdir: Path, text: str, expected: float | None) -> None:
    assert parity._read_cached("k") is None
    artifacts.write_text(parity.CACHE_FILE, text)
    assert parity._read_cached("k") == expected
