from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from merit.gate import unnamed_slices as slices_of_rows
from merit.gate.checks.model import unnamed_slices
from merit.gate.evidence import ChampionComparison, Evidence
from merit.gate.slice_search import FoundSlice
from merit.gate.unnamed_slices import ScoredRows, UnnamedSlices
from merit.gate.verdict import Check, Verdict
from merit.metrics import Estimate
from tests.unit.gate.conftest import ROWS, rival, run_family

Gated = Callable[..., Evidence]
RULE = {"share": 0.05, "margin": 0.05}


def _compare(evidence: Evidence, champion: np.ndarray) -> Evidence:
    compared = replace(evidence, champion=rival())
    compared.__dict__["champion_comparison"] = ChampionComparison(predictions=champion)
    return compared


def _check(evidence: Evidence) -> Check:
    (result,) = run_family(unnamed_slices.FAMILY, evidence)
    return result


def _spoil(evidence: Evidence) -> tuple[Evidence, np.ndarray]:
    """Return a candidate that is wrong on small things, and which those are."""
    small = (evidence.rows["size"] < 45).to_numpy()
    return replace(evidence, candidate=np.where(small, 1 - evidence.candidate, evidence.candidate)), small


def test_without_a_rule_or_a_champion_nothing_is_compared(evidence: Evidence, gated: Gated) -> None:
    assert run_family(unnamed_slices.FAMILY, gated(evidence, unnamed_slices=RULE)) == []
    disabled = gated(_compare(evidence, evidence.candidate), unnamed_slices=None)
    assert (run_family(unnamed_slices.FAMILY, disabled), disabled.unnamed_slices) == ([], None)


def test_the_same_predictions_pass(evidence: Evidence, gated: Gated) -> None:
    result = _check(_compare(gated(evidence, unnamed_slices=RULE), evidence.candidate))
    assert result.verdict is Verdict.PASS
    assert result.found.endswith(" slices of one or two conditions searched")


def test_a_slice_that_nobody_declared_fails(evidence: Evidence, gated: Gated) -> None:
    spoilt, small = _spoil(gated(evidence, unnamed_slices=RULE))
    result = _check(_compare(spoilt, evidence.candidate))
    assert result.verdict is Verdict.FAIL
    assert result.found.startswith("worse where size at most ")
    assert " blocks); " in result.found
    assert result.allowed == "log loss at most +0.05, none surely worse"
    search = _compare(spoilt, evidence.candidate).unnamed_slices
    assert search is not None
    assert search.worse is not None
    assert small[search.worse.mask].mean() > 0.9
    assert search.losses[0] - search.losses[1] == pytest.approx(search.worse.error.value, abs=1e-5)


def test_predictions_that_are_off_are_found_without_a_champion(evidence: Evidence, gated: Gated) -> None:
    spoilt, small = _spoil(gated(evidence, unnamed_slices=RULE))
    search = spoilt.unnamed_slices
    assert search is not None
    assert search.worse is None
    assert search.miscalibrated is not None
    assert search.miscalibrated.mask[small].any()
    assert search.observed - search.predicted == pytest.approx(search.miscalibrated.error.value, abs=1e-5)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        ((0.08, 0.051, 0.109), Verdict.FAIL),
        ((0.06, 0.001, 0.119), Verdict.INCONCLUSIVE),
        ((0.0499, 0.001, 0.0988), Verdict.PASS),
        ((0.06, 0.0, 0.12), Verdict.PASS),  # maybe no worse
        ((0.03, 0.01, 0.05), Verdict.PASS),  # worse, but surely by no more than the margin
    ],
)
def test_the_worst_slice_is_judged_as_a_declared_one(
    evidence: Evidence, gated: Gated, error: tuple[float, float, float], verdict: Verdict
) -> None:
    judged = _compare(gated(evidence, unnamed_slices=RULE), evidence.candidate)
    found = FoundSlice("size at most 40", np.arange(ROWS) < 60, 12, Estimate(*error))
    judged.__dict__["unnamed_slices"] = UnnamedSlices(7, 30, worse=found)
    assert _check(judged).verdict is verdict


def test_predictions_that_are_no_numbers_never_pass(evidence: Evidence, gated: Gated) -> None:
    broken = gated(replace(evidence, candidate=np.full(ROWS, np.nan)), unnamed_slices=RULE)
    assert _check(_compare(broken, evidence.candidate)).verdict is Verdict.INCONCLUSIVE


def test_where_no_slice_is_large_enough_the_check_does_not_apply(evidence: Evidence, gated: Gated) -> None:
    result = _check(_compare(gated(evidence, {"slice_min_rows": 601}, unnamed_slices=RULE), evidence.candidate))
    assert (result.verdict, result.found) == (Verdict.NOT_APPLICABLE, "no slice has 601 rows in 5 blocks")


def test_the_loss_of_a_regression_is_in_units_of_the_targets_variance() -> None:
    numbers = np.array([1.0])
    scored = ScoredRows(pl.DataFrame(), np.array([5.0]), numbers, None, 2.0, None)
    assert slices_of_rows._compute_losses("regression", scored, numbers).tolist() == [4.0]
