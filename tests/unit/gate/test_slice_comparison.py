from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.schema import Lock
from merit.config.schema.gate import SliceRule
from merit.gate import slice_comparison
from merit.gate.slice_comparison import Slice, SliceComparison, judge_slices
from merit.gate.verdict import Verdict
from merit.metrics import Estimate

ROWS = 600


class MeanPrediction:
    """A metric whose difference on a resample is the mean of the differences of its rows."""

    higher_is_better = True

    def __call__(self, target: Any, prediction: Any, weights: Any) -> float:
        """Return the mean prediction."""
        return float(np.average(prediction, weights=weights))


@pytest.fixture
def comparison(make_lock: Callable[..., Lock]) -> SliceComparison:
    """Three slices of 200 rows, on which the candidate predicts 0.1 more by and large."""
    lock = make_lock(lambda values: values["evaluate"].update(slice_resamples=1000))
    draw = np.random.default_rng(0)
    return SliceComparison(
        lock,
        SliceRule.model_construct(metric="mean", margin=0.05),
        True,
        pl.DataFrame({"shop": ["north", "south", "west"] * 200}),
        np.tile([0.0, 1.0], ROWS // 2),
        np.full(ROWS, 0.5) + draw.normal(0.1, 0.2, ROWS),
        np.full(ROWS, 0.5),
        {"mean": MeanPrediction()},
    )


def test_the_intervals_of_all_slices_together_have_the_gates_confidence(comparison: SliceComparison) -> None:
    slices = judge_slices(comparison)
    assert [(each.value, each.rows) for each in slices] == [("north", 200), ("south", 200), ("west", 200)]
    changes = comparison.candidate - comparison.champion
    reach = NormalDist().inv_cdf(1 - 0.05 / 3 / 2)  # Bonferroni, of two sides
    for number, each in enumerate(slices):
        assert each.difference is not None
        assert each.difference.value == pytest.approx(changes[number::3].mean())
        half_width = reach * changes[number::3].std() / 200**0.5
        assert each.difference.high - each.difference.value == pytest.approx(half_width, rel=0.05)
        assert each.difference.value - each.difference.low == pytest.approx(half_width, rel=0.05)


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize(
    ("change", "deviation", "expected"),
    [
        (-0.1, 0.01, (Verdict.FAIL, None)),  # worse by more than the margin of 0.05
        (-0.04, 0.01, (Verdict.INCONCLUSIVE, 2400)),  # worse, and maybe by more than the margin
        (-0.04, 0.03, (Verdict.PASS, None)),  # maybe no worse
        (-0.03, 0.005, (Verdict.PASS, None)),  # worse, but by less than the margin
        (0.1, 0.01, (Verdict.PASS, None)),
        (float("nan"), 0.01, (Verdict.INCONCLUSIVE, None)),
    ],
)
def test_a_slice_is_judged_by_what_is_better(
    comparison: SliceComparison,
    higher_is_better: bool,
    change: float,
    deviation: float,
    expected: tuple[Verdict, int | None],
) -> None:
    value = change if higher_is_better else -change
    measured = Slice("shop", "north", 200, 200, Estimate(value, value - deviation, value + deviation))
    object.__setattr__(comparison, "higher_is_better", higher_is_better)
    judged = slice_comparison._judge_slice(comparison, measured, 1)
    assert (judged.verdict, judged.rows_needed) == expected


def test_a_slice_of_exactly_the_least_rows_is_judged(comparison: SliceComparison) -> None:
    for least, is_judged in ((200, True), (201, False)):
        comparison.lock.evaluate.__dict__["slice_min_rows"] = least
        assert [each.difference is not None for each in judge_slices(comparison)] == [is_judged] * 3
