import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from merit import artifacts
from merit.features.transform import Preprocessing, TimeEncoding, Vocabulary
from merit.mlflow import model as mlmodel
from merit.scoring.package import Package
from merit.serving import mlmodel as loader
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel
from merit.serving.codec import json_rows
from merit.serving.mlmodel import PyfuncModel
from tests.conftest import rewrite_manifest

ROWS = [
    {"shop": "north", "kind": 1, "size": 48.5, "weight": 0.25},
    {"shop": "nowhere", "kind": 3, "size": None, "weight": 1},
    {"shop": "west", "kind": 9, "size": 61, "weight": -0.125},
]


@pytest.fixture
def folder(workdir: Path, make_package: Callable[..., Path]) -> Path:
    """A folder of MLflow's around a package that no version names."""
    made = workdir / "mlflow"
    mlmodel.write_model(make_package(workdir / "model"), made, version=None, commit=None)
    return made


def _endpoint(rows: list[dict[str, Any]]) -> dict[str, Any]:
    package = Package.load(Path("model"))
    return ServedModel(package, package.digest, 100).predict(json.dumps(rows).encode())


def test_answers_are_the_endpoints_bit_for_bit(folder: Path) -> None:
    found = loader._load_pyfunc(str(folder)).predict(pd.DataFrame(ROWS))
    answer = _endpoint(ROWS)
    assert found["prediction"].tolist() == answer.pop("predictions")
    assert all(set(found[name]) == {value} for name, value in answer.items())


def test_a_version_is_told_as_what_it_was_registered_as(folder: Path) -> None:
    (folder / mlmodel.ORIGIN_FILE).write_text(mlmodel.format_origin("v3", "d" * 40))
    found = PyfuncModel(folder).predict(pd.DataFrame(ROWS[:1]))
    assert found[["model", "version", "commit"]].to_dict("records") == [
        {"model": "tiny", "version": "v3", "commit": "d" * 40}
    ]


def test_a_package_that_was_changed_is_not_loaded(folder: Path) -> None:
    (folder / "package" / artifacts.PACKAGED_WEIGHTS).write_bytes(b"others")
    with pytest.raises(Exception, match=r"weights\.safetensors was changed"):
        PyfuncModel(folder)
    assert (folder / "registered_model_meta").write_text("MLflow writes this beside MLmodel")


@pytest.mark.parametrize(
    "edit",
    [
        lambda table: table.assign(kind=table["kind"].astype("int32"), weight=table["weight"].astype("float32")),
        lambda table: table.assign(shop=table["shop"].astype("category"), size=table["size"].astype(object)),
        lambda table: table.assign(shop=table["shop"].astype("string"), size=table["size"].astype("Float64")),
        lambda table: table.assign(kind=table["kind"].astype(float), weight=[Decimal("0.25"), 1, np.float64(-0.125)]),
        lambda table: table.assign(other="not the model's")[["other", *reversed(table.columns)]],
    ],
    ids=["narrow", "objects", "extension types", "whole numbers as floats", "other columns"],
)
def test_columns_may_come_in_whatever_pandas_has_for_them(
    folder: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    found = PyfuncModel(folder).predict(edit(pd.DataFrame(ROWS)))
    assert found["prediction"].tolist() == _endpoint(ROWS)["predictions"]


def test_rows_keep_their_index_and_their_order_however_many_there_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "MAX_ROWS", 2)
    found = PyfuncModel(folder).predict(pd.DataFrame(ROWS, index=["a", "b", "a"]))
    assert list(found.index) == ["a", "b", "a"]
    assert found["prediction"].tolist() == _endpoint(ROWS)["predictions"]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"weight": float("inf")}, "column 'weight': a number is infinite; send finite numbers"),
        ({"weight": None}, "row 0: column 'weight'"),
        ({"kind": 1.5}, "row 0: column 'kind'"),
        ({"shop": 7}, "row 0: column 'shop'"),
        ({"weight": "much"}, "row 0: column 'weight'"),
    ],
)
def test_what_the_endpoint_refuses_is_refused_in_its_words(folder: Path, edit: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRows) as caught:
        PyfuncModel(folder).predict(pd.DataFrame([ROWS[0] | edit]))
    assert told in str(caught.value)


