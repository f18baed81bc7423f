import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate.checks.data.run import check_data
from merit.gate.checks.data.vs_champion import CHECK_NAMES
from merit.gate.verdict import Verdict
from tests.unit.gate.checks.data.conftest import ROWS, Look, check

COMPARED = [f"data: {name}" for name in CHECK_NAMES]
ITSELF = ["data: duplicates", "data: leakage, shared rows", "data: leakage, near-copies", "data: leakage, one column",
          "data: leakage, together", "data: leakage, time", "data: label noise", "data: constant target"]  # fmt: skip


def test_good_data_passes_every_check_and_each_is_of_the_data(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good.with_columns(pl.col("weight") + 0.001), good).checks
    assert [each.name for each in found] == ["contract", *COMPARED, *ITSELF]
    assert {each.name: each.verdict for each in found} == {
        each.name: Verdict.FAIL if each.name == "data: rows" else Verdict.PASS for each in found
    }
    assert {each.group for each in found} == {"data"}


def test_without_a_champion_there_is_nothing_to_compare_with(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good)
    for name in COMPARED:
        assert check(found, name).verdict is Verdict.NOT_APPLICABLE
        assert check(found, name).found.startswith("no champion yet")
    assert found.report["champion"] is None
    assert found.report["rows"] == {"now": ROWS, "before": None, "added": None, "gone": None, "changed": None,
                                    "relabelled": None}  # fmt: skip
    assert found.report["drift"] is None
    assert found.report["duplicates"] == 0


def test_the_champions_own_data_passes_at_once(
    look_at: Look, good: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: Any) -> None:
        pytest.fail("something was computed")

    for part in ("count_row_changes", "compare_missing", "compare_categories"):
        monkeypatch.setattr(f"merit.gate.checks.data.difference.{part}", computed)
    monkeypatch.setattr("merit.gate.checks.data.drift.score_columns", computed)
    found = look_at(good, good)
    assert {check(found, name).verdict for name in COMPARED} == {Verdict.PASS}
    assert "bit for bit" in check(found, "data: rows").found
    assert found.report["identical"] is True
    assert found.report["champion"] == {"commit": "a" * 40, "rows": ROWS}


def test_the_same_file_split_otherwise_is_compared(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock], lock: Lock
) -> None:
    other = make_lock(lambda values: values["data"]["split"].update(train_until="2024-01-31"))
    found = look_at(good, good, lock=other, said=lock.data)
    assert found.report["identical"] is False
    assert found.report["rows"]["changed"] == 0
    assert found.report["drift"]


def test_a_champion_whose_data_nobody_has_is_no_pass(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good, None)
    for name in COMPARED:
        assert check(found, name).verdict is Verdict.INCONCLUSIVE
        assert check(found, name).advice.startswith("'dvc push' it where it was made")
    assert "its data is neither in DVC's cache" in check(found, "data: rows").found
    assert found.report["champion"] == {"commit": "a" * 40, "rows": None}


@pytest.mark.parametrize("lacking", ["late", "when"])
def test_a_champion_whose_data_lacks_the_target_or_the_time_is_no_pass(
    look_at: Look, good: pl.DataFrame, lacking: str
) -> None:
    found = look_at(good, good.drop(lacking))
    assert {check(found, name).verdict for name in COMPARED} == {Verdict.INCONCLUSIVE}
    assert f"lacks the column {lacking}" in check(found, "data: drift").found


def test_a_champion_of_no_common_column_is_another_model_and_no_pass(
    look_at: Look, good: pl.DataFrame, make_lock: Callable[..., Lock]
) -> None:
    def renamed(values: dict[str, Any]) -> None:
        data = values["data"]
        data.update(time="their_when", columns={f"their_{name}": each for name, each in data["columns"].items()})
        data["target"].update(name="their_late")
        data["contract"].update(unique=[])
        values["evaluate"]["slices"] = []

    found = look_at(good, good.rename(lambda name: f"their_{name}"), said=make_lock(renamed).data)
    assert {check(found, name).verdict for name in COMPARED} == {Verdict.INCONCLUSIVE}
    assert check(found, "data: rows").found == "no column of data/raw.parquet is one of the data of aaaaaaa"
    assert "give it a name of its own" in check(found, "data: rows").advice


