import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from merit import artifacts
from merit.config.schema import Lock
from merit.config.schema.column import Column
from merit.config.schema.data import Features
from merit.errors import MeritError
from merit.features.fit import features, fit_preprocessing
from merit.scoring.package import OnnxGraph, extract_columns


def _how(min_count: int = 1, clip: float = 6.0) -> Features:
    return Features.model_validate({"category": {"min_count": min_count}, "number": {"clip": clip}})


def _columns(**columns: dict) -> dict[str, Column]:
    return {name: Column.model_validate(column) for name, column in columns.items()}


@pytest.fixture
def raw(workdir: Path, table: pl.DataFrame) -> pl.DataFrame:
    """The tiny data as `ingest` leaves it."""
    made = table.with_columns(late=(pl.col("delay") >= 10).cast(pl.Float64)).drop("delay")
    artifacts.RAW.parent.mkdir(parents=True)
    made.write_parquet(artifacts.RAW)
    return made


def test_a_vocabulary_holds_each_value_seen_often_enough_in_order() -> None:
    train = pl.DataFrame({"shop": ["b", "b", "a", "a", "c", None, None, "", ""]})
    columns = _columns(shop={"type": "string", "feature": "category", "missing": 1.0})
    (category,) = fit_preprocessing(train, columns, _how(min_count=2)).categories
    assert category.values == ["a", "b"]
    assert category.cardinality == 3
    assert fit_preprocessing(train, columns, _how(min_count=1)).categories[0].values == ["a", "b", "c"]
    assert fit_preprocessing(train, columns, _how(min_count=3)).categories[0].values == []


def test_a_number_is_fitted_without_its_missing_values() -> None:
    train = pl.DataFrame({"x": [1.0, 3.0, None], "n": [2, 4, 6], "b": [True, False, True]})
    columns = _columns(
        x={"type": "number", "feature": "number", "missing": 0.5},
        n={"type": "integer", "feature": "number"},
        b={"type": "boolean", "feature": "number"},
    )
    x, n, b = fit_preprocessing(train, columns, _how(clip=2.5)).numbers
    assert (x.mean, x.deviation, x.clip) == (2.0, 1.0, 2.5)
    assert (n.mean, n.deviation) == (4.0, pytest.approx(np.std([2, 4, 6])))
    assert (b.mean, b.deviation) == (pytest.approx(2 / 3), pytest.approx(np.std([1, 0, 1])))


def test_only_a_column_that_may_lack_values_is_flagged() -> None:
    train = pl.DataFrame({"a": [1.0, None], "b": [1.0, 2.0]})
    columns = _columns(
        a={"type": "number", "feature": "number", "missing": 0.5}, b={"type": "number", "feature": "number"}
    )
    transform = fit_preprocessing(train, columns, _how())
    assert [number.has_missing_flag for number in transform.numbers] == [True, False]
    assert transform.width == 3


def test_a_constant_column_and_an_empty_one_divide_by_nothing(workdir: Path) -> None:
    train = pl.DataFrame({"same": [3.0, 3.0], "none": [None, None]}, schema={"same": pl.Float64, "none": pl.Float64})
    columns = _columns(
        same={"type": "number", "feature": "number"}, none={"type": "number", "feature": "number", "missing": 1.0}
    )
    transform = fit_preprocessing(train, columns, _how())
    assert [(number.mean, number.deviation) for number in transform.numbers] == [(3.0, 1.0), (0.0, 1.0)]
    Path("t.onnx").write_bytes(transform.build_graph().SerializeToString())
    graph = OnnxGraph(Path("t.onnx"))
    assert graph.run(extract_columns(train, graph.inputs))[1].tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]


def test_a_column_that_is_no_feature_is_left_out() -> None:
    train = pl.DataFrame({"x": [1.0, 2.0], "key": [1, 2]})
    transform = fit_preprocessing(
        train, _columns(x={"type": "number", "feature": "number"}, key={"type": "integer"}), _how()
    )
    assert [number.column for number in transform.numbers] == ["x"]
    assert transform.categories == []


def test_only_training_rows_are_learned_from(raw: pl.DataFrame, lock: Lock) -> None:
    features(lock.data, lock.features)
    before = artifacts.TRANSFORM.read_bytes()
    changed = raw.with_columns(
        shop=pl.when(pl.col("when").dt.month() > 2).then(pl.lit("new")).otherwise("shop"),
        weight=pl.when(pl.col("when").dt.month() > 2).then(1e6).otherwise("weight"),
    )
    changed.write_parquet(artifacts.RAW)
    features(lock.data, lock.features)
    assert artifacts.TRANSFORM.read_bytes() == before
    test = load_file(artifacts.part_path("test"))
    assert (test["codes"][:, 0] == 0).all()
    assert (test["numbers"][:, 2] == lock.features.number.clip).all()

    raw.with_columns(weight=pl.col("weight") * 2).write_parquet(artifacts.RAW)
    features(lock.data, lock.features)
    assert artifacts.TRANSFORM.read_bytes() != before


def test_the_arrays_fit_the_report_and_the_rows(raw: pl.DataFrame, lock: Lock) -> None:
    features(lock.data, lock.features)
    report = json.loads(artifacts.FEATURES_REPORT.read_text())
    assert report["categories"] == ["shop", "kind"]
    assert report["cardinalities"] == [4, 4]
    assert report["numbers"] == 3
    assert report["flags"] == [1]
    for name, part in report["parts"].items():
        arrays = load_file(artifacts.part_path(name))
        assert arrays["codes"].shape == (part["rows"], 2)
        assert arrays["codes"].dtype == np.int32
        assert arrays["numbers"].shape == (part["rows"], 3)
        assert arrays["numbers"].dtype == np.float32
        assert arrays["target"].dtype == np.float32
        assert float(arrays["target"].mean()) == pytest.approx(part["target"]["share"])
    assert sum(part["rows"] for part in report["parts"].values()) == raw.height
    assert report["parts"]["train"]["from"] == "2024-01-01 00:00:00"
    assert report["fitted"]["shop"] == {"vocabulary": 3}


def test_the_test_rows_are_in_the_order_of_their_arrays(raw: pl.DataFrame, lock: Lock) -> None:
    features(lock.data, lock.features)
    rows = pl.read_parquet(artifacts.TEST_ROWS)
    assert np.array_equal(rows["late"].to_numpy(), load_file(artifacts.part_path("test"))["target"])
    assert rows.equals(raw.filter(pl.col("when").dt.month() > 3))


def test_standardised_training_numbers_have_mean_0_and_deviation_1(raw: pl.DataFrame, lock: Lock) -> None:
    features(lock.data, lock.features)
    weight = load_file(artifacts.part_path("train"))["numbers"][:, 2]
    assert weight.mean() == pytest.approx(0, abs=1e-5)
    assert weight.std() == pytest.approx(1, abs=1e-5)


def test_the_same_rows_give_the_same_bytes(raw: pl.DataFrame, lock: Lock) -> None:
    features(lock.data, lock.features)
    first = {path.name: artifacts.hash_file(path) for path in artifacts.FEATURES.iterdir()}
    features(lock.data, lock.features)
    assert {path.name: artifacts.hash_file(path) for path in artifacts.FEATURES.iterdir()} == first
    assert len(first) == 6


def test_without_raw_data_the_command_that_makes_it_is_told(workdir: Path, lock: Lock) -> None:
    with pytest.raises(MeritError, match=r"^data/raw\.parquet: not found; 'merit ingest' makes it"):
        features(lock.data, lock.features)
