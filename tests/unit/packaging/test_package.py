import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
import yaml

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import Refused
from merit.packaging import package
from merit.scoring.package import OnnxGraph, extract_columns


@pytest.fixture
def graph(workdir: Path, make_package: Callable[..., Path]) -> Path:
    return make_package(Path("model")) / "model.onnx"


@pytest.fixture
def trained(graph: Path, table: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A network that predicts what the test says by `expected`; what `graph.join_graphs` was given by `given`."""
    found: dict[str, Any] = {"expected": _expected(graph, table)}
    joined = onnx.load(graph)
    shutil.rmtree(graph.parent)
    artifacts.write_table(artifacts.TEST_ROWS, table)
    artifacts.write_json(artifacts.FEATURES_REPORT, {"flags": [1]})
    artifacts.write_text(artifacts.WEIGHTS, "the weights")
    artifacts.write_text(artifacts.RAW, "the data")
    monkeypatch.setattr(package.build, "load_trained", lambda lock: "a predictor")
    monkeypatch.setattr(package.build, "read_part", lambda part: f"rows of {part}")
    monkeypatch.setattr(package.build, "predict_rows", lambda predictor, part: found["expected"])
    monkeypatch.setattr(package.graph, "join_graphs", lambda *given: found.update(given=given) or joined)
    return found


def test_a_package_holds_the_graph_the_weights_the_lock_and_what_it_takes(
    trained: dict[str, Any], table: pl.DataFrame, lock: Lock
) -> None:
    manifest = package.package(lock)
    assert trained["given"] == ("a predictor", "rows of test", [1])
    assert manifest == artifacts.read_json(artifacts.PACKAGE / artifacts.MANIFEST, "package")
    names = [artifacts.GRAPH, artifacts.PACKAGED_LOCK, artifacts.SIGNATURE, artifacts.PACKAGED_WEIGHTS]
    assert sorted(path.name for path in artifacts.PACKAGE.iterdir()) == sorted([*names, artifacts.MANIFEST])
    assert manifest["files"] == {name: artifacts.hash_file(artifacts.PACKAGE / name) for name in sorted(names)}
    assert manifest["parity"] == {"rows": 100, "greatest_difference": 0.0}
    assert (artifacts.PACKAGE / artifacts.PACKAGED_WEIGHTS).read_text() == "the weights"
    assert (artifacts.PACKAGE / artifacts.PACKAGED_LOCK).read_text() == package._render_sections(lock)
    signature = artifacts.read_json(artifacts.PACKAGE / artifacts.SIGNATURE, "package")
    assert signature == package._build_signature(lock, table)
    np.testing.assert_array_equal(_expected(artifacts.PACKAGE / artifacts.GRAPH, table), trained["expected"])


def test_a_graph_without_parity_leaves_the_former_package(trained: dict[str, Any], lock: Lock) -> None:
    former = package.package(lock)
    trained["expected"] = trained["expected"] + 1
    with pytest.raises(Refused, match="the export is wrong"):
        package.package(lock)
    assert artifacts.read_json(artifacts.PACKAGE / artifacts.MANIFEST, "package") == former


def _expected(graph: Path, rows: pl.DataFrame) -> np.ndarray:
    loaded = OnnxGraph(graph)
    return loaded.run(extract_columns(rows, loaded.inputs))[0]


def test_a_graph_that_answers_as_trained_has_parity(graph: Path, table: pl.DataFrame, lock: Lock) -> None:
    assert package._check_parity(lock, graph, table, _expected(graph, table)) == {
        "rows": 100,
        "greatest_difference": 0.0,
    }
    assert package._check_parity(lock, graph, table.head(7), _expected(graph, table.head(7)))["rows"] == 7


@pytest.mark.parametrize(("shift", "found"), [(2e-5, "2.00e-05"), (float("nan"), "nan")])
def test_a_graph_that_answers_otherwise_is_refused(
    graph: Path, table: pl.DataFrame, lock: Lock, shift: float, found: str
) -> None:
    expected = _expected(graph, table).astype(np.float64)
    expected[-1] += shift  # the last row is always among those compared
    with pytest.raises(Refused) as caught:
        package._check_parity(lock, graph, table, expected)
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith(f"package: the graph differs from the network by {found} on 100 test rows; ")
    assert "at most 1e-05 is allowed (package.parity.tolerance)" in str(caught.value)


@pytest.mark.parametrize("row", [0, -1])
def test_the_first_and_the_last_row_are_among_those_compared(
    graph: Path, table: pl.DataFrame, lock: Lock, row: int
) -> None:
    expected = _expected(graph, table).astype(np.float64)
    expected[row] -= 0.5
    with pytest.raises(Refused, match=r"differs from the network by 5\.00e-01 on 100 test rows"):
        package._check_parity(lock, graph, table, expected)


def test_a_regression_is_compared_in_deviations_of_its_target(graph: Path, table: pl.DataFrame, lock: Lock) -> None:
    artifacts.write_json(artifacts.FEATURES_REPORT, {"target": {"deviation": 4.0}})
    target = lock.data.target.model_copy(update={"task": "regression"})
    regression = lock.model_copy(update={"data": lock.data.model_copy(update={"target": target})})
    expected = _expected(graph, table).astype(np.float64) + 2e-5
    assert package._check_parity(regression, graph, table, expected)["greatest_difference"] == pytest.approx(5e-6)
    with pytest.raises(Refused, match=r"by 2\.00e-05 on"):
        package._check_parity(lock, graph, table, expected)  # a probability


def test_the_signature_lists_what_the_model_takes_with_a_whole_row_as_example(table: pl.DataFrame, lock: Lock) -> None:
    made = package._build_signature(lock, table)
    assert [(each["name"], each["type"], each["nullable"]) for each in made["inputs"]] == [
        ("shop", "string", False),
        ("kind", "integer", False),
        ("size", "number", True),
        ("weight", "number", False),
    ]
    assert made["example"] == {name: table.row(1, named=True)[name] for name in ("shop", "kind", "size", "weight")}
    assert None not in made["example"].values()
    incomplete = package._build_signature(lock, table.filter(pl.col("size").is_null()))["example"]
    assert incomplete == {name: table.row(0, named=True)[name] for name in incomplete}
    assert made["outputs"] == [
        {"name": "prediction", "type": "number", "task": "binary", "description": "probability that delay >= 10"}
    ]
    assert "csv" not in made


def test_the_packaged_sections_are_those_that_make_the_model(lock: Lock, make_lock: Callable[..., Lock]) -> None:
    other = make_lock(lambda values: values["gate"].update(size_mb=9.0) or values["serve"].update(port=1))
    assert package._render_sections(lock) == package._render_sections(other)
    assert package._render_sections(lock) != package._render_sections(make_lock(lambda values: values.update(seed=8)))
    named = make_lock(lambda values: values["data"]["columns"]["size"].update(description="Größe"))
    text = package._render_sections(named)
    assert "description: Größe\n" in text
    found = yaml.safe_load(text)
    assert list(found) == ["name", "seed", "data", "features", "model", "optimizer", "trainer"]
    assert found["model"] == {"_target_": "merit.models.networks.Linear"}  # by the names that params.yaml has


def test_the_manifest_of_the_same_inputs_is_the_same_at_every_commit(
    git_repo: Callable[..., str], graph: Path, lock: Lock
) -> None:
    artifacts.RAW.parent.mkdir()
    artifacts.RAW.write_bytes(b"rows")
    (graph.parent / artifacts.MANIFEST).unlink()
    made = []
    for text in ("1", "2"):
        Path("note").write_text(text)
        git_repo("add", "note")
        git_repo("commit", "--quiet", "--message", text)
        made.append(package._build_manifest(lock, graph.parent, {"rows": 1, "greatest_difference": 0.0}))
    Path("note").write_text("not committed")
    assert made == [package._build_manifest(lock, graph.parent, {"rows": 1, "greatest_difference": 0.0})] * 2
    assert not {"commit", "dirty"} & set(made[0])
    files = {path.name: artifacts.hash_file(path) for path in graph.parent.iterdir()}
    assert list(made[0]["files"].items()) == sorted(files.items())
    assert made[0]["params_sha256"] == files[artifacts.PACKAGED_LOCK]
    assert made[0]["data_sha256"] == artifacts.hash_file(artifacts.RAW)
    assert (made[0]["model"], made[0]["parity"]) == ("tiny", {"rows": 1, "greatest_difference": 0.0})
    assert made[0]["libraries"]["python"].count(".") == 1
