"""Which test rows a champion has seen: by days, by groups, and by the rows of its own parts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.data.split import assign_parts, split_table
from merit.errors import MeritError
from merit.features.transform import Preprocessing
from merit.gate.champion import Champion
from merit.gate.checks.model import champion as champion_checks
from merit.gate.evidence import ChampionComparison, Evidence
from merit.gate.unseen_rows import UnseenRows, find_unseen_rows
from merit.gate.verdict import Verdict
from merit.metrics import Estimate
from merit.scoring.package import Package
from tests.conftest import put
from tests.unit.gate.conftest import rival, run_family, transform_of, with_other_graph

MakeLock = Callable[..., Lock]
RANDOM = {"by": "random", "validation": 0.2, "test": 0.3, "seed": 1}
GROUP = {"by": "group", "column": "shop", "validation": 0.2, "test": 0.3, "seed": 1}


class Former(Champion):
    """A champion whose data section and data are at hand, or can't be brought."""

    data: Data | None = None
    rows: pl.DataFrame | None = None
    same = False

    def has_same_data(self) -> bool:
        """Say what the test says."""
        return self.same

    def read_data_section(self) -> Data:
        """Give what the test says."""
        assert self.data is not None
        return self.data

    @contextmanager
    def fetch_data(self) -> Iterator[Path]:
        """Give the file, or say that there is none."""
        if self.rows is None:
            raise MeritError("its data is neither in DVC's cache nor in a remote (gone)")
        artifacts.write_table(Path("former.parquet"), self.rows)
        yield Path("former.parquet")


def former(data: Data, rows: pl.DataFrame | None = None, *, same: bool = False) -> Champion:
    champion = Former("a" * 40, {"model": "m.dir"})
    for name, value in {"data": data, "rows": rows, "same": same}.items():
        object.__setattr__(champion, name, value)
    return champion


@pytest.fixture
def tables(workdir: Path, table: pl.DataFrame) -> pl.DataFrame:
    """The rows as `ingest` writes them, in the folder that the test runs in."""
    groups = pl.Series("shop", [f"shop {each % 24}" for each in range(table.height)])
    return table.with_columns(groups, late=(pl.col("delay") >= 10).cast(pl.Float64)).drop("delay")


@pytest.fixture
def split_by(make_lock: MakeLock) -> Callable[..., Lock]:
    """Return a lock of another split, and with other keys."""

    def make(split: dict[str, Any], unseen: int = 1, **edits: Any) -> Lock:
        def edit(values: dict[str, Any]) -> None:
            values["data"]["split"] = split
            put(values, {"gate__test_rows": {"unseen": unseen}, **edits})

        return make_lock(edit)

    return make


def by_time(validation_until: str, **others: str) -> dict[str, str]:
    days = {"train_until": "2024-01-31", "validation_until": validation_until, "test_until": "2024-12-31"}
    return {"by": "time", **days, **others}


def find(lock: Lock, champion: Champion, rows: pl.DataFrame) -> UnseenRows:
    return find_unseen_rows(lock, champion, split_table(rows, lock.data)["test"])


def test_the_same_data_and_the_same_split_leave_every_test_row_unseen_without_a_look(
    lock: Lock, tables: pl.DataFrame
) -> None:
    unseen = find(lock, former(lock.data, same=True), tables)
    assert (unseen.is_all, unseen.problem, unseen.period) == (True, "", ("2024-04-01", "2024-04-29"))


def test_days_that_the_champion_was_chosen_on_are_seen(split_by: Callable[..., Lock], tables: pl.DataFrame) -> None:
    lock, champion = split_by(by_time("2024-03-10")), former(split_by(by_time("2024-04-09")).data, same=True)
    unseen = find(lock, champion, tables)
    assert unseen.describe() == "40 of 100 test rows (2024-04-10 to 2024-04-29)"
    assert (unseen.problem, unseen.is_all) == ("", False)
    days = split_table(tables, lock.data)["test"]["when"].dt.date()
    assert unseen.mask.tolist() == (days > date(2024, 4, 9)).to_list()


def test_days_outside_the_window_of_the_champion_are_unseen(
    split_by: Callable[..., Lock], tables: pl.DataFrame
) -> None:
    lock = split_by(by_time("2024-03-10"))
    window = {"start": "2024-03-21", "end": "2024-12-31"}
    late_start = split_by(by_time("2024-04-09", train_until="2024-03-31"), data__window=window)
    assert find(lock, former(late_start.data), tables).count == 60
    early_end = split_by(by_time("2024-04-09"), data__window={**window, "start": "2024-01-01", "end": "2024-03-31"})
    assert find(lock, former(early_end.data), tables).count == 58


