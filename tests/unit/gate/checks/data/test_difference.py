from collections.abc import Callable

import polars as pl
import pytest

from merit.config.schema import Lock
from merit.gate.checks.data import difference
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.matching import match_rows
from merit.gate.verdict import Verdict
from tests.unit.gate.checks.data.conftest import ROWS, Look, check

Opened = Callable[..., Dataset]


def counted(candidate: Dataset, champion: Dataset) -> dict[str, int | None]:
    return difference.count_row_changes(candidate, champion, match_rows(candidate, champion))


def test_rows_are_known_by_their_keys(opened: Opened, good: pl.DataFrame) -> None:
    new = good.tail(50).with_columns(pl.col("when") + pl.duration(days=100))
    changed = pl.when(pl.int_range(pl.len()) < 7).then(pl.lit(0.5)).otherwise("weight")
    now = pl.concat([good.tail(-30).with_columns(weight=changed), new])
    assert counted(opened(now), opened(good)) == {
        "now": ROWS + 20,
        "before": ROWS,
        "added": 50,
        "gone": 30,
        "changed": 7,
        "relabelled": 0,
    }


def test_the_order_of_rows_and_of_columns_is_no_difference(opened: Opened, good: pl.DataFrame) -> None:
    now = good.sample(fraction=1, shuffle=True, seed=1).select(reversed(good.columns))
    found = counted(opened(now), opened(good))
    assert (found["added"], found["gone"], found["changed"]) == (0, 0, 0)


def test_a_new_column_changes_no_row(opened: Opened, good: pl.DataFrame) -> None:
    found = counted(opened(good.with_columns(other=pl.lit(1))), opened(good))
    assert (found["added"], found["gone"], found["changed"]) == (0, 0, 0)