def test_a_champion_without_rows_is_no_pass(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good, good.clear())
    assert {check(found, name).verdict for name in COMPARED} == {Verdict.INCONCLUSIVE}
    assert "its data: has no rows" in check(found, "data: drift").found


def test_a_single_row_is_judged_and_does_not_pass(look_at: Look, good: pl.DataFrame) -> None:
    found = look_at(good.head(1), good)
    assert check(found, "data: rows").verdict is Verdict.FAIL
    assert check(found, "data: drift").verdict is Verdict.FAIL
    assert check(found, "data: leakage, one column").verdict is Verdict.INCONCLUSIVE
    assert check(found, "data: leakage, shared rows").verdict is Verdict.INCONCLUSIVE
    assert check(found, "data: constant target").verdict is Verdict.FAIL


def test_no_row_at_all_is_refused(look_at: Look, good: pl.DataFrame) -> None:
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: has no rows$"):
        look_at(good.clear(), good)


@pytest.mark.parametrize(
    "contract",
    [
        {"passed": False, "violations": [{"check": "rows"}]},
        {"passed": True, "violations": [{"check": "rows"}]},
        {"passed": False, "violations": []},
        {"passed": "yes", "violations": []},
    ],
)
def test_a_broken_contract_fails(look_at: Look, good: pl.DataFrame, lock: Lock, contract: dict[str, Any]) -> None:
    look_at(good)
    artifacts.write_json(artifacts.DATA_REPORT, {"rows": ROWS, **contract})
    found = check(check_data(lock, None), "contract")
    assert found.verdict is Verdict.FAIL
    assert found.found == f"1,200 rows, {len(contract['violations'])} violations"
    assert "reports/data.json" in found.advice


def test_a_contracts_report_of_other_rows_is_refused(look_at: Look, good: pl.DataFrame, lock: Lock) -> None:
    look_at(good)
    good.head(9).write_parquet(artifacts.RAW)
    with pytest.raises(MeritError, match=r"^reports/data\.json: not of the rows of data/raw\.parquet; run 'merit val"):
        check_data(lock, None)


@pytest.mark.parametrize("kept", [0, 100, -9, -2000])
def test_a_file_that_is_cut_off_is_refused(look_at: Look, good: pl.DataFrame, lock: Lock, kept: int) -> None:
    look_at(good)
    whole = artifacts.RAW.read_bytes()
    artifacts.RAW.write_bytes(whole[:kept])
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: (is empty|is cut off).*; run 'merit ingest' again$"):
        check_data(lock, None)


def test_a_file_of_broken_pages_is_refused(look_at: Look, good: pl.DataFrame, lock: Lock) -> None:
    look_at(good)
    whole = bytearray(artifacts.RAW.read_bytes())
    whole[100:5000] = bytes(4900)
    artifacts.RAW.write_bytes(whole)
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: (is empty|is cut off|can't be read)"):
        check_data(lock, None)


def test_a_file_that_lacks_a_declared_feature_is_refused(look_at: Look, good: pl.DataFrame, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: lacks the column weight"):
        look_at(good.drop("weight"))


def test_the_report_is_json(look_at: Look, good: pl.DataFrame) -> None:
    other = good.with_columns(weight=pl.lit(None, pl.Float64), shop=pl.lit("east"))
    report = look_at(other, good).report
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report) == {"champion", "rows", "columns", "missing", "categories", "duplicates", "target", "drift",
                           "changed_columns", "changed_slices", "identical"}  # fmt: skip


def test_data_of_nobody_is_told_with_the_command_that_makes_it(workdir: Path, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^reports/data\.json: not found; 'merit validate' makes it"):
        check_data(lock, None)
