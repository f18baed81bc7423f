import csv
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.config.tasks import METRICS
from merit.errors import MeritError
from merit.gate import freshness, judge, waivers
from merit.gate.report import schema, terminal
from merit.gate.report.truncation import truncate_report
from merit.process import workspace_lock
from merit.scoring.package import Package, extract_columns
from tests.conftest import rewrite_manifest
from tests.unit.gate.conftest import rival

Prepare = Callable[..., None]


@pytest.fixture
def prepare(
    git_repo: Callable[..., str], table: pl.DataFrame, lock: Lock, make_package: Callable[..., Path]
) -> Prepare:
    """Leave in the folder what every stage before the gate leaves there."""

    def make(target: Callable[[Any], Any] | None = None) -> None:
        sections = lock.model_dump(mode="json", by_alias=True, exclude_none=True, include={"name", "seed", "model"})
        package = Package.load(make_package(artifacts.PACKAGE, sections=yaml.safe_dump(sections)))
        rows = table.drop("delay").with_columns(late=pl.lit(0.0))
        probability = package.predict(extract_columns(rows, package.graph.inputs))
        drawn = (np.random.default_rng(0).uniform(0, 1, rows.height) < probability).astype(np.float64)
        drawn = drawn if target is None else target(drawn)
        rows = rows.with_columns(late=pl.Series(drawn))
        artifacts.FEATURES.mkdir(parents=True)
        artifacts.TRANSFORM.write_bytes(b"the fitted preprocessing")
        rows.write_parquet(artifacts.TEST_ROWS)
        rows.write_parquet(artifacts.RAW)
        scores = pl.DataFrame({"target": drawn, "prediction": probability, "baseline": probability})
        artifacts.PREDICTIONS.parent.mkdir()
        scores.write_parquet(artifacts.PREDICTIONS)
        estimates = {name: {"value": 0.7, "low": 0.6, "high": 0.8} for name in METRICS["binary"]}
        artifacts.write_json(artifacts.METRICS, {"candidate": estimates, "baseline": estimates, "slices": []})
        artifacts.write_json(artifacts.DATA_REPORT, {"passed": True, "rows": 240, "violations": []})
        part = {"rows": 240, "from": "2024-01-01", "to": "2024-04-29", "target": {"share": 0.5}}
        artifacts.write_json(artifacts.FEATURES_REPORT, {"parts": dict.fromkeys(("train", "validation", "test"), part)})
        _curves()

    return make


def _curves() -> None:
    artifacts.PLOTS.mkdir(parents=True)
    for name, x, y in (
        ("roc", "false_positive_rate", "true_positive_rate"),
        ("precision_recall", "recall", "precision"),
        ("calibration", "predicted", "observed"),
    ):
        with (artifacts.PLOTS / f"{name}.csv").open("w", newline="") as handle:
            csv.writer(handle).writerows([["model", x, y], ["candidate", 0, 1], ["baseline", 0, 1]])
    artifacts.write_text(artifacts.HISTORY, "epoch,train_loss,validation_loss\n0,0.7,0.6\n")


def test_the_gate_judges_and_writes_its_report_in_three_forms(prepare: Prepare, lock: Lock) -> None:
    prepare()
    made = judge.gate(lock)
    assert json.loads(artifacts.GATE_REPORT.read_text()) == json.loads(json.dumps(made))
    assert made["candidate"]["digest"] == artifacts.hash_package(artifacts.PACKAGE)
    assert f"merit: {made['verdict']}" in artifacts.GATE_MARKDOWN.read_text(encoding="utf-8")
    assert artifacts.GATE_HTML.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert made["champion"] is None


def test_the_gate_looks_at_the_source_itself(prepare: Prepare, lock: Lock) -> None:
    prepare()
    (parity,) = [check for check in judge.gate(lock)["checks"] if check["name"] == "parity"]
    assert parity["verdict"] == "inconclusive"  # for the file is not there
    assert parity["found"].startswith("the source's rows can't be had: data.source: the file 'source.parquet' is not")


def test_the_report_is_of_its_published_form(prepare: Prepare, lock: Lock) -> None:
    prepare()
    made = judge.gate(lock)
    assert schema.parse_report(artifacts.GATE_REPORT.read_text(encoding="utf-8"))["checks"] == made["checks"]
    assert made["form"] == 1
    assert made["change"] is None
    assert {name: made["better"][name] for name in ("roc_auc", "log_loss")} == {
        "roc_auc": "higher",
        "log_loss": "lower",
    }
    assert made["curves"]["loss"] == [{"train": 0.7, "validation": 0.6}]
    (found,) = [check for check in made["checks"] if check["name"] == "rules"]
    assert (found["verdict"], found["found"], found["group"]) == ("pass", "no rules to compare with", "rules")


