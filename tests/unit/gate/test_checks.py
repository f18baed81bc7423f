from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.schema import Lock
from merit.errors import MeritError
from merit.features.transform import Category, Number, Transform
from merit.gate import checks
from merit.gate.champion import Champion
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.metrics import Binary, Estimate, estimate
from merit.scoring import Package, columns_of

ROWS = 600


class Rival(Champion):
    """A champion whose package is at hand, or can't be brought."""

    package: Package | None = None
    same = False

    def is_candidate(self) -> bool:
        """Say what the test says; the real one is tested with the champion."""
        return self.same

    @contextmanager
    def fetched(self) -> Iterator[Package]:
        """Give the package, or say that there is none."""
        if self.package is None:
            raise MeritError("its package is neither in DVC's cache nor in a remote (gone)")
        yield self.package


def _rival(package: Package | None = None, *, same: bool = False) -> Champion:
    champion = Rival("a" * 40, {"model": "m.dir"})
    object.__setattr__(champion, "package", package)
    object.__setattr__(champion, "same", same)
    return champion


@pytest.fixture
def rows() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "shop": draw.choice(["north", "south", "west"], ROWS),
            "kind": draw.integers(1, 4, ROWS),
            "size": draw.normal(50, 10, ROWS),
            "weight": draw.uniform(0, 1, ROWS),
        }
    )


@pytest.fixture
def load(tmp_path: Path, make_package: Callable[..., Path]) -> Callable[[Transform], Package]:
    """Make and load a package of a transform and the plainest of networks."""

    def make(transform: Transform) -> Package:
        return Package.load(make_package(tmp_path / str(len(list(tmp_path.iterdir()))), transform=transform))

    return make


def _transform(size: float = 1.0, weight: float = 1.0) -> Transform:
    return Transform(
        [],
        [Number("size", 50.0, 10.0 / size, 4.0, flagged=False), Number("weight", 0.5, 1 / weight, 4.0, flagged=False)],
    )


@pytest.fixture
def evidence(rows: pl.DataFrame, lock: Lock, load: Callable[[Transform], Package]) -> Evidence:
    """A candidate that passes everything, with no champion."""
    package = load(_transform(2.0, 2.0))
    probability = package.predict(columns_of(rows, package.graph.inputs))
    target = (np.random.default_rng(1).uniform(0, 1, ROWS) < probability).astype(float)
    return Evidence(
        lock=lock,
        contract={"passed": True, "rows": 1234, "violations": []},
        rows=rows,
        target=target,
        candidate=probability,
        network=probability,
        deviation=1.0,
        own={},
        baseline=np.clip(0.5 + (probability - 0.5) / 3, 0, 1),
        metrics=estimate(Binary(target, probability), count=100, confidence=0.95, seed=7),
        package=package,
        bytes=500_000,
        champion=None,
    )


def _check(evidence: Evidence, name: str) -> Check:
    (found,) = [check for check in checks.run(evidence) if check.name == name]
    return found


def _with_lock(evidence: Evidence, make_lock: Callable[..., Lock], **gate: Any) -> Evidence:
    return replace(evidence, lock=make_lock(lambda values: values["gate"].update(gate)))


def test_a_good_candidate_passes_every_check(evidence: Evidence) -> None:
    found = checks.run(evidence)
    assert [check.name for check in found] == [
        "floor: roc_auc",
        "floor: log_loss",
        "baseline: roc_auc",
        "champion",
        "calibration",
        "parity",
        "size",
    ]
    assert {check.verdict for check in found} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("estimated", "verdict"),
    [
        (Estimate(0.7, 0.6, 0.8), Verdict.PASS),
        (Estimate(0.65, 0.59, 0.7), Verdict.INCONCLUSIVE),
        (Estimate(0.5, 0.4, 0.59), Verdict.FAIL),
        (Estimate(nan, nan, nan), Verdict.INCONCLUSIVE),
    ],
)
def test_a_floor_of_a_score_is_a_least_value(evidence: Evidence, estimated: Estimate, verdict: Verdict) -> None:
    found = _check(replace(evidence, metrics={**evidence.metrics, "roc_auc": estimated}), "floor: roc_auc")
    assert found.verdict is verdict
    assert found.allowed == "at least 0.6"


