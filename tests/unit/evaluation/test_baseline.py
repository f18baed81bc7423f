from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from merit.errors import MeritError
from merit.evaluation import baseline

Parts = dict[str, dict[str, NDArray[Any]]]


@pytest.fixture
def parts() -> Parts:
    """Parts whose target depends on a category in no order and on a number."""
    draw = np.random.default_rng(0)

    def part(rows: int) -> dict[str, NDArray[Any]]:
        codes = draw.integers(0, 6, (rows, 1))
        numbers = draw.normal(0, 1, (rows, 2)).astype(np.float32)
        target = ((codes[:, 0] % 2) + numbers[:, 0] + draw.normal(0, 0.3, rows) > 0.5).astype(np.float32)
        return {"codes": codes, "numbers": numbers, "target": target}

    return {"train": part(600), "validation": part(200), "test": part(300)}


def test_the_baseline_gives_a_probability_per_test_row_that_is_worth_something(parts: Parts) -> None:
    found = baseline.probabilities(parts, {"max_iter": 20}, 7)
    assert found.shape == (300,)
    assert ((found >= 0) & (found <= 1)).all()
    assert roc_auc_score(parts["test"]["target"], found) > 0.9


def test_the_same_seed_gives_the_same_baseline(parts: Parts) -> None:
    first, again = (baseline.probabilities(parts, {"max_iter": 5}, 7) for _ in range(2))
    assert np.array_equal(first, again)


def test_the_baseline_never_sees_the_truth_of_the_test_rows(parts: Parts) -> None:
    first = baseline.probabilities(parts, {"max_iter": 5}, 7)
    parts["test"]["target"] = 1 - parts["test"]["target"]
    assert np.array_equal(baseline.probabilities(parts, {"max_iter": 5}, 7), first)


def test_a_vocabulary_that_is_too_large_for_scikit_learn_goes_in_as_a_number(parts: Parts) -> None:
    for part in parts.values():
        part["codes"] = part["codes"] * 100
    assert baseline.probabilities(parts, {"max_iter": 2}, 7).shape == (300,)


def test_data_without_categories_has_a_baseline_too(parts: Parts) -> None:
    for part in parts.values():
        part["codes"] = part["codes"][:, :0]
    assert baseline.probabilities(parts, {"max_iter": 2}, 7).shape == (300,)


@pytest.mark.parametrize(
    "arguments", [{"max_itre": 5}, {"max_iter": 0}, {"learning_rate": -1.0}, {"random_state": 3}, {"early_stopping": 1}]
)
def test_arguments_that_scikit_learn_refuses_are_told_in_one_line(parts: Parts, arguments: dict[str, float]) -> None:
    with pytest.raises(MeritError, match=r"evaluate\.baseline") as caught:
        baseline.probabilities(parts, arguments, 7)
    assert "\n" not in str(caught.value)
