from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from merit.config.schema import Lock
from merit.gate.checks.data import leakage
from merit.gate.checks.data.findings import Findings
from merit.gate.verdict import Verdict
from tests.unit.gate.checks.data.conftest import ROWS, Look, check

TRAIN = ROWS // 2
"""Rows up to the end of February; the test rows begin with April."""
SHARED, ALONE, TIME, ENTITY = (f"data: leakage, {name}" for name in ("shared rows", "one column", "time", "entity"))


def _by_lot(values: dict[str, Any]) -> None:
    values["data"]["split"] = {"by": "random", "validation": 0.2, "test": 0.3}


def test_test_rows_among_the_training_rows_are_refused_whatever_their_keys(look_at: Look, good: pl.DataFrame) -> None:
    test = good.tail(50)
    told = look_at(pl.concat([test.with_columns(good["when"].head(50)), good.tail(-50)]))
    assert check(told, SHARED).verdict is Verdict.FAIL
    assert check(told, SHARED).found.startswith("50 of 290 test rows have a twin to learn from (17.24%)")
    assert check(told, SHARED).allowed == "at most 2 (1.00% and 0 by chance)"
    other = test.with_columns(good["when"].head(50), late=1 - pl.col("late"))
    assert check(look_at(pl.concat([other, good.tail(-50)])), SHARED).verdict is Verdict.PASS


def _few(seed: int) -> pl.DataFrame:
    """Return rows of few categories: most are like another one, by chance."""
    draw = np.random.default_rng(seed)
    made = {"a": draw.choice(list("xyz"), ROWS), "b": draw.integers(0, 40, ROWS), "late": draw.integers(0, 2, ROWS)}
    return pl.DataFrame(made)


def test_rows_that_are_alike_by_chance_are_no_leak() -> None:
    place = pl.Series(np.arange(ROWS) % 3, dtype=pl.Int8)
    for seed in range(20):
        (found,) = leakage.count_shared_rows(_few(seed).hash_rows(), place)
        assert 50 < found.count <= found.compute_limit(0.01)


def test_copies_are_a_leak_though_some_rows_are_alike_by_chance() -> None:
    draw = np.random.default_rng(0)
    examples = pl.Series(draw.integers(0, 20_000, 3000))
    place = pl.Series(np.arange(3000) // 1000, dtype=pl.Int8)
    (clean,) = leakage.count_shared_rows(examples, place)
    assert 20 < clean.count <= clean.compute_limit(0.01)
    copied = pl.concat([examples.tail(200), examples.tail(-200)])
    (found,) = leakage.count_shared_rows(copied, place)
    assert found.count > found.compute_limit(0.01)


def test_the_same_entity_on_both_sides_is_refused_where_declared(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["columns"]["patient"] = {"type": "string", "missing": 1.0}
        values["gate"]["data"] = {"leakage": {"entity": ["patient"]}}

    lock, numbers = make_lock(edit), pl.int_range(pl.len())
    own = good.with_columns(patient=pl.format("p{}", numbers // 4))
    assert check(look_at(own, lock=lock), ENTITY).verdict is Verdict.PASS
    both = check(look_at(good.with_columns(patient=pl.format("p{}", numbers % 700)), lock=lock), ENTITY)
    assert both.verdict is Verdict.FAIL
    assert both.found == "290 of 290 test rows are of a patient that was learned from"
    nobody = look_at(good.with_columns(patient=pl.lit(None, pl.String)), lock=lock)
    assert check(nobody, ENTITY).verdict is Verdict.INCONCLUSIVE
    assert ENTITY not in [each.name for each in look_at(good).checks]


def _with_patients(split: dict[str, Any], entity: list[str] | None = None) -> Callable[[dict[str, Any]], None]:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["columns"] |= {"patient_id": {"type": "integer"}, "visit": {"type": "integer"}}
        values["data"]["split"] = split
        del values["data"]["window"]
        values["gate"]["data"] = {"leakage": {"entity": entity, "overlap": 1.0}}

    return edit


@pytest.fixture
def patients(look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock]) -> Callable[..., Findings]:
    """Judge 60 patients of 20 rows each, split in some way."""
    rows = good.with_columns(patient_id=pl.int_range(pl.len()) % 60 + 1000, visit=pl.int_range(pl.len()) // 20)
    return lambda *how: look_at(rows, lock=make_lock(_with_patients(*how)))


LOT, GROUP = ({"by": by, "validation": 0.2, "test": 0.2} for by in ("random", "group"))
DAYS = {"by": "time", "train_until": "2024-02-29", "validation_until": "2024-03-31", "test_until": "2024-12-31"}


@pytest.mark.parametrize(
    ("how", "verdict", "says"),
    [
        ((LOT, None), Verdict.FAIL, "240 of 240 test rows are of a patient_id that was learned from"),
        ((LOT, []), None, ""),
        ((GROUP | {"column": "patient_id"}, None), Verdict.PASS, "0 of 240 test rows are of a patient_id"),
        ((GROUP | {"column": "visit"}, None), Verdict.FAIL, "240 test rows are of a patient_id that was learned from"),
        ((DAYS, None), Verdict.PASS, "are of a patient_id that was learned from: later rows of the same"),
        ((DAYS, ["patient_id"]), Verdict.FAIL, "are of a patient_id that was learned from"),
    ],
    ids=["by lot", "looked for no more", "by it", "by another", "by time", "by time and declared"],
)
def test_an_id_that_repeats_is_looked_for_on_both_sides(
    patients: Callable[..., Findings],
    how: tuple[dict[str, Any], list[str] | None],
    verdict: Verdict | None,
    says: str,
) -> None:
    found = [each for each in patients(*how).checks if each.name == ENTITY]
    assert [each.verdict for each in found] == [verdict] * (verdict is not None)
    assert all(says in each.found for each in found)


def test_the_advice_on_an_entity_on_both_sides_can_be_followed(patients: Callable[..., Findings]) -> None:
    advice = check(patients(LOT), ENTITY).advice
    split = yaml.safe_load(advice.partition("conf/data: ")[2].partition(";")[0])["split"]
    assert split == GROUP | {"column": "patient_id"}
    assert advice.endswith("; if it may be on both, gate.data.leakage.entity: []")
    assert check(patients(split), ENTITY).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("weight", range(ROWS)).cast(pl.Float64),
        pl.lit(None, pl.Float64).alias("weight"),
        pl.lit(3.0).alias("weight"),
    ],
    ids=["by time", "all missing", "constant"],
)
def test_a_column_that_says_nothing_is_no_leak(look_at: Look, good: pl.DataFrame, column: Any) -> None:
    assert check(look_at(good.with_columns(column)), ALONE).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("name", "leak"),
    [
        ("weight", pl.col("late") + pl.col("weight") / 2),
        ("weight", pl.when(pl.col("late") == 1).then(pl.col("weight"))),
        ("weight", (pl.col("late") - 0.5).abs() * pl.col("weight") * (1 - 2 * pl.col("late"))),
        ("shop", pl.format("{}{}", "shop", pl.col("late").cast(pl.Int8))),
        ("kind", pl.col("late").cast(pl.Int64)),
    ],
    ids=["number", "missing where not late", "sign", "category", "copy"],
)
def test_a_column_that_gives_the_answer_away_is_refused_and_named(
    look_at: Look, good: pl.DataFrame, name: str, leak: pl.Expr
) -> None:
    found = check(look_at(good.with_columns(leak.alias(name))), ALONE)
    assert found.verdict is Verdict.FAIL
    assert found.found.startswith(f"{name} ")
    assert found.allowed == "ROC AUC at most 0.98"


def _task(task: str) -> Callable[[dict[str, Any]], None]:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["target"]["task"] = task
        values["gate"] |= {"floors": {}, "champion": []}
        if task == "multiclass":
            values["data"]["target"]["classes"] = ["a", "b", "c"]
            values["gate"] |= {"baseline": {"metric": "accuracy", "margin": 0.1}}
            values["gate"] |= {"data": {"leakage": {"column": 0.95}}}
        else:
            values["trainer"]["monitor"] = "rmse"
            values["gate"] |= {"calibration": None, "baseline": {"metric": "r2", "margin": 0.1}}

    return edit


@pytest.mark.parametrize(
    ("task", "target"), [("multiclass", (pl.col("weight") * 3).floor()), ("regression", pl.col("weight") ** 2)]
)
def test_every_task_has_its_measure_of_a_column_alone(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock], task: str, target: pl.Expr
) -> None:
    lock = make_lock(_task(task))
    allowed = {"multiclass": "accuracy gained at most 0.95", "regression": "R2 at most 0.98"}[task]
    leak = check(look_at(good.with_columns(target.alias("late")), lock=lock), ALONE)
    assert (leak.verdict, leak.allowed, leak.found[:7]) == (Verdict.FAIL, allowed, "weight ")
    none = check(look_at(good.with_columns(target.shuffle(seed=1).alias("late")), lock=lock), ALONE)
    assert (none.verdict, none.allowed) == (Verdict.PASS, allowed)


