"""The stage baseline: gradient boosting on the same rows and columns, for the network to be compared with."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError

MAX_CATEGORY_CODE = 255
"""The largest category code that scikit-learn's boosting takes; a larger vocabulary is passed as a number."""


class PartArrays(NamedTuple):
    """Features and target of the rows of a part.

    Attributes:
        inputs: codes int32 [rows, categories], numbers float32 [rows, numbers], then each array [rows, *shape].
        target: float32 [rows].
    """

    inputs: tuple[NDArray[Any], ...]
    target: NDArray[Any]


def run_baseline(lock: Lock) -> int:
    """Write the baseline's predictions for the test rows and return their number.

    A separate stage, so that a change of the network alone doesn't fit the baseline again.

    Raises:
        MeritError: scikit-learn refuses the arguments, or the arrays are missing.
    """
    parts = {name: _read_part(name) for name in ("train", "validation", "test")}
    predicted = predict_test_rows(parts, lock.data.target.task, lock.evaluate.baseline, lock.seed)
    artifacts.write_table(artifacts.BASELINE, pl.DataFrame({"baseline": predicted}))
    return len(predicted)


def _read_part(name: str) -> PartArrays:
    """Read the arrays of a part, whose format `artifacts.part` defines."""
    arrays = artifacts.read_arrays(artifacts.part_path(name), "features")
    array_inputs = (arrays[f"array{index}"] for index in range(len(arrays) - 3))
    return PartArrays((arrays["codes"], arrays["numbers"], *array_inputs), arrays["target"])


def predict_test_rows(
    parts: dict[str, PartArrays], task: str, arguments: dict[str, float | int], seed: int
) -> NDArray[np.float64]:
    """Return the baseline's prediction for each test row, [rows], or [rows, classes] for a multiclass task.

    Like the network, it is fitted on the training rows and stopped early on the validation rows.

    Args:
        parts: the rows of train, validation and test.
        task: binary, multiclass or regression.
        arguments: keyword arguments of HistGradientBoostingClassifier or, for a regression, of
            HistGradientBoostingRegressor.
        seed: the seed of its random draws.

    Raises:
        MeritError: scikit-learn refuses the arguments or the rows.
    """
    try:
        return _fit_and_predict(parts, task, arguments, seed)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"evaluate.baseline: gradient boosting refuses its arguments or its rows: {reason}") from error


def _fit_and_predict(
    parts: dict[str, PartArrays], task: str, arguments: dict[str, float | int], seed: int
) -> NDArray[np.float64]:
    """Fit gradient boosting and return its predictions for the test rows."""
    train, validation = parts["train"], parts["validation"]
    codes = train.inputs[0]
    is_category = codes.max(axis=0, initial=0) <= MAX_CATEGORY_CODE
    columns = _stack_columns(train)
    estimator_class = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    model = estimator_class(
        categorical_features=[*is_category, *[False] * (columns.shape[1] - codes.shape[1])],
        early_stopping=True,
        random_state=seed,
        **arguments,
    )
    model.fit(columns, train.target, X_val=_stack_columns(validation), y_val=validation.target)
    if task == "regression":
        return np.asarray(model.predict(_stack_columns(parts["test"])), dtype=np.float64)
    probabilities: NDArray[np.float64] = model.predict_proba(_stack_columns(parts["test"]))
    return probabilities if task == "multiclass" else probabilities[:, 1]


def _stack_columns(rows: PartArrays) -> NDArray[np.float32]:
    """Return all inputs side by side, arrays flattened, float32 [rows, columns]."""
    return np.hstack([each.reshape(len(each), -1).astype(np.float32) for each in rows.inputs])