@pytest.mark.parametrize(
    ("estimated", "verdict"),
    [
        (Estimate(0.6, 0.5, 0.7), Verdict.PASS),
        (Estimate(0.65, 0.6, 0.71), Verdict.INCONCLUSIVE),
        (Estimate(0.8, 0.71, 0.9), Verdict.FAIL),
        (Estimate(nan, nan, nan), Verdict.INCONCLUSIVE),
    ],
)
def test_a_floor_of_a_loss_is_a_greatest_value(evidence: Evidence, estimated: Estimate, verdict: Verdict) -> None:
    found = _check(replace(evidence, metrics={**evidence.metrics, "log_loss": estimated}), "floor: log_loss")
    assert found.verdict is verdict
    assert found.allowed == "at most 0.7"


def test_a_baseline_that_is_better_by_more_than_the_margin_fails(evidence: Evidence) -> None:
    found = _check(replace(evidence, baseline=evidence.target * 0.8 + 0.1), "baseline: roc_auc")
    assert found.verdict is Verdict.FAIL
    assert found.allowed == "at least -0.01"
    assert found.found.startswith("-0.")
    assert "gradient boosting does better" in found.advice


def test_a_baseline_as_good_as_the_candidate_passes(evidence: Evidence) -> None:
    assert _check(replace(evidence, baseline=evidence.candidate), "baseline: roc_auc").verdict is Verdict.PASS


def test_a_baseline_that_can_not_be_told_from_the_candidate_is_inconclusive(
    evidence: Evidence, make_lock: Callable[..., Lock]
) -> None:
    noise = np.random.default_rng(3).normal(0, 0.15, ROWS)
    close = replace(evidence, baseline=np.clip(evidence.candidate + noise, 0, 1))
    strict = _with_lock(close, make_lock, baseline={"metric": "calibration_error", "margin": 0.001})
    assert _check(strict, "baseline: calibration_error").verdict is Verdict.INCONCLUSIVE


def test_with_one_class_nothing_can_be_compared_and_nothing_passes(evidence: Evidence) -> None:
    found = _check(replace(evidence, target=np.zeros(ROWS)), "baseline: roc_auc")
    assert found.verdict is Verdict.INCONCLUSIVE


def test_without_a_champion_there_is_nothing_to_compare_with(evidence: Evidence) -> None:
    found = _check(evidence, "champion")
    assert (found.verdict, found.found) == (Verdict.PASS, "no champion yet")


def test_the_champion_itself_passes_without_being_fetched(evidence: Evidence) -> None:
    found = _check(replace(evidence, champion=_rival(same=True)), "champion")
    assert (found.verdict, found.found) == (Verdict.PASS, "the model of aaaaaaa, bit for bit")


def test_a_champion_that_can_not_be_fetched_is_inconclusive(evidence: Evidence) -> None:
    found = _check(replace(evidence, champion=_rival()), "champion")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.found == "aaaaaaa can't be scored: its package is neither in DVC's cache nor in a remote (gone)"
    assert "dvc pull" in found.advice
    assert "--against REF" in found.advice


def test_a_champion_of_other_columns_is_inconclusive(evidence: Evidence, load: Callable[[Transform], Package]) -> None:
    other = load(Transform([], [Number("speed", 0.0, 1.0, 1.0, flagged=False)]))
    found = _check(replace(evidence, champion=_rival(other)), "champion")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the rows lack the columns speed, which the model takes" in found.found


