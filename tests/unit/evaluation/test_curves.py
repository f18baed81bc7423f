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


def _write(tmp_path: Path, target: Target, true: Any, predicted: Any) -> dict[str, list[list[str]]]:
    """Return the rows of each file without the name of the one model."""
    curves.write_curves(tmp_path / "plots", target, np.array(true), {"candidate": np.array(predicted)})
    return {
        path.stem: [list(row.values())[1:] for row in _read(path)] for path in sorted((tmp_path / "plots").iterdir())
    }


def test_the_curves_of_two_classes_go_through_their_exact_points(tmp_path: Path) -> None:
    # From the highest probability: right, wrong, right, wrong.
    files = _write(tmp_path, CASES["binary"][0], [1.0, 0.0, 1.0, 0.0], [0.9, 0.7, 0.6, 0.2])
    roc, precision = ({float(x): float(y) for x, y in files[name]} for name in ("roc", "precision_recall"))
    assert len(files["roc"]) == len(files["precision_recall"]) == 200
    for curve in (roc, precision):
        assert (min(curve), max(curve)) == (0.0, 1.0)
    assert roc[min(roc, key=lambda x: abs(x - 0.25))] == 0.5
    assert roc[min(roc, key=lambda x: abs(x - 0.75))] == 1.0
    assert precision[min(precision, key=lambda x: abs(x - 0.25))] == 1.0
    assert precision[1.0] == pytest.approx(0.5)
    assert files["calibration"] == [["0.2", "0.0", "1"], ["0.6", "1.0", "1"], ["0.7", "0.0", "1"], ["0.9", "1.0", "1"]]


def test_the_confusion_names_the_true_class_before_the_predicted_one(tmp_path: Path) -> None:
    target = Target(name="y", sql="y", task="multiclass", classes=["a", "b"])
    files = _write(tmp_path, target, [0.0, 0.0, 1.0], [[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])
    assert files["confusion"] == [["a", "a", "1"], ["a", "b", "1"], ["b", "a", "0"], ["b", "b", "1"]]
    assert files["calibration"] == [["0.6", "0.0", "1"], ["0.8", "1.0", "1"], ["0.9", "1.0", "1"]]


def test_predicted_numbers_are_shown_in_20_bins_from_low_to_high_and_errors_in_40(tmp_path: Path) -> None:
    predicted = np.arange(60.0)[::-1]
    error = np.linspace(-1, 1, 60)
    files = _write(tmp_path, CASES["regression"][0], predicted + error, predicted)
    assert [int(rows) for *_, rows in files["predicted"]] == [3] * 20
    assert [float(value) for value, *_ in files["predicted"]] == [1.0 + 3 * bin_number for bin_number in range(20)]
    assert float(files["predicted"][0][1]) == pytest.approx((predicted + error)[-3:].mean())
    middles, shares = zip(*((float(x), float(y)) for x, y in files["errors"]), strict=True)
    assert len(middles) == 40
    assert (middles[0], middles[-1]) == pytest.approx((-0.98 + 0.98 / 40, 0.98 - 0.98 / 40))
    assert sum(shares) == pytest.approx(58 / 60, abs=1e-4)  # the outermost 1 % at each end are not drawn


def test_errors_that_are_all_one_stand_in_the_lowest_bin(tmp_path: Path) -> None:
    files = _write(tmp_path, CASES["regression"][0], [3.0] * 4, [1.0] * 4)
    assert files["errors"][0] == ["2.0125", "1.0"]
    assert len(files["predicted"]) == 4
