import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from merit import artifacts
from merit.errors import MeritError
from merit.features.transform import NumberScale, Preprocessing, Vocabulary
from merit.scoring.package import OnnxGraph, Package, extract_columns, verify_package
from tests.conftest import rewrite_manifest

MakePackage = Callable[..., Path]


def _refusal(folder: Path) -> str:
    with pytest.raises(MeritError) as caught:
        Package.load(folder)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_package_that_is_what_its_manifest_says_is_loaded(workdir: Path, make_package: MakePackage) -> None:
    package = Package.load(make_package(Path("model")))
    assert package.manifest["model"] == "tiny"
    assert package.digest == artifacts.hash_package(Path("model"))
    assert [column["name"] for column in package.inputs] == ["shop", "kind", "size", "weight"]


def test_a_package_predicts_a_probability_per_row(workdir: Path, make_package: MakePackage) -> None:
    package = Package.load(make_package(Path("model")))
    rows = pl.DataFrame({"weight": [0.5, 0.75], "size": [50.0, None], "kind": [2, None], "shop": ["south", None]})
    found = package.predict(extract_columns(rows, package.graph.inputs))
    assert found.dtype == np.float32
    # The sum of codes and numbers: 2 + 2 + 0 + 0 + 0, and 0 + 0 + 0 + 1 (the flag) + 1.
    assert found.tolist() == pytest.approx([1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-2))])


def test_a_changed_file_is_refused(workdir: Path, make_package: MakePackage) -> None:
    folder = make_package(Path("model"))
    with (folder / artifacts.GRAPH).open("ab") as handle:
        handle.write(b"\0")
    assert _refusal(folder) == (
        "model: not the package its manifest describes: model.onnx was changed; make it again with 'merit run'"
    )


def test_a_missing_file_is_refused(workdir: Path, make_package: MakePackage) -> None:
    folder = make_package(Path("model"))
    (folder / artifacts.SIGNATURE).unlink()
    assert "signature.json is missing" in _refusal(folder)


@pytest.mark.parametrize("name", ["extra.txt", "deep/extra.txt"])
def test_an_extra_file_is_refused(workdir: Path, make_package: MakePackage, name: str) -> None:
    folder = make_package(Path("model"))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    assert f"{name} is not in the manifest" in _refusal(folder)


def test_all_that_differs_is_told(workdir: Path, make_package: MakePackage) -> None:
    folder = make_package(Path("model"))
    (folder / artifacts.SIGNATURE).unlink()
    (folder / artifacts.PACKAGED_WEIGHTS).write_bytes(b"other")
    (folder / "extra").write_text("x")
    assert "signature.json is missing; extra is not in the manifest; weights.safetensors was changed" in _refusal(
        folder
    )


def test_a_package_without_a_manifest_is_refused(workdir: Path, make_package: MakePackage) -> None:
    folder = make_package(Path("model"))
    (folder / artifacts.MANIFEST).unlink()
    assert _refusal(folder).startswith("model/manifest.json: not found; 'merit package' makes it")
    assert _refusal(Path("nowhere")).startswith("nowhere/manifest.json: not found")


@pytest.mark.parametrize("text", ["{}", '{"files": ["model.onnx"]}'])
def test_a_manifest_without_a_list_of_files_is_refused(workdir: Path, make_package: MakePackage, text: str) -> None:
    folder = make_package(Path("model"))
    (folder / artifacts.MANIFEST).write_text(text)
    assert _refusal(folder) == "model/manifest.json: has no list of files; make the package again with 'merit run'"


@pytest.mark.parametrize("text", ["[]", "null", "5"])
def test_a_manifest_that_is_no_object_is_refused(workdir: Path, make_package: MakePackage, text: str) -> None:
    folder = make_package(Path("model"))
    (folder / artifacts.MANIFEST).write_text(text)
    assert _refusal(folder) == "model/manifest.json: holds no JSON object; make it again with 'merit package'"


def test_a_manifest_that_is_not_json_is_refused(workdir: Path, make_package: MakePackage) -> None:
    folder = make_package(Path("model"))
    (folder / artifacts.MANIFEST).write_text("{")
    assert _refusal(folder).startswith("model/manifest.json: can't be read as JSON")


@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_file_that_is_no_graph_is_refused(workdir: Path, make_package: MakePackage, content: bytes) -> None:
    folder = make_package(Path("model"))
    (folder / artifacts.GRAPH).write_bytes(content)
    rewrite_manifest(folder)
    assert _refusal(folder).startswith("model/model.onnx: not a graph that ONNX Runtime can load (")


def test_a_graph_that_is_not_there_is_refused(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"^none\.onnx: not a graph that ONNX Runtime can load"):
        OnnxGraph(Path("none.onnx"))


def test_the_digest_names_the_content_of_every_file(workdir: Path, make_package: MakePackage) -> None:
    first, same, other = (
        Package.load(make_package(Path(name), sections=text)).digest
        for name, text in {"a": "x", "b": "x", "c": "y"}.items()
    )
    assert first == same != other
    assert verify_package(Path("a"))["files"][artifacts.PACKAGED_LOCK] == artifacts.hash_file(Path("a/params.yaml"))


