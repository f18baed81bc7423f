"""What MLflow loads of a registered model: a function from a DataFrame to the endpoint's answers.

`merit.mlflow.model` names this module in each MLmodel, so it stays where it is. Rows go the way of a request's JSON:
the same reading, the same refusals, the same bits.
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
"""Rows that are scored at once."""


def _load_pyfunc(path: str) -> "Model":
    """Return the model in a folder of MLflow's; MLflow calls this by its name."""
    return Model(Path(path))


class Model:
    """A package, asked by DataFrames.

    Args:
        folder: a folder of MLflow's, as `merit.mlflow.model.write` makes it.

    Raises:
        MeritError: the package is not what its manifest says.
    """

    def __init__(self, folder: Path) -> None:
        package = Package.load(folder / Path(PACKAGE).name)
        told = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        self._answers = Answers(package, told["version"] or package.digest, ROWS)
        self._origin = self._answers.origin | {name: value for name, value in told.items() if value is not None}
        self._names = [each["name"] for each in package.inputs]

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return a row per row: `prediction`, of a multiclass task `probabilities`, and model, version and commit.

        Args:
            model_input: a column for each that the model takes; others are left alone.
            params: none are known.

        Raises:
            BadRows: as the endpoint refuses them; it says in which row and column.
        """
        parts = [pd.DataFrame(self._predictions(rows)) for rows in self._bodies(model_input)]
        found = pd.concat(parts, ignore_index=True)
        found.index = model_input.index
        return found.assign(**self._origin)

    def _bodies(self, table: pd.DataFrame) -> Iterator[bytes]:
        """Yield requests of so many rows at the most."""
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
    """Return a value as JSON has it; what pandas has for a missing one is null.

    Raises:
        BadRows: it is infinite, which JSON doesn't have.
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
