from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.batch.scorer import BatchScorer
from merit.scoring.package import Package


@pytest.fixture
def multiclass(package: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """The tiny package as one that knows three classes, of which the place of the shop is the likeliest."""

    def predict(self: Package, columns: dict[str, Any]) -> Any:
        places = [["north", "south", "west"].index(shop) for shop in columns["shop"]]
        return np.eye(3, dtype=np.float32)[places] * np.float32(0.7) + np.float32(0.1)

    loaded = Package.load(package)
    loaded.signature["outputs"][0].update(task="multiclass", classes=["a", "b", "c"])
    monkeypatch.setattr(Package, "predict", predict)
    monkeypatch.setattr(Package, "load", lambda folder: loaded)
    return loaded


def test_a_class_has_the_probability_of_each_beside_it(multiclass: Package, rows: pl.DataFrame) -> None:
    found = BatchScorer(Path("model"), keep=["shop"]).score_chunk(rows, 0).rows
    assert found.columns == [
        "shop", "prediction", "probability_a", "probability_b", "probability_c", "model", "version", "commit"
    ]  # fmt: skip
    assert found["prediction"].to_list() == [{"north": "a", "south": "b", "west": "c"}[shop] for shop in rows["shop"]]
    assert found["probability_a"].max() == float(np.float32(0.7) + np.float32(0.1))
    assert BatchScorer(Path("model")).score_chunk(rows.clear(), 0).rows.schema["probability_c"] == pl.Float64


def test_places_are_told_of_the_whole_input(package: Path, rows: pl.DataFrame) -> None:
    bad = rows.with_columns(kind=pl.when(pl.col("id") == 5).then(0).otherwise("kind"))
    scored = BatchScorer(package).score_chunk(bad, 1000)
    assert scored.rejected.select("row", "reason").rows() == [(1005, "kind 0 is below 1")]
    assert scored.rows.height == 239
    assert 5 not in scored.rows["id"]


def test_every_row_of_a_chunk_may_be_rejected(package: Path, rows: pl.DataFrame) -> None:
    scored = BatchScorer(package).score_chunk(rows.with_columns(weight=pl.lit(None, pl.Float64)), 0)
    assert (scored.rows.height, scored.rejected.height) == (0, 240)