def test_the_scores_are_those_of_rows_that_were_not_fitted_on(good: pl.DataFrame, lock: Lock) -> None:
    identity = good.with_columns(shop=pl.format("row {}", pl.int_range(pl.len())))
    assert leakage.score_single_features(identity, lock.data)["shop"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("task", "target", "score"),
    [
        # Means of 0 and 4, shrunk to 1 and 3, predict 1 and 5: 4 of 8 squares are left.
        ("regression", [0.0, 4.0, 1.0, 5.0], 0.5),
        # Class 0 for a, 1 for b: 3 of 4 are right, where the commonest class has 3, then 2.
        ("multiclass", [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0], 0.0),
        ("multiclass", [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 2.0, 1.0], 0.5),
    ],
)
def test_a_column_alone_is_scored_by_hand(
    make_lock: Callable[..., Lock], task: str, target: list[float], score: float
) -> None:
    data = make_lock(_task(task)).data
    rows = pl.DataFrame({"shop": ["a", "b"] * (len(target) // 2), "late": target})
    assert leakage.score_single_features(rows, data) == {"shop": pytest.approx(score)}


def test_the_roc_auc_is_scikit_learns(good: pl.DataFrame) -> None:
    from sklearn.metrics import roc_auc_score

    truth, guess = good["late"].to_numpy(), good["weight"].round(1).to_numpy()
    assert leakage._compute_roc_auc(truth, guess) == pytest.approx(roc_auc_score(truth, guess))


def test_rows_that_overlap_in_time_are_refused_unless_that_is_declared(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    found = check(look_at(good, lock=make_lock(_by_lot)), TIME)
    assert found.verdict is Verdict.FAIL
    assert "split by time" in found.advice

    def allowed(values: dict[str, Any]) -> None:
        _by_lot(values)
        values["gate"]["data"] = {"leakage": {"overlap": 1.0}}

    assert check(look_at(good, lock=make_lock(allowed)), TIME).verdict is Verdict.PASS


def test_rows_without_a_time_have_nothing_to_overlap(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    def edit(values: dict[str, Any]) -> None:
        _by_lot(values)
        del values["data"]["time"], values["data"]["window"]

    assert TIME not in [each.name for each in look_at(good, lock=make_lock(edit)).checks]
