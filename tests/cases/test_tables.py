"""What must come of tables from outside: README.md tells how a case is written."""

import io
import json
import runpy
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from numpy.typing import NDArray

from merit import artifacts
from merit.batch import output, predict
from merit.batch.job import Job
from merit.config.compose import hash_source
from merit.config.schema import Lock
from merit.config.schema.data import Data, Features
from merit.data import contract
from merit.data.infer import infer
from merit.data.ingest import ingest
from merit.data.split import split_table
from merit.errors import MeritError
from merit.evaluation.baseline import run_baseline
from merit.evaluation.evaluate import evaluate
from merit.features.fit import features, fit_preprocessing
from merit.gate import judge
from merit.gate.checks.model import parity
from merit.gate.checks.model.source_rows import SourceRows, to_json_rows
from merit.gate.verdict import Verdict
from merit.packaging.package import _build_signature, package
from merit.scoring.package import Package, extract_columns
from merit.serving.app.served_model import ServedModel
from merit.serving.codec import decoder
from merit.training.train import train
from tests.conftest import rewrite_manifest, scoring_graph

TABLES = Path(__file__).with_name("tables")
HOW = Features.model_validate({"category": {"min_count": 1}, "number": {"clip": 6.0}})
Case = dict[str, Any]
MakeLock = Callable[..., Lock]


def cases() -> Iterator[Any]:
    """Give each case with the name of its file, in the order of names."""
    for place in sorted(TABLES.glob("*.yaml")):
        for case in yaml.safe_load(place.read_text(encoding="utf-8")):
            yield pytest.param(place.stem, case, id=f"{place.stem}: {case['name']}")


@pytest.mark.parametrize(("name", "case"), [*cases()])
def test_a_table_from_outside(name: str, case: Case, conf: Path, make_lock: MakeLock) -> None:
    if "asks" in case:
        with pytest.raises(MeritError, match=case["asks"]):
            _inferred(name, case)
        return
    values = _inferred(name, case)
    values["fingerprint"] = hash_source(values["source"])
    data = Data.model_validate(values)
    if "refused" in case:
        with pytest.raises(MeritError, match=case["refused"]):
            ingest(data)
        return
    table = ingest(data)
    assert table.height == case["rows"]
    for column, expected in case.get("read", {}).items():
        _check_column(table[column], expected)
    parts = split_table(table, data)
    lock = make_lock(lambda edited: _with_data(edited, values))
    package = _package(lock, parts["train"])
    _check_answers(data, package, parts["test"])
    if "train" in case:
        _check_training(lock, case["train"])


def test_every_table_has_a_case_and_every_case_a_table() -> None:
    made = {case.values[1].get("made_by") for case in cases()}
    tables = {path.stem for path in TABLES.iterdir() if path.suffix != ".yaml" and path.name not in made}
    assert tables | {"counts"} == {path.stem for path in TABLES.glob("*.yaml")}


def _inferred(name: str, case: Case) -> dict[str, Any]:
    """Return conf/data as infer guesses it and a person corrects it."""
    if script := case.get("made_by"):
        runpy.run_path(str(TABLES / script))
    place = next((path for path in TABLES.glob(f"{name}.*") if path.suffix in {".csv", ".parquet"}), None)
    path = f"{name}.csv" if place is None else shutil.copy(place, place.name)
    if "data" in case:
        return dict(case["data"])
    found = infer(str(path), name="case", **case["infer"])
    values = yaml.safe_load(Path("conf/data/case.yaml").read_text(encoding="utf-8"))
    told = [*found.notes, *found.warnings, *(guess.left_out for guess in found.columns if guess.left_out)]
    assert all(any(words in text for text in told) for words in case.get("says", [])), told
    _check_guess(values, case.get("inferred", {}))
    for key, edit in case.get("edits", {}).items():
        values[key] = values.get(key, {}) | edit if isinstance(edit, dict) else edit
    return dict(values)


