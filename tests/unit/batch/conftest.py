import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merit import artifacts
from merit.batch import output, predict
from merit.batch.job import Job
from tests.conftest import rewrite_manifest

Run = Callable[..., predict.BatchResult]

SECTIONS = """data:
  columns:
    shop: {type: string, allowed: [north, south, west, ""]}
    kind: {type: integer, min: 1, max: 9}
    weight: {type: number, min: 0, max: 1}
"""


@pytest.fixture
def package(workdir: Path, make_package: Callable[..., Path]) -> Path:
    """The tiny package, which knows the ranges of its columns."""
    return make_package(Path("model"), sections=SECTIONS)


@pytest.fixture
def rows(table: pl.DataFrame) -> pl.DataFrame:
    """240 rows with a number each, and the columns that the tiny package takes."""
    return table.select("shop", "kind", "size", "weight").with_row_index("id")


@pytest.fixture
def run(package: Path) -> Run:
    """Score a file into `out`, 48 rows at a time unless told otherwise."""

    def score(source: str, place: str = "out", **how: Any) -> predict.BatchResult:
        told = {name: how.pop(name) for name in ("restart", "show_line") if name in how}
        asked = Job(package, output.parse_output(place), **{"chunk_rows": 48, **how})
        return predict.predict(
            predict.open_source(source, None, None), asked, report_progress=lambda done, total: None, **told
        )

    return score


def scored(place: str = "out") -> pl.DataFrame:
    """Return all parts."""
    return pl.read_parquet(f"{place}/*.parquet")


@pytest.fixture
def dialected(package: Path) -> Callable[..., None]:
    """Have the package say how the training file was laid out and how its columns are written."""

    def put(csv: dict[str, Any], **columns: dict[str, Any]) -> None:
        place = package / artifacts.SIGNATURE
        signature = json.loads(place.read_text())
        signature["inputs"] = [each | columns.get(each["name"], {}) for each in signature["inputs"]]
        artifacts.write_json(place, signature | {"csv": csv})
        rewrite_manifest(package)

    return put
