import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from merit.config.schema.data import Target
from merit.evaluation import curves


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


DRAW = np.random.default_rng(0)
CASES: dict[str, tuple[Target, Any, Any]] = {
    "binary": (Target(name="y", sql="y"), DRAW.integers(0, 2, 100).astype(float), DRAW.uniform(0, 1, 100)),
    "multiclass": (
        Target(name="y", sql="y", task="multiclass", classes=["a", "b", "c"]),
        DRAW.integers(0, 3, 100).astype(float),
        DRAW.dirichlet([1, 1, 1], 100),
    ),
    "regression": (Target(name="y", sql="y", task="regression"), DRAW.normal(0, 1, 100), DRAW.normal(0, 1, 100)),
}
FILES = {
    "binary": {"roc.csv", "precision_recall.csv", "calibration.csv"},
    "multiclass": {"confusion.csv", "calibration.csv"},
    "regression": {"predicted.csv", "errors.csv"},
}


@pytest.mark.parametrize("task", CASES)
def test_a_task_has_its_curves_of_both_models(tmp_path: Path, task: str) -> None:
    of, target, predicted = CASES[task]
    curves.write_curves(tmp_path / "plots", of, target, {"candidate": predicted, "baseline": predicted})
    assert {file.name for file in (tmp_path / "plots").iterdir()} == FILES[task]
    for file in (tmp_path / "plots").iterdir():
        rows = _read(file)
        assert {row["model"] for row in rows} == {"candidate", "baseline"}
        if "rows" in rows[0]:
            assert sum(int(row["rows"]) for row in rows) == 200


def test_errors_that_are_all_one_can_be_drawn(tmp_path: Path) -> None:
    of, target, _ = CASES["regression"]
    curves.write_curves(tmp_path / "plots", of, target, {"candidate": target})
    assert sum(float(row["share"]) for row in _read(tmp_path / "plots" / "errors.csv")) == pytest.approx(1.0)