def _check_guess(values: Any, expected: Any) -> None:
    """Check that what was guessed holds what is expected of it."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            _check_guess(values.get(key), value)
    else:
        assert values == expected


def _check_column(found: pl.Series, expected: dict[str, Any]) -> None:
    first = [value.isoformat() if isinstance(value, datetime) else value for value in found.to_list()]
    assert str(found.dtype) == expected["type"]
    assert first[: len(expected.get("first", []))] == expected.get("first", [])
    assert found.null_count() == expected.get("missing", 0)
    assert found.drop_nulls().n_unique() == expected.get("distinct", found.drop_nulls().n_unique())


def _with_data(values: dict[str, Any], data: dict[str, Any]) -> None:
    values["data"] = data
    values["features"] = HOW.model_dump()
    values["model"] = {"_target_": "merit.models.networks.MLP", "hidden": [16], "dropout": 0.0}
    values["optimizer"]["lr"] = 0.02
    values["trainer"] |= {"max_epochs": 20, "batch_size": 32, "patience": 20}
    values["evaluate"]["slices"] = []
    task = data["target"].get("task", "binary")
    if task != "binary":
        metric = {"multiclass": "accuracy", "regression": "r2"}[task]
        values["gate"] |= {"floors": {}, "champion": [], "baseline": {"metric": metric, "margin": 0.1}}
    if task == "regression":
        values["gate"]["calibration"] = None
        values["trainer"]["monitor"] = "rmse"


def _package(lock: Lock, rows: pl.DataFrame) -> Package:
    """Return a package of the plainest network: what is asked is how rows are read."""
    artifacts.PACKAGE.mkdir()
    graph = scoring_graph(fit_preprocessing(rows, lock.data.columns, HOW))
    (artifacts.PACKAGE / artifacts.GRAPH).write_bytes(graph.SerializeToString())
    signature = _build_signature(lock, rows)
    signature["outputs"][0].pop("classes", None)  # it gives one number, whatever is asked
    artifacts.write_json(artifacts.PACKAGE / artifacts.SIGNATURE, signature)
    (artifacts.PACKAGE / artifacts.PACKAGED_LOCK).write_text("{}", encoding="utf-8")
    rewrite_manifest(artifacts.PACKAGE)
    return Package.load(artifacts.PACKAGE)


def _check_answers(data: Data, package: Package, tested: pl.DataFrame) -> None:
    expected = package.predict(extract_columns(tested, package.graph.inputs))
    assert np.isfinite(expected).all()
    found = SourceRows(data, tested).get_rows()
    table = found.table.select(each["name"] for each in package.inputs)
    rows = json.dumps(to_json_rows(table, package)).encode()
    for answers in (
        np.array(ServedModel(package, "", len(tested)).predict(rows)["predictions"]),
        package.predict(_decoded(table, package)),
        _batch(data)[SourceRows(data, tested).find_positions().to_numpy()],
    ):
        assert np.array_equal(answers.astype(np.float32), expected)


def _decoded(table: pl.DataFrame, package: Package) -> dict[str, NDArray[Any]]:
    """Return the columns of a table that was sent to the endpoint."""
    body = io.BytesIO()
    table.write_parquet(body)
    limits = {"most_rows": 10**6, "most_bytes": 10**8}
    question = {"is": "decode", "form": "parquet", "body": body.getvalue(), "inputs": list(package.inputs), **limits}
    return {
        name: np.array(values, dtype=object) if isinstance(values, list) else np.frombuffer(values)
        for name, values in decoder._process_request(question)["columns"].items()
    }


def _batch(data: Data) -> NDArray[Any]:
    """Return the answers of `merit predict` to the file itself."""
    asked = Job(artifacts.PACKAGE, output.parse_output("scored"), keep=(), workers=1)
    outcome = predict.predict(
        predict.open_source(data.source.arguments["path"], None, None), asked, report_progress=lambda *_: None
    )
    assert outcome.rejected_rows == 0
    return pl.read_parquet("scored/*.parquet")["prediction"].to_numpy()


def _check_training(lock: Lock, least: dict[str, float]) -> None:
    shutil.rmtree(artifacts.PACKAGE)
    contract.validate(lock.data)
    features(lock.data, lock.features)
    train(lock)
    run_baseline(lock)
    made = evaluate(lock)
    package(lock)
    for metric, value in least.items():
        assert made["candidate"][metric]["value"] >= value
    evidence = judge._collect_evidence(lock, None)
    with parity.build_checks(evidence)["parity"] as check:
        assert check(evidence).verdict is Verdict.PASS, check(evidence)
