"""The baseline: gradient boosting on the same rows and columns, the bar that a network must justify itself against."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError

MAX_CODES = 255
"""What scikit-learn's boosting takes as a category; a larger vocabulary goes in as a number."""


class Part(NamedTuple):
    """Rows of a part: what is known of each, and what is to be predicted.

    Attributes:
        inputs: codes int32 [rows, categories], numbers float32 [rows, numbers], then each array [rows, *shape].
        target: float32 [rows].
    """

    inputs: tuple[NDArray[Any], ...]
    target: NDArray[Any]


def baseline(lock: Lock) -> int:
    """Write the baseline's predictions of the test rows; return how many those are.

    It is a stage of its own, so that what changes the network alone doesn't fit it again.

    Raises:
        MeritError: it refuses its arguments, or the arrays are not there.
    """
    parts = {name: _read(name) for name in ("train", "validation", "test")}
    made = predictions(parts, lock.data.target.task, lock.evaluate.baseline, lock.seed)
    artifacts.write_table(artifacts.BASELINE, pl.DataFrame({"baseline": made}))
    return len(made)


def _read(name: str) -> Part:
    """Return the rows of a part, in the form that `artifacts.part` tells."""
    arrays = artifacts.read_arrays(artifacts.part(name), "features")
    others = (arrays[f"array{place}"] for place in range(len(arrays) - 3))
    return Part((arrays["codes"], arrays["numbers"], *others), arrays["target"])


def predictions(parts: dict[str, Part], task: str, arguments: dict[str, float | int], seed: int) -> NDArray[np.float64]:
    """Return the baseline's prediction of each test row, [rows], or [rows, classes] for a multiclass task.

    It learns from the training rows and stops early by the validation rows, as the network does.

    Args:
        parts: the rows of train, validation and test.
        task: binary, multiclass or regression.
        arguments: of HistGradientBoostingClassifier or, for a regression, HistGradientBoostingRegressor.
        seed: of its random draws.

    Raises:
        MeritError: it refuses its arguments.
    """
    try:
        return _fitted(parts, task, arguments, seed)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"evaluate.baseline: gradient boosting refuses its arguments or its rows: {reason}") from error


def _fitted(parts: dict[str, Part], task: str, arguments: dict[str, float | int], seed: int) -> NDArray[np.float64]:
    train, validation = parts["train"], parts["validation"]
    codes = train.inputs[0]
    is_category = codes.max(axis=0, initial=0) <= MAX_CODES
    columns = _columns(train)
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    model = kind(
        categorical_features=[*is_category, *[False] * (columns.shape[1] - codes.shape[1])],
        early_stopping=True,
        random_state=seed,
        **arguments,
    )
    model.fit(columns, train.target, X_val=_columns(validation), y_val=validation.target)
    if task == "regression":
        return np.asarray(model.predict(_columns(parts["test"])), dtype=np.float64)
    made: NDArray[np.float64] = model.predict_proba(_columns(parts["test"]))
    return made if task == "multiclass" else made[:, 1]


def _columns(rows: Part) -> NDArray[np.float32]:
    """Return all inputs side by side, arrays unrolled, float32 [rows, columns]."""
    return np.hstack([each.reshape(len(each), -1).astype(np.float32) for each in rows.inputs])