def test_without_keys_a_changed_row_is_one_gone_and_one_added(
    opened: Opened, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    data = make_lock(lambda values: values["data"]["contract"].update(unique=[])).data
    twice = pl.concat([good, good.head(3)])
    now = twice.with_columns(weight=pl.when(pl.int_range(pl.len()) < 7).then(pl.lit(2.0)).otherwise("weight"))
    found = counted(opened(now, data), opened(good, data))
    assert found == {"now": ROWS + 3, "before": ROWS, "added": 7, "gone": 4, "changed": None, "relabelled": 0}


def test_a_key_that_the_champion_lacks_compares_whole_rows(
    opened: Opened, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    data = make_lock(lambda values: values["data"]["contract"].update(unique=["kind"])).data
    found = counted(opened(good, data), opened(good.drop("kind"), data))
    assert (found["added"], found["gone"], found["changed"]) == (0, 0, None)


def test_columns_that_came_went_and_changed_type_are_named(opened: Opened, good: pl.DataFrame) -> None:
    now = good.rename({"size": "volume"}).with_columns(pl.col("kind").cast(pl.String))
    assert difference.compare_columns(opened(now), opened(good)) == {
        "added": ["volume"],
        "gone": ["size"],
        "retyped": [{"column": "kind", "before": "Int64", "after": "String"}],
    }


def test_arrays_are_compared(opened: Opened, good: pl.DataFrame) -> None:
    image = pl.Series("image", [[[row, 2.0], [3.0, 4.0]] for row in range(ROWS)], pl.Array(pl.Float64, (2, 2)))
    other = image.to_frame().with_columns(pl.Series("image", [[[0.0, 2.0], [3.0, 5.0]]] * ROWS, image.dtype))
    found = counted(opened(good.with_columns(other["image"])), opened(good.with_columns(image)))
    assert found["changed"] == ROWS


@pytest.mark.parametrize(("share", "verdict"), [(0.04, Verdict.PASS), (0.06, Verdict.FAIL), (1.0, Verdict.FAIL)])
def test_rows_that_are_gone_are_refused_beyond_the_limit(
    look_at: Look, good: pl.DataFrame, share: float, verdict: Verdict
) -> None:
    found = check(look_at(good.tail(ROWS - int(ROWS * share) or 1), good), "data: rows")
    assert found.verdict is verdict
    assert found.allowed.startswith("at most 5.00% gone, 5.00% added, 5.00% changed; of a part the same")
    assert "gate.data.gone" in found.advice


@pytest.mark.parametrize(("count", "verdict"), [(50, Verdict.PASS), (70, Verdict.FAIL)])
def test_rows_that_are_others_now_are_refused_beyond_the_limit(
    look_at: Look, good: pl.DataFrame, count: int, verdict: Verdict
) -> None:
    flipped = pl.when(pl.int_range(pl.len()) < count).then(1 - pl.col("late")).otherwise("late")
    found = check(look_at(good.with_columns(late=flipped), good), "data: rows")
    assert found.verdict is verdict
    assert f"{count} changed" in found.found


def test_a_column_without_missing_values_that_now_has_some_is_refused(look_at: Look, good: pl.DataFrame) -> None:
    lost = pl.when(pl.int_range(pl.len()) % 10 < 3).then(None).otherwise("weight")
    found = look_at(good.with_columns(weight=lost), good)
    assert check(found, "data: missing").verdict is Verdict.FAIL
    assert check(found, "data: missing").found == "weight 0.00% to 30.00%"
    assert found.report["missing"] == [{"column": "weight", "before": 0.0, "after": 0.3}]


def test_missing_values_that_were_made_up_are_refused(look_at: Look, good: pl.DataFrame) -> None:
    found = check(look_at(good.with_columns(pl.col("size").fill_null(0.0)), good), "data: missing")
    assert found.verdict is Verdict.FAIL
    assert found.found == "size 10.00% to 0.00%"


def test_nan_is_missing_too(look_at: Look, good: pl.DataFrame) -> None:
    found = check(look_at(good.with_columns(pl.col("size").fill_null(float("nan"))), good), "data: missing")
    assert (found.verdict, found.found) == (Verdict.PASS, "no column moved")


def test_the_column_whose_share_of_missing_values_moved_most_comes_first(opened: Opened, good: pl.DataFrame) -> None:
    def lose(shop: float, size: float, weight: float) -> Dataset:
        shares = {"shop": shop, "size": size, "weight": weight}
        return opened(
            good.with_columns(
                pl.when(pl.int_range(pl.len()) >= share * ROWS).then(pl.lit(1 if name != "shop" else "a")).alias(name)
                for name, share in shares.items()
            )
        )

    changes = difference.compare_missing(lose(0.9, 0.0, 0.0005), lose(0.8, 0.3, 0.0))
    assert [(each["column"], each["before"], each["after"]) for each in changes] == [
        ("size", 0.3, 0.0),
        ("shop", 0.8, 0.9),
    ]


@pytest.mark.parametrize(("late", "deviation"), [([0.0, 4.0], 2.0), ([3.0, 3.0], 1.0)])
def test_the_unit_of_a_mean_is_the_targets_deviation_or_1(
    opened: Opened, good: pl.DataFrame, late: list[float], deviation: float
) -> None:
    assert difference.compute_target_deviation(opened(good.head(2).with_columns(late=pl.Series(late)))) == deviation


def test_new_categories_are_named_and_refused_beyond_the_limit(look_at: Look, good: pl.DataFrame) -> None:
    few = pl.when(pl.int_range(pl.len()) < 12).then(pl.lit("east")).otherwise("shop")
    found = look_at(good.with_columns(shop=few), good)
    assert check(found, "data: categories").verdict is Verdict.PASS
    assert found.report["categories"] == [
        {"column": "shop", "new": ["east"], "new_count": 1, "new_rows": 12, "gone_count": 0}
    ]
    spelt = look_at(good.with_columns(pl.col("shop").str.to_uppercase()), good)
    assert check(spelt, "data: categories").verdict is Verdict.FAIL
    assert check(spelt, "data: categories").found.startswith("shop: 3 new in 100.00% of rows, 3 gone")


def test_a_category_that_vanished_is_refused_beyond_the_limit(look_at: Look, good: pl.DataFrame) -> None:
    found = check(look_at(good.filter(pl.col("shop") != "west"), good), "data: categories")
    assert found.verdict is Verdict.FAIL
    assert "1 gone that were in 3" in found.found


def test_the_first_of_many_new_categories_are_named(opened: Opened, good: pl.DataFrame) -> None:
    now = good.with_columns(shop=pl.format("shop {}", pl.int_range(pl.len()) % 40))
    (found,) = difference.compare_categories(opened(now), opened(good))
    assert len(found["new"]) == difference.MAX_NEW_CATEGORIES
    assert found["new_count"] == 40


@pytest.mark.parametrize(("much", "verdict"), [(0.02, Verdict.PASS), (0.1, Verdict.FAIL)])
def test_a_target_whose_share_moved_is_refused_beyond_the_limit(
    look_at: Look, good: pl.DataFrame, much: float, verdict: Verdict
) -> None:
    more = pl.when(pl.int_range(pl.len()) % 1000 < much * 1450).then(1.0).otherwise("late")
    found = check(look_at(good.with_columns(late=more), good), "data: target rate")
    assert found.verdict is verdict
    assert found.found.endswith("% positive")


def test_the_share_of_each_class_is_told_and_the_most_moved_is_judged(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    lock = make_lock(_classes)
    rows = good.with_columns(late=pl.int_range(pl.len()) % 3 * 1.0)
    assert check(look_at(rows, rows.head(1190), lock=lock), "data: target rate").verdict is Verdict.PASS
    found = look_at(rows.with_columns(late=pl.int_range(pl.len()) % 2 * 1.0), rows, lock=lock)
    assert check(found, "data: target rate").verdict is Verdict.FAIL
    assert check(found, "data: target rate").found == "class c: 33.33% to 0.00%"
    assert found.report["target"]["after"] == {"a": 0.5, "b": 0.5, "c": 0.0}


def _classes(values: dict) -> None:
    values["data"]["target"] |= {"task": "multiclass", "classes": ["a", "b", "c"]}
    values["gate"] |= {"floors": {}, "champion": [], "baseline": {"metric": "accuracy", "margin": 0.1}}


def _regression(values: dict) -> None:
    values["data"]["target"]["task"] = "regression"
    values["trainer"]["monitor"] = "rmse"
    values["gate"] |= {"calibration": None, "floors": {}, "champion": [], "baseline": {"metric": "r2", "margin": 0.1}}


@pytest.mark.parametrize(("much", "verdict"), [(0.04, Verdict.PASS), (0.06, Verdict.FAIL)])
def test_a_number_to_predict_moves_in_its_own_deviations(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock], much: float, verdict: Verdict
) -> None:
    rows = good.with_columns(late=pl.col("weight") * 1000)
    deviation = rows["late"].std(ddof=0)
    found = check(
        look_at(rows.with_columns(pl.col("late") + much * deviation), rows, lock=make_lock(_regression)),
        "data: target rate",
    )
    assert found.verdict is verdict
    assert found.found.endswith(f"{much:+.2f} standard deviations")


def test_a_champion_of_another_task_is_no_pass(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock], lock: Lock
) -> None:
    rows = good.with_columns(late=pl.col("weight") * 1000)
    found = look_at(rows, good, lock=make_lock(_regression), said=lock.data)
    for name in ("data: target rate", "data: drift, target"):
        assert check(found, name).verdict is Verdict.INCONCLUSIVE
        assert check(found, name).found == "the champion's target is another: late (binary)"
    assert check(found, "data: drift").verdict is Verdict.PASS
