"""Each limit of the data's integrity at its exact bound: the limit itself passes, and the least beyond it fails."""

from collections.abc import Callable
from datetime import datetime

import polars as pl
import pytest

from merit.config.schema import Lock
from merit.gate.checks.data import integrity, leakage, leakage_checks
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.leakage import SharedRows
from merit.gate.verdict import Verdict

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("count", "verdict"), [(25, PASS), (26, FAIL)])
def test_duplicate_rows_are_a_share_of_all_rows(count: int, verdict: Verdict) -> None:
    assert integrity._check_duplicates(count, 100, 0.25).verdict is verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.25, PASS), (0.26, FAIL)])
def test_conflicting_labels_have_a_greatest_share(share: float, verdict: Verdict) -> None:
    assert integrity._check_label_conflicts(share, 0.25).verdict is verdict


@pytest.mark.parametrize(("count", "verdict"), [(38, PASS), (39, FAIL)])
def test_test_rows_may_have_twins_by_the_limit_by_chance_and_by_three_deviations_of_that(
    count: int, verdict: Verdict
) -> None:
    shared = SharedRows(count, 1000, 16.0)
    assert shared.compute_limit(0.01) == 10 + 16 + 3 * 4
    check = leakage_checks._build_shared_check("leakage, shared rows", "a twin", [shared], 0.01)
    assert (check.verdict, check.allowed) == (verdict, "at most 38 (1.00% and 16 by chance)")
    nothing = leakage_checks._build_shared_check("leakage, shared rows", "a twin", [SharedRows(0, 0, 0.0)], 0.01)
    assert nothing.verdict is INCONCLUSIVE


def test_the_duplicates_of_training_rows_say_how_many_twins_chance_gives() -> None:
    examples = pl.Series([1, 1, 2, 3, 7, 1, 3, 4, 4, 5], dtype=pl.UInt64)
    part_index = pl.Series([0, 0, 0, 0, 1, 2, 2, 2, 2, -1], dtype=pl.Int8)
    assert leakage.count_shared_rows(examples, part_index) == [SharedRows(count=2, rows=4, expected=2.0)]


def test_an_entity_is_shared_by_its_test_rows_and_a_row_without_one_counts_on_no_side(
    opened: Callable[..., Dataset],
) -> None:
    # By the split's days: 2 training rows and the null, a validation row, then 4 test rows of which one is null.
    months = [1, 2, 2, 3, 4, 4, 5, 5]
    rows = pl.DataFrame(
        {
            "when": [datetime(2024, month, 1 + number) for number, month in enumerate(months)],
            "person": ["a", "b", None, "c", "a", "a", "c", None],
            "late": [0.0] * 8,
        }
    )
    assert leakage.count_shared_entities(opened(rows), ["person"]) == (2, 3)


def test_a_row_as_late_as_the_last_training_row_overlaps(opened: Callable[..., Dataset], lock: Lock) -> None:
    days = [
        datetime(2024, 1, 1),
        datetime(2024, 1, 3),
        datetime(2024, 1, 3),
        datetime(2024, 1, 4),
        datetime(2024, 1, 2),
    ]
    dataset = opened(pl.DataFrame({"when": days, "late": [0.0] * 5}))
    dataset.__dict__["part_index"] = pl.Series([0, 0, 1, 2, -1], dtype=pl.Int8)
    assert leakage.measure_time_overlap(dataset, "when") == 0.5
    assert integrity._check_time_overlap(dataset, 0.5)[0].verdict is PASS
    assert integrity._check_time_overlap(dataset, 0.49)[0].verdict is FAIL
