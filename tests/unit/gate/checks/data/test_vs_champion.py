"""Each limit of gate.data at its exact bound: the limit itself passes, and the least beyond it fails."""

from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from merit.config.schema import Lock
from merit.config.schema.gate import DataGate, DriftLimits
from merit.gate.checks.data import drift_comparison, vs_champion
from merit.gate.checks.data.cells import COUNTS, KEYS, CellCounts
from merit.gate.checks.data.drift import DriftScore
from merit.gate.checks.data.row_checks import check_rows
from merit.gate.verdict import Verdict

PASS, FAIL = Verdict.PASS, Verdict.FAIL
LIMITS = DataGate(gone=0.05, changed=0.05)


@pytest.mark.parametrize(
    ("gone", "changed", "verdict"),
    [
        (10, 0, PASS),
        (11, 0, FAIL),
        (0, 10, PASS),
        (0, 11, FAIL),
        (10, 10, FAIL),  # of the 190 rows that both have, not of 200
        (10, None, PASS),
        (11, None, FAIL),
        (200, 0, FAIL),
    ],
)
def test_gone_rows_are_a_share_of_the_champions_and_changed_rows_of_those_in_both(
    gone: int, changed: int | None, verdict: Verdict
) -> None:
    changes = {"now": 300, "before": 200, "added": 110, "gone": gone, "changed": changed}
    cells = CellCounts(pl.DataFrame(schema={**dict.fromkeys(KEYS, pl.Int8), **dict.fromkeys(COUNTS, pl.UInt32)}), 200)
    assert check_rows(changes, {}, cells, LIMITS).verdict is verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.25, PASS), (0.26, FAIL)])
def test_a_share_of_missing_values_may_move_by_the_limit_either_way(share: float, verdict: Verdict) -> None:
    for before, after in ((0.0, share), (share, 0.0), (0.5, 0.5 + share)):
        changes = [{"column": "size", "before": before, "after": after}, {"column": "a", "before": 0.0, "after": 0.1}]
        check = vs_champion._check_missing(changes, 0.25)
        assert check.verdict is verdict
        assert ("a 0.00%" in check.found) is (verdict is PASS), "a failure names only what is over the limit"


@pytest.mark.parametrize(
    ("new_rows", "gone_rows", "verdict"), [(25, 0, PASS), (26, 0, FAIL), (0, 50, PASS), (0, 51, FAIL)]
)
def test_new_categories_are_a_share_of_the_rows_now_and_gone_ones_of_the_rows_before(
    new_rows: int, gone_rows: int, verdict: Verdict
) -> None:
    worst = {"column": "shop", "new_count": 1, "new_rows": new_rows, "gone_count": 1, "gone_rows": gone_rows}
    other = {"column": "kind", "new_count": 1, "new_rows": 1, "gone_count": 0, "gone_rows": 0}
    check = vs_champion._check_categories([other, worst], {"now": 100, "before": 200}, 0.25)
    assert check.verdict is verdict
    assert check.found.startswith("shop: ")


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (0.0, 0.25, PASS),
        (0.25, 0.0, PASS),
        (0.0, 0.26, FAIL),
        (0.26, 0.0, FAIL),
        ({"a": 0.5, "b": 0.5, "c": 0.0}, {"a": 0.6, "b": 0.25, "c": 0.15}, PASS),
        ({"a": 0.5, "b": 0.5, "c": 0.0}, {"a": 0.6, "b": 0.24, "c": 0.16}, FAIL),
    ],
)
def test_the_target_may_move_by_the_limit_either_way(lock: Lock, before: Any, after: Any, verdict: Verdict) -> None:
    champion: Any = SimpleNamespace(data=lock.data)
    check = vs_champion._check_target_rate(champion, {"before": before, "after": after}, 0.25)
    assert check.verdict is verdict
    assert check.found.startswith("class b: 50.00% to " if isinstance(before, dict) else f"{before:.2%} to {after:.2%}")


@pytest.mark.parametrize(
    ("scores", "single", "overall"),
    [
        ([0.1, 0.3], PASS, FAIL),  # at their limits: on average all of the limits
        ([0.1, 0.0], PASS, PASS),
        ([0.1001, 0.0], FAIL, PASS),  # a share is at most 1, so that one column alone is half of two
        ([5.0, 0.0], FAIL, PASS),
        ([0.05, 0.18], PASS, FAIL),
        ([None, 0.0], FAIL, PASS),
    ],
)
def test_each_feature_has_its_limit_of_drift_and_all_have_half_of_theirs_on_average(
    scores: list[float | None], single: Verdict, overall: Verdict
) -> None:
    measured = [
        DriftScore("shop", "jensenshannon", scores[0], 0.1),
        DriftScore("size", "wasserstein", scores[1], 0.3),
    ]
    dataset: Any = SimpleNamespace(feature_columns=["shop", "size"], schema={"shop": pl.String(), "size": pl.Float64()})
    limits = DataGate(drift=DriftLimits(category=0.1, number=0.3, overall=0.5))
    checks = drift_comparison._check_features(measured, dataset, dataset, limits)
    assert [check.verdict for check in checks] == [single, overall]
    assert "not compared" not in checks[0].found