def test_a_threshold_weakened_with_the_model_is_refused_and_said_loudly(
    prepare: Prepare, git_repo: Callable[..., str], lock: Lock, make_lock: Callable[..., Lock]
) -> None:
    prepare()
    locks.write_lock(lock)
    outs = [{"path": "model", "md5": "a" * 32 + ".dir"}, {"path": "training/weights.safetensors", "md5": "b" * 32}]
    artifacts.DVC_LOCK.write_text(yaml.safe_dump({"stages": {"package": {"outs": outs}}}))
    git_repo("add", "params.yaml", "dvc.lock")
    git_repo("commit", "--quiet", "-m", "x")
    made = judge.gate(make_lock(lambda values: values["gate"].update(size_mb=2.0)))
    (found,) = [check for check in made["checks"] if check["name"] == "rules"]
    assert (made["verdict"], found["verdict"]) == ("fail", "fail")
    assert found["found"] == "weaker: gate.size_mb, and the model changed too"
    assert made["change"]["config"] == [{"key": "gate.size_mb", "before": "1.0", "after": "2.0"}]
    top = artifacts.GATE_MARKDOWN.read_text(encoding="utf-8").partition("###")[0]
    assert "<code>gate.size&#95;mb</code>: <code>1.0</code> → <code>2.0</code>" in top


def test_the_scores_are_the_packages_own_and_not_those_of_the_file(prepare: Prepare, lock: Lock) -> None:
    prepare()
    before = judge.gate(lock)["metrics"]["candidate"]
    pl.read_parquet(artifacts.PREDICTIONS).with_columns(prediction=pl.lit(0.5)).write_parquet(artifacts.PREDICTIONS)
    assert judge.gate(lock)["metrics"]["candidate"] == before


def test_a_package_of_another_lock_is_not_judged(prepare: Prepare, make_lock: Callable[..., Lock]) -> None:
    prepare()
    former = (artifacts.GATE_REPORT, artifacts.GATE_MARKDOWN, artifacts.GATE_HTML)
    for file in former:
        artifacts.write_text(file, "merit: pass")
    with pytest.raises(MeritError) as caught:
        judge.gate(make_lock(lambda values: values.update(seed=8)))
    assert str(caught.value) == (
        "gate: params.yaml now holds another seed than the package was made with; run 'merit run'"
    )
    assert not any(file.exists() for file in former), "a former verdict counts for a package that was not judged"


def test_a_changed_package_is_not_judged(prepare: Prepare, lock: Lock) -> None:
    prepare()
    (artifacts.PACKAGE / artifacts.PACKAGED_WEIGHTS).write_bytes(b"other")
    with pytest.raises(MeritError, match=r"weights\.safetensors was changed"):
        judge.gate(lock)


@pytest.mark.parametrize("text", ["", "a word", "a: [", "[1]"])
def test_a_package_whose_lock_was_changed_is_not_judged(prepare: Prepare, lock: Lock, text: str) -> None:
    prepare()
    (artifacts.PACKAGE / artifacts.PACKAGED_LOCK).write_text(text)
    with pytest.raises(MeritError, match=r"params\.yaml"):
        judge.gate(lock)


def test_predictions_of_other_rows_are_not_judged(prepare: Prepare, lock: Lock) -> None:
    prepare()
    pl.read_parquet(artifacts.PREDICTIONS).with_columns(target=1 - pl.col("target")).write_parquet(
        artifacts.PREDICTIONS
    )
    with pytest.raises(MeritError) as caught:
        judge.gate(lock)
    assert str(caught.value) == (
        "reports/predictions.parquet: not of the rows of data/features/test.parquet; run 'merit evaluate' again"
    )