def test_a_row_without_a_time_counts_as_seen(split_by: Callable[..., Lock], tables: pl.DataFrame) -> None:
    without = tables.with_columns(when=pl.when(pl.col("size").is_null()).then(None).otherwise("when"))
    lock = split_by(RANDOM)
    test_rows = split_table(without, lock.data)["test"]
    unseen = find_unseen_rows(lock, former(split_by(by_time("2024-01-02", train_until="2024-01-01")).data), test_rows)
    assert test_rows["when"].null_count() > 0
    assert not unseen.mask[test_rows["when"].is_null().to_numpy()].any()
    assert unseen.mask[(test_rows["when"].dt.date() > date(2024, 1, 2)).fill_null(value=False).to_numpy()].all()


def test_too_few_unseen_rows_say_what_to_change(split_by: Callable[..., Lock], tables: pl.DataFrame) -> None:
    champion = former(split_by(by_time("2024-04-09")).data)
    assert find(split_by(by_time("2024-03-10"), unseen=40), champion, tables).problem == ""
    few = find(split_by(by_time("2024-03-10"), unseen=41), champion, tables)
    assert few.problem == (
        "it has seen 60 of 100 test rows in training or validation, and 40 are left to compare on, of at least 41"
    )
    assert few.advice.startswith("move data.split: the test part needs more days after 2024-04-09,")


def test_few_test_rows_are_no_problem_if_the_champion_has_seen_none(
    split_by: Callable[..., Lock], tables: pl.DataFrame
) -> None:
    assert find(
        split_by(by_time("2024-04-09"), unseen=1000), former(split_by(by_time("2024-03-10")).data), tables
    ).is_all


def test_the_rows_of_a_random_split_are_found_by_their_keys(
    split_by: Callable[..., Lock], tables: pl.DataFrame
) -> None:
    """Other values and another order of a row make it no other row."""
    lock, before = split_by({**RANDOM, "seed": 2}), split_by(RANDOM)
    now = tables.with_columns(size=pl.col("size") + 1, late=1 - pl.col("late"))
    unseen = find(lock, former(before.data, tables.sample(fraction=1.0, shuffle=True, seed=3)), now)
    shuffled = tables.sample(fraction=1.0, shuffle=True, seed=3)
    own_test = shuffled.filter(assign_parts(shuffled, before.data) == 2)["when"]
    test_rows = split_table(now, lock.data)["test"]
    assert unseen.mask.tolist() == test_rows["when"].is_in(own_test.implode()).to_list()
    assert 0 < unseen.count < len(unseen.mask)


def test_a_new_column_makes_no_row_new(split_by: Callable[..., Lock], tables: pl.DataFrame) -> None:
    lock = split_by(RANDOM)
    wider = tables.with_columns(more=pl.lit(1.0), kind=pl.col("kind").cast(pl.Int32))
    assert find(lock, former(lock.data, tables), wider).is_all
    no_keys = split_by(RANDOM, data__contract__unique=[])
    assert find(no_keys, former(no_keys.data, tables), wider).is_all


def test_without_keys_rows_are_found_by_all_columns_but_the_target(
    split_by: Callable[..., Lock], tables: pl.DataFrame
) -> None:
    lock, before = (split_by({**RANDOM, "seed": seed}, data__contract__unique=[]) for seed in (2, 1))
    relabelled = tables.with_columns(late=1 - pl.col("late"), weight=pl.col("weight").cast(pl.Float32))
    own_test = split_table(tables, before.data)["test"]["when"]
    unseen = find(lock, former(before.data, tables), relabelled)
    test_rows = split_table(relabelled, lock.data)["test"]
    assert unseen.mask.tolist() == test_rows["when"].is_in(own_test.implode()).to_list()


def test_a_group_that_the_champion_was_trained_on_is_seen_whole(
    split_by: Callable[..., Lock], tables: pl.DataFrame
) -> None:
    """New rows of a patient whom the champion knows are no test of it."""
    before = split_by(GROUP)
    own_test = set(split_table(tables, before.data)["test"]["shop"])
    new_rows = tables.with_columns(when=pl.col("when").dt.offset_by("1y"))
    unseen = find_unseen_rows(before, former(before.data, tables), new_rows)
    assert unseen.mask.tolist() == [each in own_test for each in new_rows["shop"]]
    assert unseen.advice == ""


def test_a_row_whose_group_has_another_name_now_is_seen(split_by: Callable[..., Lock], tables: pl.DataFrame) -> None:
    before = split_by(GROUP)
    renamed = tables.with_columns(shop=pl.lit("new ") + pl.col("shop"))
    own_test = split_table(tables, before.data)["test"]["when"]
    unseen = find_unseen_rows(before, former(before.data, tables), renamed)
    assert unseen.mask.tolist() == renamed["when"].is_in(own_test.implode()).to_list()


