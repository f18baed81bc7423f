"""The stage baseline: gradient boosting on the same rows and columns, for the network to be compared with."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from merit import artifacts
from merit.config.schema import Lock
from merit.errors import MeritError

MAX_CODES = 255
"""The largest category code that scikit-learn's boosting takes; a larger vocabulary is passed as a number."""


class Part(NamedTuple):
    """Features and target of the rows of a part.

    Attributes:
        inputs: codes int32 [rows, categories], numbers float32 [rows, numbers], then each array [rows, *shape].
        target: float32 [rows].
    """

    inputs: tuple[NDArray[Any], ...]
    target: NDArray[Any]


def baseline(lock: Lock) -> int:
    """Write the baseline's predictions for the test rows and return their number.

    A separate stage, so that a change of the network alone doesn't fit the baseline again.

    Raises:
        MeritError: scikit-learn refuses the arguments, or the arrays are missing.
    """
    parts = {name: _read(name) for name in ("train", "validation", "test")}
    made = predictions(parts, lock.data.target.task, lock.evaluate.baseline, lock.seed)
    artifacts.write_table(artifacts.BASELINE, pl.DataFrame({"baseline": made}))
    return len(made)


def _read(name: str) -> Part:
    """Read the arrays of a part, whose format `artifacts.part` defines."""
    arrays = artifacts.read_arrays(artifacts.part(name), "features")
    others = (arrays[f"array{place}"] for place in range(len(arrays) - 3))
    return Part((arrays["codes"], arrays["numbers"], *others), arrays["target"])


def predictions(parts: dict[str, Part], task: str, arguments: dict[str, float | int], seed: int) -> NDArray[np.float64]:
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
        return _fitted(parts, task, arguments, seed)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"evaluate.baseline: gradient boosting refuses its arguments or its rows: {reason}") from error


def _fitted(parts: dict[str, Part], task: str, arguments: dict[str, float | int], seed: int) -> NDArray[np.float64]:
    """Fit gradient boosting and return its predictions for the test rows."""
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
    """Return all inputs side by side, arrays flattened, float32 [rows, columns]."""
    return np.hstack([each.reshape(len(each), -1).astype(np.float32) for each in rows.inputs])
