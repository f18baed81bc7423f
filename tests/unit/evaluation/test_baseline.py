from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.evaluation import baseline
from merit.evaluation.baseline import PartArrays

Parts = dict[str, PartArrays]


def _parts(task: str = "binary", *, categories: int = 1, arrays: int = 0, values: int = 6) -> Parts:
    """Return parts whose target depends on a category in no order and on a number."""
    draw = np.random.default_rng(0)

    def part(rows: int) -> PartArrays:
        codes = draw.integers(0, values, (rows, 1))
        numbers = draw.normal(0, 1, (rows, 2)).astype(np.float32)
        score = (codes[:, 0] % 2) + numbers[:, 0] + draw.normal(0, 0.3, rows)
        target = {"binary": score > 0.5, "multiclass": np.digitize(score, [0, 1]), "regression": score}[task]
        images = [draw.normal(0, 1, (rows, 3, 3)).astype(np.float32) for _ in range(arrays)]
        inputs = (codes[:, :categories], numbers, *images)
        return PartArrays(inputs, target.astype(np.float32))

    return {"train": part(600), "validation": part(200), "test": part(300)}


@pytest.fixture
def parts() -> Parts:
    """Parts of a binary task."""
    return _parts()


def test_the_baseline_gives_a_probability_per_test_row_that_is_worth_something(parts: Parts) -> None:
    found = baseline.predict_test_rows(parts, "binary", {"max_iter": 20}, 7)
    assert found.shape == (300,)
    assert ((found >= 0) & (found <= 1)).all()
    assert roc_auc_score(parts["test"].target, found) > 0.9


def test_the_stage_writes_a_prediction_for_each_test_row_from_all_inputs(workdir: Path, lock: Lock) -> None:
    parts = _parts(arrays=2)
    for name, part in parts.items():
        codes, numbers, *arrays = part.inputs
        named = {f"array{index}": array for index, array in enumerate(arrays)}
        artifacts.write_arrays(
            artifacts.part_path(name), {"codes": codes, "numbers": numbers, "target": part.target, **named}
        )
    assert baseline.run_baseline(lock) == 300
    expected = baseline.predict_test_rows(parts, "binary", lock.evaluate.baseline, lock.seed)
    assert artifacts.read_table(artifacts.BASELINE, "baseline")["baseline"].to_list() == expected.tolist()


def test_the_same_seed_gives_the_same_baseline(parts: Parts) -> None:
    first, again = (baseline.predict_test_rows(parts, "binary", {"max_iter": 5}, 7) for _ in range(2))
    assert np.array_equal(first, again)


def test_the_baseline_never_sees_the_truth_of_the_test_rows(parts: Parts) -> None:
    first = baseline.predict_test_rows(parts, "binary", {"max_iter": 5}, 7)
    parts["test"] = PartArrays(parts["test"].inputs, 1 - parts["test"].target)
    assert np.array_equal(baseline.predict_test_rows(parts, "binary", {"max_iter": 5}, 7), first)


def test_several_classes_have_a_probability_each() -> None:
    parts = _parts("multiclass")
    found = baseline.predict_test_rows(parts, "multiclass", {"max_iter": 20}, 7)
    assert found.shape == (300, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert accuracy_score(parts["test"].target, found.argmax(axis=1)) > 0.7


def test_a_number_has_a_baseline_in_its_unit() -> None:
    parts = _parts("regression")
    assert r2_score(parts["test"].target, baseline.predict_test_rows(parts, "regression", {"max_iter": 50}, 7)) > 0.8


@pytest.mark.parametrize(
    "parts",
    [_parts(values=400), _parts(categories=0), _parts(arrays=2)],
    ids=["large vocabulary", "no category", "arrays"],
)
def test_rows_of_any_form_have_a_baseline(parts: Parts) -> None:
    assert baseline.predict_test_rows(parts, "binary", {"max_iter": 2}, 7).shape == (300,)


@pytest.mark.parametrize(
    "arguments", [{"max_itre": 5}, {"max_iter": 0}, {"learning_rate": -1.0}, {"random_state": 3}, {"early_stopping": 1}]
)
def test_arguments_that_scikit_learn_refuses_are_told_in_one_line(parts: Parts, arguments: dict[str, float]) -> None:
    with pytest.raises(MeritError, match=r"evaluate\.baseline") as caught:
        baseline.predict_test_rows(parts, "binary", arguments, 7)
    assert "\n" not in str(caught.value)
