"""The baseline: gradient boosting on the same rows and columns, the bar that a network must justify itself against."""

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from merit.errors import MeritError
from merit.network import Rows

MAX_CODES = 255
"""What scikit-learn's boosting takes as a category; a larger vocabulary goes in as a number."""


def predictions(parts: dict[str, Rows], task: str, arguments: dict[str, float | int], seed: int) -> NDArray[np.float64]:
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


def _fitted(parts: dict[str, Rows], task: str, arguments: dict[str, float | int], seed: int) -> NDArray[np.float64]:
    train, validation = parts["train"], parts["validation"]
    codes = train.inputs[0].numpy()
    is_category = codes.max(axis=0, initial=0) <= MAX_CODES
    columns = _columns(train)
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    model = kind(
        categorical_features=[*is_category, *[False] * (columns.shape[1] - codes.shape[1])],
        early_stopping=True,
        random_state=seed,
        **arguments,
    )
    model.fit(columns, train.target.numpy(), X_val=_columns(validation), y_val=validation.target.numpy())
    if task == "regression":
        return np.asarray(model.predict(_columns(parts["test"])), dtype=np.float64)
    made: NDArray[np.float64] = model.predict_proba(_columns(parts["test"]))
    return made if task == "multiclass" else made[:, 1]


def _columns(rows: Rows) -> NDArray[np.float32]:
    """Return all inputs side by side, arrays unrolled, float32 [rows, columns]."""
    return np.hstack([each.flatten(1).numpy().astype(np.float32) for each in rows.inputs])
