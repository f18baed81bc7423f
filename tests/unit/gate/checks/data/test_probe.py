"""Leaks that take several columns, near-copies between parts, and new features that are too good to be true."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.schema import Lock
from merit.gate.checks.data import probe
from merit.gate.verdict import Verdict
from tests.unit.gate.checks.data.conftest import ROWS, Look, check

TURN = pl.int_range(pl.len())
DRAW = np.random.default_rng(5)
NOISE = DRAW.uniform(0, 1, ROWS)
COIN = DRAW.integers(0, 2, ROWS)


@pytest.mark.parametrize(
    ("leak", "named"),
    [
        ({"weight": pl.Series(NOISE) * 9, "size": pl.col("late") - pl.Series(NOISE) * 9}, "all features"),
        (
            {"weight": pl.Series(COIN) * 1.0, "kind": (pl.Series(COIN) != pl.col("late")).cast(pl.Int64) + 1},
            "kind with w",
        ),
    ],
)
def test_columns_that_give_the_target_away_together_are_refused(
    look_at: Look, good: pl.DataFrame, leak: dict[str, pl.Expr], named: str
) -> None:
    found = look_at(good.with_columns(**leak))
    assert check(found, "data: leakage, one column").verdict is Verdict.PASS
    assert check(found, "data: leakage, together").verdict is Verdict.FAIL
    assert named in check(found, "data: leakage, together").found


@pytest.mark.parametrize(("source", "target"), [(2, 0), (1, 0), (2, 1)])
def test_near_copies_between_any_two_parts_are_refused(
    look_at: Look, good: pl.DataFrame, source: int, target: int
) -> None:
    """Rows of a later part stand in an earlier one with another time, another shop and a little noise."""
    starts = [0, 600, 910]  # January to February, March, April
    noise = pl.Series(np.random.default_rng(0).normal(0, 0.001, 100))
    copied = good[starts[source] : starts[source] + 100]
    moved = copied.with_columns(
        when=pl.Series(good["when"][starts[target] : starts[target] + 100]) + timedelta(minutes=1),
        shop=pl.lit("south"),
        size=pl.col("size") + noise,
    )
    both = pl.concat([good, moved]).sort("when")
    found = look_at(both)
    assert check(found, "data: leakage, shared rows").verdict is Verdict.PASS
    assert check(found, "data: leakage, near-copies").verdict is Verdict.FAIL


@pytest.fixture
def with_new(make_lock: Callable[..., Lock]) -> Callable[..., Lock]:
    """Return a lock with the new feature `news`, and keys of its own."""

    def make(**keys: Any) -> Lock:
        def edit(values: dict[str, Any]) -> None:
            values["data"]["columns"]["news"] = {"type": "number", "feature": "number"} | keys
            values["data"]["columns"]["known_at"] = {"type": "datetime", "missing": 1.0}

        return make_lock(edit)

    return make


def leaking(rows: pl.DataFrame, share: float) -> pl.DataFrame:
    """Add a feature that is the target in a share of the rows, and a time at which it is known."""
    news = pl.when(pl.Series(NOISE) < share).then("late").otherwise(pl.Series(COIN).cast(pl.Float64))
    return rows.with_columns(news=news, known_at=pl.col("when") - timedelta(minutes=5))


NAME = "data: leakage, new features"


@pytest.mark.parametrize(("share", "verdict"), [(0.0, Verdict.PASS), (0.15, Verdict.PASS), (0.9, Verdict.INCONCLUSIVE)])
def test_a_new_feature_too_good_to_be_true_is_no_pass(
    look_at: Look, good: pl.DataFrame, with_new: Callable[..., Lock], share: float, verdict: Verdict
) -> None:
    found = look_at(leaking(good, share), good, lock=with_new(), said=with_new(feature="none").data)
    assert check(found, "data: leakage, one column").verdict is Verdict.PASS
    assert check(found, NAME).verdict is verdict
    assert "with news" in check(found, NAME).found


def test_a_feature_that_changed_is_looked_at_as_a_new_one(look_at: Look, good: pl.DataFrame) -> None:
    told = good.with_columns(weight=pl.col("weight") + 0.9 * pl.col("late"))
    assert check(look_at(told, good), NAME).verdict is Verdict.INCONCLUSIVE


def test_a_feature_that_somebody_vouches_for_passes(
    look_at: Look, good: pl.DataFrame, with_new: Callable[..., Lock], lock: Lock
) -> None:
    reasoned = with_new(known={"reason": "the report comes an hour before"})
    found = check(look_at(leaking(good, 0.9), good, lock=reasoned, said=lock.data), NAME)
    assert found.verdict is Verdict.PASS
    assert "without news, vouched for" in found.found


@pytest.mark.parametrize(
    ("late", "text"), [(0, "1 columns, in time"), (3, "not known by when: news in 3 of 1,200 rows")]
)
def test_a_feature_vouched_for_by_a_time_is_known_by_then_in_every_row(
    look_at: Look, good: pl.DataFrame, with_new: Callable[..., Lock], late: int, text: str
) -> None:
    after = pl.when(late > TURN).then(pl.col("when") + timedelta(minutes=5)).otherwise("known_at")
    rows = leaking(good, 0.9).with_columns(known_at=after)
    found = check(
        look_at(rows, good, lock=with_new(known={"by": "known_at"}), said=with_new(feature="none").data),
        "data: leakage, known",
    )
    assert (found.verdict, found.found) == (Verdict.FAIL if late else Verdict.PASS, text)


def test_a_time_that_is_missing_is_no_time_by_which_it_was_known(
    look_at: Look, good: pl.DataFrame, with_new: Callable[..., Lock], lock: Lock
) -> None:
    rows = leaking(good, 0.9).with_columns(known_at=pl.when(TURN > 3).then("known_at"))
    found = look_at(rows, good, lock=with_new(known={"by": "known_at"}), said=lock.data)
    assert check(found, "data: leakage, known").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "known", [{}, {"by": "when", "reason": "it is known before"}, {"by": "weight"}, {"by": "nobody"}, {"reason": "yes"}]
)
def test_who_vouches_names_a_time_or_a_reason(with_new: Callable[..., Lock], known: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"known"):
        with_new(known=known)


@pytest.mark.parametrize("task", ["regression", "multiclass"])
def test_the_probe_scores_every_task(good: pl.DataFrame, lock: Lock, task: str) -> None:
    values = pl.col("size").fill_null(50.0)
    thirds = (values > 45).cast(pl.Float64) + (values > 55).cast(pl.Float64)
    late, classes = (values, None) if task == "regression" else (thirds, ["a", "b", "c"])
    target = lock.data.target.model_copy(update={"task": task, "classes": classes})
    data = lock.data.model_copy(update={"target": target})
    score = probe.score_together(good.with_columns(size=values, late=late), data)
    assert score is not None
    assert score > 0.5


def test_too_few_rows_or_answers_can_not_be_scored(good: pl.DataFrame, lock: Lock) -> None:
    assert probe.score_together(good.head(5), lock.data) is None
    assert probe.score_pairs(good.with_columns(late=pl.lit(1.0)), lock.data) == {}
    assert probe.count_scored_rows(good.with_columns(late=pl.lit(1.0)), lock.data) == 0


def test_of_many_columns_the_pairs_of_wanted_ones_are_scored() -> None:
    names = [f"c{number}" for number in range(60)]
    pairs = list(probe._choose_pairs(names, ["c7", "other"]))
    assert len(pairs) == 59
    assert {first for first, _ in pairs} == {"c7"}
    assert len(list(probe._choose_pairs(names[:40], []))) == 780
