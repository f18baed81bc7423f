"""Loads a registered model in MLflow: provides the pyfunc flavor, which predicts DataFrames.

`merit.mlflow.model` writes this module's name into each MLmodel file, so it must not move. Rows are encoded as the JSON
of a request, so that reading, errors and predictions are identical to the endpoint's, bit for bit.
"""

import json
import math
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from merit.mlflow.model import ORIGIN, PACKAGE
from merit.scoring.package import Package
from merit.serving.app.answers import Answers
from merit.serving.app.rows import BadRows

ROWS = 10_000
"""Maximum rows scored at once."""


def _load_pyfunc(path: str) -> "Model":
    """Load the model from an MLflow model folder; MLflow calls this function by name."""
    return Model(Path(path))


class Model:
    """A package as an MLflow pyfunc model.

    Args:
        folder: an MLflow model folder, as `merit.mlflow.model.write` creates it.

    Raises:
        MeritError: the package does not match its manifest.
    """

    def __init__(self, folder: Path) -> None:
        package = Package.load(folder / Path(PACKAGE).name)
        told = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        self._answers = Answers(package, told["version"] or package.digest, ROWS)
        self._origin = self._answers.origin | {name: value for name, value in told.items() if value is not None}
        self._names = [each["name"] for each in package.inputs]

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return one row per input row: `prediction`, `probabilities` (multiclass task), model, version and commit.

        Args:
            model_input: the model's input columns; other columns are ignored.
            params: ignored; part of MLflow's interface.

        Raises:
            BadRows: rows are invalid; the text names row and column, as at the endpoint.
        """
        parts = [pd.DataFrame(self._predictions(rows)) for rows in self._bodies(model_input)]
        found = pd.concat(parts, ignore_index=True)
        found.index = model_input.index
        return found.assign(**self._origin)

    def _bodies(self, table: pd.DataFrame) -> Iterator[bytes]:
        """Yield JSON bodies with a limited number of rows each."""
        names = [name for name in self._names if name in table.columns]
        for start in range(0, max(1, len(table)), ROWS):
            part = table.iloc[start : start + ROWS]
            columns = [[_plain(value, name) for value in part[name].tolist()] for name in names]
            rows = zip(*columns, strict=True) if columns else [()] * len(part)
            yield msgspec.json.encode([dict(zip(names, values, strict=True)) for values in rows])

    def _predictions(self, body: bytes) -> dict[str, Any]:
        answers = self._answers
        found = answers.score(answers.rows.columns(body))
        if answers.classes is None:
            return {"prediction": found}
        return {"prediction": answers.guesses(found), "probabilities": found.tolist()}


def _plain(value: Any, name: str) -> Any:
    """Convert a value to its JSON type; pandas's missing values become null.

    Raises:
        BadRows: a number is infinite, which JSON can't represent.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(inner, name) for inner in value]
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and math.isinf(value):
        raise BadRows(f"column '{name}': a number is infinite; send finite numbers")
    if isinstance(value, str | bool | int):
        return value
    if pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, date) else value