@pytest.mark.parametrize(
    ("split", "edit", "reason"),
    [
        (
            by_time("2024-04-09"),
            pl.col("when").cast(pl.String),
            "it was split by 'when', which is no time of these rows",
        ),
        (
            GROUP,
            pl.col("shop").alias("store"),
            "it was split by the groups of 'shop', which is no column of these rows",
        ),
    ],
)
def test_rows_that_can_not_be_told_apart_are_not_compared(
    split: dict[str, Any], edit: pl.Expr, reason: str, split_by: Callable[..., Lock], tables: pl.DataFrame
) -> None:
    before = split_by(split)
    changed = tables.with_columns(edit)
    changed = changed.drop("shop") if "store" in changed.columns else changed
    unseen = find_unseen_rows(before, former(before.data, tables), changed)
    assert unseen.problem == f"which test rows it has seen is unknown: {reason}"
    assert "--against REF" in unseen.advice
    assert unseen.count == 0


def test_data_that_nobody_has_leaves_no_comparison_and_says_why(
    split_by: Callable[..., Lock], tables: pl.DataFrame
) -> None:
    unseen = find(split_by({**RANDOM, "seed": 2}), former(split_by(RANDOM).data), tables)
    assert unseen.problem == (
        "which test rows it has seen is unknown: its data is neither in DVC's cache nor in a remote (gone)"
    )
    assert unseen.advice.startswith("'dvc push' its data where it was made")


def test_a_group_of_the_candidate_is_in_one_of_its_own_parts_only(
    split_by: Callable[..., Lock], tables: pl.DataFrame
) -> None:
    """The champion is compared on rows that the candidate has not seen either: its test part shares no group."""
    lock = split_by(GROUP)
    parts = split_table(tables, lock.data)
    groups = [set(part["shop"]) for part in parts.values()]
    assert all(one.isdisjoint(other) for one in groups for other in groups if one is not other)


def test_masks_without_rows_have_no_period() -> None:
    unseen = UnseenRows(np.zeros(3, dtype=np.bool_))
    assert unseen.as_json() == {"rows": 0, "from": None, "to": None}
    assert replace(unseen, period=("2024-01-01", "2024-01-02")).as_json()["to"] == "2024-01-02"


def test_models_are_compared_on_unseen_rows_alone_and_the_candidate_is_measured_on_all(
    evidence: Evidence, gated: Callable[..., Evidence], load: Callable[[Preprocessing], Package]
) -> None:
    """A champion that knows the answers of half of the rows is no better for it."""
    made = replace(gated(evidence, slices={"metric": "log_loss", "margin": 0.05}), champion=rival(load(transform_of())))
    unseen = np.arange(evidence.rows.height) % 2 == 0
    knows = np.where(unseen, made.champion_comparison.predictions, evidence.target)
    half = replace(made)
    half.__dict__["unseen_rows"] = UnseenRows(unseen, ("2024-01-01", "2024-01-02"))
    only = replace(
        made,
        rows=evidence.rows.filter(unseen),
        **{name: getattr(evidence, name)[unseen] for name in ("target", "candidate", "network", "baseline")},
    )
    days = np.arange(evidence.rows.height) // 40
    half.__dict__["blocks"], only.__dict__["blocks"] = days, days[unseen]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("merit.gate.evidence.predict_champion", lambda *_: knows)
        assert half.champion_comparison.predictions is knows
    for name in ("metrics", "difference", "packaged"):
        assert getattr(half.champion_comparison, name) == getattr(only.champion_comparison, name)
    assert (half.unseen_size.rows, half.unseen_size.units) == (300, 15)
    assert [each.rows for each in half.slices] == [each.rows for each in only.slices]
    assert [each.difference for each in half.slices] == [each.difference for each in only.slices]
    (check,) = run_family(champion_checks.FAMILY, half)
    assert "; on 300 of 600 test rows (2024-01-01 to 2024-01-02), which the champion has not seen" in check.found
    (alone,) = run_family(champion_checks.FAMILY, only)
    assert (check.verdict, check.rows_needed) == (alone.verdict, alone.rows_needed)


def test_a_champion_that_knows_too_many_test_rows_is_inconclusive(evidence: Evidence) -> None:
    made = replace(evidence, champion=rival(with_other_graph(evidence.package)))
    made.__dict__["unseen_rows"] = UnseenRows(np.zeros(3, dtype=np.bool_), None, "it knows them", "move data.split")
    (check,) = run_family(champion_checks.FAMILY, made)
    assert (check.verdict, check.found, check.advice) == (
        Verdict.INCONCLUSIVE,
        "aaaaaaa can't be compared: it knows them",
        "move data.split",
    )


def test_the_rows_that_would_settle_a_comparison_are_counted_from_the_unseen_ones(evidence: Evidence) -> None:
    made = replace(evidence, champion=rival())
    undecided = {"roc_auc": Estimate(-0.02, -0.04, 0.0)}
    made.__dict__["champion_comparison"] = ChampionComparison(predictions=evidence.candidate, difference=undecided)
    made.__dict__["unseen_rows"] = UnseenRows(np.arange(evidence.rows.height) % 2 == 0)
    (check,) = run_family(champion_checks.FAMILY, made)
    assert (check.verdict, check.rows_needed) == (Verdict.INCONCLUSIVE, 4 * 300)