def test_columns_are_taken_by_name_with_missing_values_as_the_graph_expects_them() -> None:
    rows = pl.DataFrame(
        {"n": [1, None], "extra": [0, 0], "s": ["a", None], "b": [True, None], "f": [float("nan"), 0.5]},
    )
    made = extract_columns(rows, {"s": "string", "n": "number", "b": "number", "f": "number"})
    assert list(made) == ["s", "n", "b", "f"]
    assert made["s"].tolist() == ["a", ""]
    assert made["s"].dtype == object
    for name, first in {"n": 1.0, "b": 1.0}.items():
        assert made[name].dtype == np.float64
        assert made[name][0] == first
        assert np.isnan(made[name][1])
    assert np.isnan(made["f"][0])


def test_a_column_may_be_called_like_a_pattern() -> None:
    table = pl.DataFrame({"*": [1.0], "^a.*$": ["x"], "ab": [2.0]})
    found = extract_columns(table, {"*": "number", "^a.*$": "string"})
    assert {name: values.tolist() for name, values in found.items()} == {"*": [1.0], "^a.*$": ["x"]}


def test_rows_without_a_column_are_refused() -> None:
    with pytest.raises(MeritError) as caught:
        extract_columns(pl.DataFrame({"a": [1]}), {"c": "number", "a": "number", "b": "string"})
    assert str(caught.value) == "the rows lack the columns b, c, which the model takes"


@pytest.mark.parametrize(("values", "kind"), [(["x"], "number"), ([1], "string")])
def test_a_column_of_another_type_is_refused(values: list[object], kind: str) -> None:
    with pytest.raises(MeritError, match="'a'"):
        extract_columns(pl.DataFrame({"a": values}), {"a": kind})


def test_a_graph_says_which_columns_it_takes(workdir: Path) -> None:
    transform = Preprocessing(
        [Vocabulary("s", "string", ["a"])], [NumberScale("x", 0.0, 1.0, 1.0, has_missing_flag=False)]
    )
    Path("t.onnx").write_bytes(transform.build_graph().SerializeToString())
    assert OnnxGraph(Path("t.onnx")).inputs == {"s": "string", "x": "number"}


def test_scoring_needs_neither_torch_nor_polars_to_be_imported() -> None:
    import subprocess
    import sys

    program = "import sys; import merit.scoring.package; assert not {'torch', 'lightning', 'polars'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_manifest_itself_is_not_listed(workdir: Path, make_package: MakePackage) -> None:
    folder = make_package(Path("model"))
    assert artifacts.MANIFEST not in json.loads((folder / artifacts.MANIFEST).read_text())["files"]
    assert verify_package(folder)["model"] == "tiny"


def test_a_row_has_one_answer_however_many_are_asked_with_it(workdir: Path) -> None:
    draw = np.random.default_rng(0)
    weights = numpy_helper.from_array(draw.normal(size=(4, 90, 128)).astype(np.float32), "weights")  # four networks
    nodes = [
        helper.make_node("Cast", ["x"], ["small"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["small", "first"], ["one"]),
        helper.make_node("MatMul", ["one", "weights"], ["four"]),
        helper.make_node("ReduceMean", ["four", "first"], ["y"], keepdims=0),
    ]
    put_in = [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["rows", 90])]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 128])]
    first = numpy_helper.from_array(np.array([0], dtype=np.int64), "first")
    made = helper.make_graph(nodes, "g", put_in, out, [weights, first])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "g.onnx")
    graph, rows = OnnxGraph(Path("g.onnx")), draw.normal(size=(8200, 90))
    (whole,) = graph.run({"x": rows})
    for size in (1, 2, 3, 5, 8, 13, 8191):
        parts = [graph.run({"x": rows[start : start + size]})[0] for start in range(0, min(8200, 10 * size), size)]
        found = np.concatenate(parts)
        assert (found == whole[: len(found)]).all()


def test_no_row_has_no_answer(workdir: Path, make_package: MakePackage) -> None:
    package = Package.load(make_package(Path("model")))
    none = pl.DataFrame(schema={"shop": pl.String, "kind": pl.Int64, "size": pl.Float64, "weight": pl.Float64})
    assert package.predict(extract_columns(none, package.graph.inputs)).shape == (0,)


def test_the_commit_is_what_the_environment_says_or_what_an_older_package_does(
    make_package: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_package(tmp_path / "model")
    assert Package.load(folder).commit == "c" * 40
    manifest = json.loads((folder / artifacts.MANIFEST).read_text())
    del manifest["commit"], manifest["dirty"]
    artifacts.write_json(folder / artifacts.MANIFEST, manifest)
    assert Package.load(folder).commit == "unknown"
    monkeypatch.setenv("MERIT_COMMIT", "abc-dirty")
    assert Package.load(folder).commit == "abc-dirty"
