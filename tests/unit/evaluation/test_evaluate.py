from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.evaluation import evaluate as stage
from merit.metrics import Resampling, estimate_intervals, prepare_metrics

ROWS = 60
TARGET = np.tile([0.0, 1.0], ROWS // 2)
CANDIDATE = np.where(TARGET == 1, 0.8, 0.3) + np.linspace(-0.15, 0.15, ROWS)
BASELINE = np.where(TARGET == 1, 0.6, 0.5) + np.linspace(-0.2, 0.2, ROWS)
SHOPS = ["north"] * 30 + ["south"] * 20 + [None] * 10


@pytest.fixture
def run(workdir: Any, monkeypatch: pytest.MonkeyPatch, lock: Lock) -> Callable[..., dict[str, Any]]:
    """Run the stage on 60 test rows, as a network with known predictions."""

    def evaluate(locked: Lock = lock, predictions: Any = CANDIDATE, baseline: Any = BASELINE) -> dict[str, Any]:
        artifacts.TEST_ROWS.parent.mkdir(parents=True)
        pl.DataFrame({"shop": SHOPS}, schema={"shop": pl.String}).write_parquet(artifacts.TEST_ROWS)
        artifacts.write_table(artifacts.BASELINE, pl.DataFrame({"baseline": baseline}))
        test_rows = SimpleNamespace(target=SimpleNamespace(numpy=lambda: TARGET))
        monkeypatch.setattr(stage.build, "read_part", {"test": test_rows}.__getitem__)
        monkeypatch.setattr(stage.build, "load_trained", lambda _: None)
        monkeypatch.setattr(stage.build, "predict_rows", lambda *_: predictions)
        return stage.evaluate(locked)

    return evaluate


def _estimate(lock: Lock, predictions: Any, rows: slice, count: int) -> dict[str, Any]:
    estimates = estimate_intervals(
        prepare_metrics("binary", TARGET[rows], predictions[rows]),
        Resampling(count, lock.evaluate.confidence, lock.seed),
    )
    return {name: each.as_json() for name, each in estimates.items()}


def test_each_model_and_each_slice_is_measured_on_its_own_rows(
    run: Callable[..., dict[str, Any]], make_lock: Callable[..., Lock]
) -> None:
    lock = make_lock(lambda values: values["evaluate"].update(slice_resamples=120, slice_min_rows=20))
    report = run(lock)
    assert report == {
        "rows": 60,
        "blocks": {"of": "rows", "count": 60},
        "confidence": 0.95,
        "candidate": _estimate(lock, CANDIDATE, slice(60), 100),
        "baseline": _estimate(lock, BASELINE, slice(60), 100),
        "slices": [
            {"column": "shop", "value": None, "rows": 10, "blocks": 10, "target_mean": 0.5, "metrics": None},
            {
                "column": "shop",
                "value": "north",
                "rows": 30,
                "blocks": 30,
                "target_mean": 0.5,
                "metrics": _estimate(lock, CANDIDATE, slice(30), 120),
            },
            {
                "column": "shop",
                "value": "south",
                "rows": 20,
                "blocks": 20,
                "target_mean": 0.5,
                "metrics": _estimate(lock, CANDIDATE, slice(30, 50), 120),
            },
        ],
    }
    assert artifacts.read_json(artifacts.METRICS, "evaluate") == report


def test_the_predictions_are_written_beside_the_target_in_the_order_of_the_rows(
    run: Callable[..., dict[str, Any]],
) -> None:
    run()
    scores = artifacts.read_table(artifacts.PREDICTIONS, "evaluate")
    assert scores.to_dict(as_series=False) == {
        "target": TARGET.tolist(),
        "prediction": CANDIDATE.tolist(),
        "baseline": BASELINE.tolist(),
    }
    assert {path.name for path in artifacts.PLOTS.iterdir()} == {"roc.csv", "precision_recall.csv", "calibration.csv"}


@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_a_network_that_gives_no_number_is_refused_with_the_count_of_such_rows(
    run: Callable[..., dict[str, Any]], gap: float
) -> None:
    with pytest.raises(MeritError, match=r"^evaluate: the network gives no number for 2 of 60 test rows; train it"):
        run(predictions=np.r_[[gap, gap], CANDIDATE[2:]])
    assert not artifacts.METRICS.exists()


def test_a_row_with_one_class_that_has_no_number_counts_once() -> None:
    assert stage._require_finite(np.full((3, 2), 0.5)).shape == (3, 2)
    with pytest.raises(MeritError, match="gives no number for 1 of 3 test rows"):
        stage._require_finite(np.array([[0.5, np.nan], [0.5, 0.5], [0.5, 0.5]]))


def test_a_baseline_of_other_rows_is_refused(run: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(MeritError, match=r"of 59 rows, where the test part has 60; make it again with 'merit base"):
        run(baseline=BASELINE[:-1])


def test_the_report_names_the_blocks_of_the_test_rows_and_of_each_slice(
    run: Callable[..., dict[str, Any]], make_lock: Callable[..., Lock]
) -> None:
    lock = make_lock(lambda values: values["evaluate"].update(blocks={"by": "column", "column": "shop"}))
    report = run(lock)
    assert report["blocks"] == {"of": "values of shop", "count": 12}  # two shops, and ten rows without one
    assert [each["blocks"] for each in report["slices"]] == [10, 1, 1]
