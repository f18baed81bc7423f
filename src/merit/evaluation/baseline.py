"""The baseline: gradient boosting on the same rows and columns, the bar that a network must justify itself against."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from merit.errors import MeritError

Arrays = dict[str, NDArray[Any]]

MAX_CODES = 255
"""What scikit-learn's boosting takes as a category; a larger vocabulary goes in as a number."""


def probabilities(parts: dict[str, Arrays], arguments: dict[str, float | int], seed: int) -> NDArray[np.float64]:
    """Return the baseline's probability of each test row, [rows].

    It learns from the training rows and stops early by the validation rows, as the network does.

    Args:
        parts: the arrays `codes`, `numbers` and `target` of train, validation and test.
        arguments: of HistGradientBoostingClassifier.
        seed: of its random draws.

    Raises:
        MeritError: it refuses its arguments.
    """
    try:
        return _fitted(parts, arguments, seed)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(f"evaluate.baseline: gradient boosting refuses its arguments or its rows: {reason}") from error


def _fitted(parts: dict[str, Arrays], arguments: dict[str, float | int], seed: int) -> NDArray[np.float64]:
    categories = parts["train"]["codes"].max(axis=0, initial=0) <= MAX_CODES
    model = HistGradientBoostingClassifier(
        categorical_features=[*categories, *[False] * parts["train"]["numbers"].shape[1]],
        early_stopping=True,
        random_state=seed,
        **arguments,
    )
    model.fit(
        _columns(parts["train"]),
        parts["train"]["target"],
        X_val=_columns(parts["validation"]),
        y_val=parts["validation"]["target"],
    )
    made: NDArray[np.float64] = model.predict_proba(_columns(parts["test"]))[:, 1]
    return made


def _columns(arrays: Arrays) -> NDArray[np.float32]:
    return np.hstack([arrays["codes"].astype(np.float32), arrays["numbers"]])
