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

from merit.mlflow.model import ORIGIN_FILE, PACKAGE_PATH
from merit.scoring.package import Package
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel

MAX_ROWS = 10_000
"""Maximum rows scored at once."""


def _load_pyfunc(path: str) -> "PyfuncModel":
    """Load the model from an MLflow model folder; MLflow calls this function by name."""
    return PyfuncModel(Path(path))


class PyfuncModel:
    """A package as an MLflow pyfunc model.

    Args:
        folder: an MLflow model folder, as `merit.mlflow.model.write` creates it.

    Raises:
        MeritError: the package does not match its manifest.
    """

    def __init__(self, folder: Path) -> None:
        package = Package.load(folder / Path(PACKAGE_PATH).name)
        origin = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
        self._model = ServedModel(package, origin["version"] or package.digest, MAX_ROWS)
        self._origin = self._model.origin | {name: value for name, value in origin.items() if value is not None}
        self._column_names = [each["name"] for each in package.inputs]

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return one row per input row: `prediction`, `probabilities` (multiclass task), model, version and commit.

        Args:
            model_input: the model's input columns; other columns are ignored.
            params: ignored; part of MLflow's interface.

        Raises:
            BadRows: rows are invalid; the text names row and column, as at the endpoint.
        """
        parts = [pd.DataFrame(self._predict_rows(rows)) for rows in self._encode_bodies(model_input)]
        result = pd.concat(parts, ignore_index=True)
        result.index = model_input.index
        return result.assign(**self._origin)

    def _encode_bodies(self, table: pd.DataFrame) -> Iterator[bytes]:
        """Yield JSON bodies with a limited number of rows each."""
        names = [name for name in self._column_names if name in table.columns]
        for start in range(0, max(1, len(table)), MAX_ROWS):
            chunk = table.iloc[start : start + MAX_ROWS]
            columns = [[_to_json_value(value, name) for value in chunk[name].tolist()] for name in names]
            rows = zip(*columns, strict=True) if columns else [()] * len(chunk)
            yield msgspec.json.encode([dict(zip(names, values, strict=True)) for values in rows])

    def _predict_rows(self, body: bytes) -> dict[str, Any]:
        model = self._model
        predictions = model.score(model.decoder.decode_columns(body))
        if model.classes is None:
            return {"prediction": predictions}
        return {"prediction": model.select_classes(predictions), "probabilities": predictions.tolist()}


def _to_json_value(value: Any, name: str) -> Any:
    """Convert a value to its JSON type; pandas's missing values become null.

    Raises:
        BadRows: a number is infinite, which JSON can't represent.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_to_json_value(item, name) for item in value]
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and math.isinf(value):
        raise BadRows(f"column '{name}': a number is infinite; send finite numbers")
    if isinstance(value, str | bool | int):
        return value
    if pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, date) else value