def test_without_a_package_the_command_that_makes_it_is_told(workdir: Path, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^model/manifest\.json: not found; 'merit package' makes it"):
        judge.gate(lock)


def test_differences_are_measured_in_deviations_of_the_target(prepare: Prepare, lock: Lock) -> None:
    prepare(lambda drawn: drawn * 4)
    target = pl.read_parquet(artifacts.TEST_ROWS)["late"].to_numpy()
    assert set(target) == {0.0, 4.0}
    assert judge._collect_evidence(lock, None).deviation == target.std()


def test_test_rows_of_one_class_are_inconclusive(prepare: Prepare, lock: Lock) -> None:
    prepare(np.zeros_like)
    assert judge._collect_evidence(lock, None).deviation == 1.0
    made = judge.gate(lock)
    assert made["verdict"] != "pass"
    assert made["metrics"]["candidate"]["roc_auc"]["value"] is None


def test_a_report_is_current_until_something_it_was_made_from_changes(
    prepare: Prepare, lock: Lock, make_lock: Callable[..., Lock]
) -> None:
    prepare()
    assert freshness.load_current_report(lock) is None
    made = judge.gate(lock)
    assert freshness.load_current_report(lock)["inputs"] == made["inputs"]
    assert freshness.load_current_report(make_lock(lambda values: values["gate"].update(size_mb=2.0))) is None
    assert freshness.load_current_report(make_lock(lambda values: values["serve"].update(port=4000))) is not None
    assert freshness.load_current_report(lock) is not None
    rewrite_manifest(artifacts.PACKAGE, parity=1e-6)
    assert freshness.load_current_report(lock) is None


def test_a_report_that_tells_of_another_change_is_not_current(
    prepare: Prepare, git_repo: Callable[..., str], lock: Lock, make_lock: Callable[..., Lock]
) -> None:
    prepare()
    locks.write_lock(lock)
    git_repo("add", "params.yaml")
    git_repo("commit", "--quiet", "-m", "x")
    judge.gate(lock)
    assert freshness.load_current_report(lock) is not None
    assert freshness.load_current_report(make_lock(lambda values: values["serve"].update(port=4000))) is None


def test_a_report_whose_change_was_too_long_for_it_is_current_all_the_same() -> None:
    line = {"key": "data.columns.g.min", "before": None, "after": "x" * 3000}
    changed = {"config": [line] * 6000, "rules": []}
    told = {"change": truncate_report({"change": changed})["change"]}
    assert freshness._contains_change(told, changed)
    assert not freshness._contains_change(told, {"config": [line | {"after": "y"}], "rules": []})


@pytest.mark.parametrize("path", [artifacts.GATE_MARKDOWN, artifacts.GATE_HTML])
def test_a_report_that_lacks_one_of_its_forms_is_not_current(prepare: Prepare, lock: Lock, path: Path) -> None:
    prepare()
    judge.gate(lock)
    path.unlink()
    assert freshness.load_current_report(lock) is None


def test_the_data_is_judged_before_anything_is_trained_on_it(workdir: Path, table: pl.DataFrame, lock: Lock) -> None:
    artifacts.write_table(artifacts.RAW, table.with_columns(late=(table["delay"] >= 10).cast(pl.Float64)).drop("delay"))
    artifacts.write_json(artifacts.DATA_REPORT, {"passed": True, "rows": 240, "violations": []})
    made = judge.gate(lock, scope="data")
    assert json.loads(artifacts.GATE_REPORT.read_text()) == json.loads(json.dumps(made))
    assert (made["verdict"], made["scope"], made["data"]["rows"]["now"]) == ("pass", "data", 240)
    assert {check["group"] for check in made["checks"]} == {"data"}
    assert (made["parts"], made["metrics"], made["slices"]) == (None, None, [])
    assert made["candidate"]["digest"] is None
    assert "data: drift" in artifacts.GATE_MARKDOWN.read_text(encoding="utf-8")
    assert "data: drift" in artifacts.GATE_HTML.read_text(encoding="utf-8")
    terminal.print_report(made)
    assert freshness.load_current_report(lock) is None, "the verdict on the data was taken for that on all"


def test_the_model_is_judged_without_its_data(prepare: Prepare, lock: Lock) -> None:
    prepare()
    artifacts.RAW.unlink()
    made = judge.gate(lock, scope="model")
    assert (made["scope"], made["data"]) == ("model", None)
    assert {check["group"] for check in made["checks"]} == {"model", "rules"}
    assert judge.gate(lock, scope="model")["inputs"] == made["inputs"]


def test_the_whole_gate_judges_both(prepare: Prepare, lock: Lock) -> None:
    prepare()
    made = judge.gate(lock)
    assert made["scope"] == "all"
    assert [check["name"] for check in made["checks"]][:2] == ["contract", "data: rows"]
    assert {check["group"] for check in made["checks"]} == {"data", "model", "rules"}
    pl.read_parquet(artifacts.RAW).with_columns(pl.col("weight") / 2).write_parquet(artifacts.RAW)
    assert freshness.load_current_report(lock) is None


def test_without_a_champion_the_report_has_no_comparison(prepare: Prepare, lock: Lock) -> None:
    prepare()
    made = judge.gate(lock)
    assert (made["metrics"]["champion"], made["metrics"]["difference"]) == (None, None)
    assert made["waivers"] == []
    assert {check["group"] for check in made["checks"]} == {"data", "model", "rules"}


def test_with_a_champion_the_report_says_how_the_candidate_differs(
    prepare: Prepare,
    make_lock: Callable[..., Lock],
    make_package: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare()
    rule = {"metric": "log_loss", "margin": 0.05}
    lock = make_lock(lambda values: values["gate"].update(slices=rule))
    measured = artifacts.read_json(artifacts.METRICS, "evaluate")
    shops = [{"column": "shop", "value": name, "rows": 80, "metrics": None} for name in ("north", "south", "nowhere")]
    artifacts.write_json(artifacts.METRICS, {**measured, "slices": shops})
    theirs = rival(Package.load(make_package(tmp_path / "theirs")))
    theirs.output_hashes[artifacts.PACKAGE.as_posix()] = "m.dir"
    monkeypatch.setattr(judge.champions, "find_champion", lambda *_: theirs)
    monkeypatch.setattr(judge.config_change, "compare_with_champion", lambda *_: {"config": [], "rules": []})
    made = judge.gate(lock)
    assert made["metrics"]["champion"] == made["metrics"]["candidate"]
    assert made["metrics"]["difference"]["roc_auc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    north, _, nowhere = made["slices"]
    assert north["difference"] == {"log_loss": {"value": 0.0, "low": 0.0, "high": 0.0}}
    assert north["verdict"] == "pass"
    assert (nowhere["difference"], nowhere["verdict"]) == (None, None)


def _waiving(name: str, until: str) -> Callable[[dict[str, Any]], None]:
    def edit(values: dict[str, Any]) -> None:
        values["gate"]["size_mb"] = 0.0001
        values["gate"]["waivers"] = {name: {"reason": "known since issue 12", "until": until}}

    return edit


def test_a_waived_check_does_not_count_until_its_waiver_ends(
    prepare: Prepare, make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare()
    lock = make_lock(_waiving("size", "2026-06-15"))
    monkeypatch.setattr(waivers, "get_utc_date", lambda: date(2026, 6, 15))
    made = judge.gate(lock)
    (size,) = [check for check in made["checks"] if check["name"] == "size"]
    assert (size["verdict"], size["waived"]) == ("fail", True)
    assert made["waivers"][0]["used"]
    others = {check["verdict"] for check in made["checks"] if not check["waived"]}
    assert made["verdict"] == ("pass" if others == {"pass"} else "inconclusive")
    assert freshness.load_current_report(lock) is not None
    monkeypatch.setattr(waivers, "get_utc_date", lambda: date(2026, 6, 16))
    assert freshness.load_current_report(lock) is None
    assert judge.gate(lock)["verdict"] == "fail"


def test_a_report_that_waives_what_conf_does_not_is_not_current(prepare: Prepare, lock: Lock) -> None:
    prepare()
    made = judge.gate(lock)
    forged = [{**check, "verdict": "fail", "waived": True} for check in made["checks"][:1]] + made["checks"][1:]
    artifacts.write_json(artifacts.GATE_REPORT, {**made, "checks": forged})
    assert freshness.load_current_report(lock) is None


@pytest.mark.parametrize("name", ["time: one row", "replay"])
def test_what_did_not_pass_on_a_busy_machine_is_judged_again(prepare: Prepare, lock: Lock, name: str) -> None:
    prepare()
    made = judge.gate(lock)
    slow = {**made["checks"][0], "name": name, "verdict": "inconclusive"}
    artifacts.write_json(artifacts.GATE_REPORT, {**made, "verdict": "inconclusive", "checks": [*made["checks"], slow]})
    assert freshness.load_current_report(lock) is None


@pytest.mark.parametrize("lock_folder", [workspace_lock.lock_stage, workspace_lock.lock_side_stage])
def test_a_gate_is_refused_while_a_stage_or_another_gate_works(
    prepare: Prepare, lock: Lock, lock_folder: Callable[[], AbstractContextManager[None]]
) -> None:
    prepare()
    judge.gate(lock)
    with (
        lock_folder(),
        pytest.raises(MeritError, match=r"a stage or a gate of merit \(process \d+\) works"),
    ):
        judge.gate(lock)
    assert artifacts.GATE_REPORT.is_file(), "the one that was refused has removed the other's report"


@pytest.mark.parametrize("name", ["baseline", "slices"])
def test_metrics_that_lack_a_part_are_told_in_one_line(prepare: Prepare, lock: Lock, name: str) -> None:
    prepare()
    measured = artifacts.read_json(artifacts.METRICS, "evaluate")
    artifacts.write_json(artifacts.METRICS, {key: value for key, value in measured.items() if key != name})
    with pytest.raises(MeritError, match=f"has no {name}; make it again with 'merit evaluate'$"):
        judge.gate(lock)
    assert not artifacts.GATE_REPORT.exists()