def test_a_table_without_rows_or_without_the_models_columns_is_refused(folder: Path) -> None:
    model = PyfuncModel(folder)
    with pytest.raises(BadRows, match="holds no row"):
        model.predict(pd.DataFrame(ROWS)[:0])
    with pytest.raises(BadRows, match="missing"):
        model.predict(pd.DataFrame({"other": [1, 2]}))


def test_times_and_arrays_are_read_as_json_has_them(workdir: Path, make_package: Callable[..., Path]) -> None:
    transform = Preprocessing([Vocabulary("shop", "string", ["a"])], [TimeEncoding("when", has_missing_flag=True)])
    model = make_package(workdir / "model", transform=transform)
    signature = artifacts.read_json(model / artifacts.SIGNATURE, "package")
    signature["inputs"][1]["type"] = "datetime"
    artifacts.write_json(model / artifacts.SIGNATURE, signature)
    rewrite_manifest(model)
    mlmodel.write_model(model, workdir / "mlflow", version=None, commit=None)
    moments = [datetime(2026, 1, 31, 15, 30), None, datetime(2026, 2, 1)]
    table = pd.DataFrame({"shop": "a", "when": pd.to_datetime(pd.Series(moments))})
    rows = [{"shop": "a", "when": each and each.isoformat()} for each in moments]
    loaded = PyfuncModel(workdir / "mlflow")
    assert loaded.predict(table)["prediction"].tolist() == _endpoint(rows)["predictions"]
    days = pd.DataFrame({"shop": ["a"], "when": [date(2026, 2, 1)]})
    assert loaded.predict(days)["prediction"].tolist() == _endpoint(rows[2:])["predictions"]
    assert json_rows.to_json_value(np.ones((2, 2)), "image") == [[1.0, 1.0], [1.0, 1.0]]
    assert json_rows.to_json_value([np.float32(0.5), pd.NA], "image") == [0.5, None]


def test_of_classes_the_likeliest_and_all_probabilities_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PyfuncModel(folder)
    model._model.classes = ["no", "yes"]
    monkeypatch.setattr(model._model, "score", lambda columns: np.array([[0.75, 0.25], [0.25, 0.75]], np.float32))
    found = model.predict(pd.DataFrame(ROWS[:2]))
    assert found["prediction"].tolist() == ["no", "yes"]
    assert found["probabilities"].tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_columns_are_typed_so_that_mlflow_refuses_nothing_that_the_endpoint_takes() -> None:
    inputs = [{"name": kind, "type": kind, "nullable": False} for kind in ("string", "boolean", "integer", "number")]
    inputs += [
        {"name": "count", "type": "integer", "nullable": True},
        {"name": "x", "type": "array", "nullable": False},
    ]
    assert [(each["name"], each["type"], each["required"]) for each in mlmodel.convert_columns(inputs)] == [
        ("string", "string", True),
        ("boolean", "boolean", True),
        ("integer", "long", True),
        ("number", "any", True),
        ("count", "any", False),
        ("x", "any", True),
    ]


@pytest.mark.parametrize(("classes", "types"), [(["a", "b"], ["string", "array"]), ([1, 2], ["long", "array"])])
def test_the_signature_tells_what_answers_hold(classes: list[Any], types: list[str]) -> None:
    found = mlmodel._build_output_columns({"name": "prediction", "classes": classes})
    assert [each["type"] for each in found] == [*types, "string", "string", "string"]


@pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")  # of its own, when it is imported
def test_mlflow_loads_the_folder_and_gives_the_endpoints_answers(folder: Path) -> None:
    import mlflow

    loaded = mlflow.pyfunc.load_model(str(folder))
    whole = pd.DataFrame([{**row, "size": 48} for row in ROWS])  # a `number` that pandas has as int64
    found = loaded.predict(whole.assign(target=1))
    assert found["prediction"].tolist() == _endpoint([{**row, "size": 48} for row in ROWS])["predictions"]
    schema = loaded.metadata.get_input_schema()
    assert schema.input_names() == ["shop", "kind", "size", "weight"]
    assert schema.required_input_names() == ["shop", "kind", "weight"]
    assert loaded.input_example.columns.tolist() == ["shop", "kind", "size", "weight"]