@pytest.mark.parametrize(
    "transform",
    [
        Transform([], [Number("shop", 0.0, 1.0, 1.0, flagged=False)]),
        Transform([Category("size", "string", ["a"])], []),
    ],
    ids=["a string where it takes numbers", "numbers where it takes strings"],
)
def test_a_champion_of_columns_of_other_types_is_inconclusive(
    evidence: Evidence, load: Callable[[Transform], Package], transform: Transform
) -> None:
    found = _check(replace(evidence, champion=_rival(load(transform))), "champion")
    assert found.verdict is Verdict.INCONCLUSIVE


def test_a_champion_that_is_worse_lets_the_candidate_pass(
    evidence: Evidence, load: Callable[[Transform], Package]
) -> None:
    found = _check(replace(evidence, champion=_rival(load(_transform(0.01, -2.0)))), "champion: roc_auc")
    assert found.verdict is Verdict.PASS
    assert found.found.startswith("+0.")


def test_a_champion_that_is_better_makes_the_candidate_fail(
    evidence: Evidence, load: Callable[[Transform], Package]
) -> None:
    champion = _rival(load(_transform(2.0, 2.0)))
    worse = replace(evidence, champion=champion, candidate=1 - evidence.candidate)
    found = _check(worse, "champion: roc_auc")
    assert found.verdict is Verdict.FAIL
    assert found.found.startswith("-0.")
    assert "the champion is better on the same rows" in found.advice


def test_a_champion_with_the_same_answers_passes_without_any_margin(
    evidence: Evidence, load: Callable[[Transform], Package], make_lock: Callable[..., Lock]
) -> None:
    rules = [{"metric": name, "margin": 0.0} for name in ("roc_auc", "log_loss", "brier")]
    same = replace(_with_lock(evidence, make_lock, champion=rules), champion=_rival(load(_transform(2.0, 2.0))))
    found = [check for check in checks.run(same) if check.name.startswith("champion")]
    assert [check.name for check in found] == ["champion: roc_auc", "champion: log_loss", "champion: brier"]
    assert {check.verdict for check in found} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("estimated", "verdict"),
    [
        (Estimate(0.3, 0.2, 0.5), Verdict.PASS),
        (Estimate(0.45, 0.4, 0.51), Verdict.INCONCLUSIVE),
        (Estimate(0.6, 0.51, 0.7), Verdict.FAIL),
        (Estimate(nan, nan, nan), Verdict.INCONCLUSIVE),
    ],
)
def test_the_calibration_error_has_a_greatest_value(evidence: Evidence, estimated: Estimate, verdict: Verdict) -> None:
    found = _check(replace(evidence, metrics={**evidence.metrics, "calibration_error": estimated}), "calibration")
    assert (found.verdict, found.allowed) == (verdict, "at most 0.5")


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.0, Verdict.PASS), (1e-5, Verdict.PASS), (1.1e-5, Verdict.FAIL), (nan, Verdict.FAIL)],
)
def test_parity_has_a_greatest_difference(evidence: Evidence, difference: float, verdict: Verdict) -> None:
    candidate = np.zeros(ROWS)
    network = np.zeros(ROWS)
    network[7] = difference
    assert _check(replace(evidence, candidate=candidate, network=network), "parity").verdict is verdict


def test_parity_is_measured_and_not_taken_from_the_manifest(evidence: Evidence) -> None:
    assert evidence.manifest["parity"]["greatest_difference"] == 0.0
    assert _check(replace(evidence, network=1 - evidence.candidate), "parity").verdict is Verdict.FAIL


@pytest.mark.parametrize(("size", "verdict"), [(1_000_000, Verdict.PASS), (1_000_001, Verdict.FAIL)])
def test_a_package_has_a_greatest_size(evidence: Evidence, size: int, verdict: Verdict) -> None:
    found = _check(replace(evidence, bytes=size), "size")
    assert (found.verdict, found.found, found.allowed) == (verdict, "1.00 MB", "at most 1 MB")


def test_every_check_that_can_fail_says_what_to_do(evidence: Evidence) -> None:
    for check in checks.run(replace(evidence, champion=_rival())):
        assert check.advice
