import warnings
from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.schema import Lock
from merit.config.schema.gate import DriftLimits
from merit.gate.checks.data import drift
from merit.gate.checks.data.drift import DriftScore
from merit.gate.checks.data.model_view import build_model_view
from merit.gate.verdict import Verdict
from tests.unit.gate.checks.data.conftest import Look, check


def _one(now: Any, before: Any) -> DriftScore:
    """Return the score of a column of numbers or strings."""
    kind = pl.String if any(isinstance(value, str) for value in [*now, *before]) else pl.Float64
    sides = [pl.DataFrame({"x": pl.Series(list(side), dtype=kind)}) for side in (now, before)]
    (found,) = drift.score_columns(*sides, DriftLimits())
    return found


def _drawn(rows: int, seed: int, *, shift: float = 0.0, weight: float = 1.0) -> pl.DataFrame:
    """Return rows of the same world by a draw of their own; `shift` and `weight` make it another one."""
    draw = np.random.default_rng(seed)
    odds = 1 / np.arange(1, 301)
    odds[0] *= weight
    return pl.DataFrame(
        {
            "number": draw.normal(shift, 1, rows),
            "amounts": draw.lognormal(shift, 1, rows),
            "few": draw.choice(["a", "b", "c"], rows, p=np.array([weight, 1, 1]) / (weight + 2)),
            "many": draw.choice([f"c{place}" for place in range(300)], rows, p=odds / odds.sum()),
        }
    )


@pytest.mark.parametrize(("shift", "weight"), [(0.0, 1.0), (0.1, 1.2), (0.6, 3.0), (2.0, 9.0)])
def test_the_verdict_is_the_same_at_2000_rows_as_at_20000(shift: float, weight: float) -> None:
    found = {
        rows: {
            score.column: score.is_drifted
            for score in drift.score_columns(
                _drawn(rows, 1, shift=shift, weight=weight), _drawn(rows, 2), DriftLimits()
            )
        }
        for rows in (2_000, 20_000)
    }
    assert found[2_000] == found[20_000]
    assert set(found[2_000].values()) == {shift > 0.3}


def test_a_difference_too_small_to_matter_is_no_drift_however_many_rows_prove_it() -> None:
    now, before = _drawn(100_000, 1, shift=0.05), _drawn(100_000, 2)
    assert not any(score.is_drifted for score in drift.score_columns(now, before, DriftLimits()))


def test_rare_categories_of_many_do_not_add_up_to_drift() -> None:
    now, before = ([f"id {number}" for number in range(start, start + 3000)] for start in (0, 3000))
    assert _one(now, before).score == 0.0


def test_the_unit_of_a_number_does_not_matter() -> None:
    now, before = (_drawn(2_000, seed, shift=seed * 0.5 - 0.5)["number"].to_numpy() for seed in (2, 1))
    scores = [_one(now * unit + unit, before * unit + unit).score for unit in (1e-9, 1.0, 1e9)]
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-3)
    assert scores[0] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("now", "before", "score"),
    [
        ([1.0, 1.0], [1.0, 1.0], 0.0),
        ([None, None], [None, None], 0.0),
        ([None, 1.0, 2.0], [1.0, 2.0], 0.0),
        ([None, None], [1.0, 2.0], None),
        ([1.0, 2.0], [None, None], None),
        ([2.0, 2.0], [1.0, 1.0], 1.0),
        ([1.0 + 1e-9], [1.0, 1.0], 1.0),
        ([0.0] * 999 + [5.0], [0.0] * 9, pytest.approx(0.0316, abs=1e-3)),
        ([1e308, -1e308], [1.0, 2.0], None),
        ([1.0, 2.0], [1e308, -1e308], None),
        (["a", "b"], ["a", "b"], 0.0),
        (["a"], ["b"], pytest.approx(0.8326, abs=1e-3)),
        (["(missing)"] * 3, ["a"] * 3, pytest.approx(0.8326, abs=1e-3)),
    ],
)
def test_odd_columns_have_a_score_or_are_taken_for_drifted(now: Any, before: Any, score: Any) -> None:
    found = _one(now, before)
    assert found.score == score
    assert found.is_drifted is (score is None or not found.score <= found.limit)


def test_the_farthest_from_its_limit_comes_first() -> None:
    now = pl.DataFrame({"near": [1.0, 2.0], "gone": [None, None], "far": [9.0, 9.5], "s": ["a", "b"]})
    before = pl.DataFrame({"near": [1.0, 2.1], "gone": [1.0, 2.0], "far": [1.0, 2.0], "s": ["a", "b"]})
    now = now.with_columns(pl.col("gone").cast(pl.Float64))
    assert [score.column for score in drift.score_columns(now, before, DriftLimits())] == ["gone", "far", "near", "s"]


def test_columns_that_one_side_lacks_or_has_in_another_type_are_not_compared() -> None:
    now, before = pl.DataFrame({"a": [1.0], "b": [1.0], "c": ["x"]}), pl.DataFrame({"a": [1.0], "c": [1.0]})
    assert [score.column for score in drift.score_columns(now, before, DriftLimits())] == ["a"]


def test_a_feature_is_seen_as_the_category_or_the_number_that_it_is(make_lock: Callable[..., Lock]) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["columns"] |= {
            "when": {"type": "datetime", "feature": "time"},
            "flag": {"type": "boolean", "feature": "number"},
            "image": {"type": "array", "shape": [2, 1], "feature": "array"},
            "note": {"type": "string"},
        }

    rows = pl.DataFrame(
        {
            "when": pl.Series([None, None], dtype=pl.Datetime("us")),
            "shop": ["a", None],
            "kind": [1, None],
            "size": [inf, nan],
            "flag": [True, None],
            "image": pl.Series([[[1.0], [3.0]], [[2.0], [2.0]]], dtype=pl.Array(pl.Float64, (2, 1))),
            "note": ["x", "y"],
        }
    )
    assert build_model_view(rows, make_lock(edit).data).to_dict(as_series=False) == {
        "when, hour": ["(missing)", "(missing)"],
        "when, weekday": ["(missing)", "(missing)"],
        "shop": ["a", "(missing)"],
        "kind": ["1", "(missing)"],
        "size": [None, None],
        "flag": ["true", "(missing)"],
        "image, mean": [2.0, 2.0],
        "image, deviation": [1.0, 0.0],
    }


def test_a_unit_that_changed_is_refused_and_named(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good.with_columns((pl.col("size") - 32) / 1.8), good)
    assert check(found, "data: drift").verdict is Verdict.FAIL
    assert check(found, "data: drift").found.startswith("1 of 4 features: size ")
    assert check(found, "data: drift").allowed == "Jensen-Shannon 0.15, Wasserstein 0.3 deviations"
    assert found.report["drift"][0].keys() == {"column", "method", "score", "limit", "drifted"}
    assert found.report["drift"][0]["column"] == "size"
    assert check(found, "data: drift, target").verdict is Verdict.PASS


def test_columns_that_were_swapped_are_refused(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good.rename({"size": "weight", "weight": "size"}).select(good.columns), good)
    assert check(found, "data: drift").verdict is Verdict.FAIL
    assert "size" in check(found, "data: drift").found


def test_many_small_moves_are_refused_together(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    lock = make_lock(lambda values: values["gate"].update(data={"drift": {"overall": 0.2}}))
    now = good.with_columns(pl.col("size") + 2.5, pl.col("weight") + 0.07)
    found = look_at(now, good, lock=lock)
    assert check(found, "data: drift").verdict is Verdict.PASS
    assert check(found, "data: drift, overall").verdict is Verdict.FAIL
    assert check(found, "data: drift, overall").allowed == "at most 20% of the limits on average"


def test_labels_that_are_made_otherwise_are_refused(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good.with_columns(late=1 - pl.col("late")), good)
    assert check(found, "data: drift, target").verdict is Verdict.FAIL
    assert check(found, "data: drift").verdict is Verdict.PASS


def test_a_feature_that_the_champion_lacks_is_told_and_not_compared(look_at: Look, good: pl.DataFrame) -> None:
    found = check(look_at(good, good.drop("weight", "kind")), "data: drift")
    assert found.verdict is Verdict.PASS
    assert found.found.endswith("; not compared, for the champion has no such feature: kind, weight")


def test_a_feature_whose_values_are_all_gone_is_refused(look_at: Look, good: pl.DataFrame) -> None:
    now = good.with_columns(size=pl.lit(None, pl.Float64))
    found = look_at(now, good)
    assert check(found, "data: drift").verdict is Verdict.FAIL
    assert "size has nothing to compare" in check(found, "data: drift").found
    assert found.report["drift"][0]["score"] is None
    back = look_at(good, now)
    assert check(back, "data: drift").verdict is Verdict.FAIL
    assert check(back, "data: missing").verdict is Verdict.FAIL


def test_a_champion_with_no_feature_in_common_is_no_pass(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good, good.select("when", "late"))
    for name in ("data: drift", "data: drift, overall"):
        assert check(found, name).verdict is Verdict.INCONCLUSIVE
    assert check(found, "data: drift, target").verdict is Verdict.PASS


def test_a_champion_without_training_rows_is_no_pass(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    early = make_lock(lambda values: values["data"]["split"].update(train_until="2023-12-31"))
    found = look_at(good, good, said=early.data)
    for name in ("data: drift", "data: drift, overall", "data: drift, target"):
        assert check(found, name).verdict is Verdict.INCONCLUSIVE


def test_the_distances_are_those_of_evidently() -> None:
    """Evidently's public API takes a second of drawing for each column, so few columns are compared."""
    with warnings.catch_warnings(action="ignore"):  # what Evidently itself uses
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        now, before = _drawn(300, 1, shift=0.3, weight=2.0), _drawn(200, 2)
        columns = DataDefinition(numerical_columns=["number", "amounts"], categorical_columns=["few"])
        sides = [Dataset.from_pandas(side.drop("many").to_pandas(), data_definition=columns) for side in (now, before)]
        methods = {"number": "wasserstein", "amounts": "wasserstein", "few": "jensenshannon"}
        run = Report([ValueDrift(column=name, method=method) for name, method in methods.items()]).run(*sides)
    expected = dict(zip(methods, (float(each["value"]) for each in run.dict()["metrics"]), strict=True))
    scores = {each.column: each.score for each in drift.score_columns(now, before, DriftLimits())}
    assert {name: scores[name] for name in methods} == pytest.approx(expected, rel=1e-12)
