"""Loads a registered model in MLflow: provides the pyfunc flavor, which predicts DataFrames.

`merit.mlflow.model` writes this module's name into each MLmodel file, so it must not move. Rows are encoded as the JSON
of a request, so that reading, errors and predictions are identical to the endpoint's, bit for bit.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from merit.mlflow.model import ORIGIN_FILE, PACKAGE_PATH
from merit.scoring.package import Package
from merit.serving.app.served_model import ServedModel
from merit.serving.codec.json_rows import encode_table

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
        parts = [
            pd.DataFrame(self._predict_rows(rows)) for rows in encode_table(model_input, self._column_names, MAX_ROWS)
        ]
        result = pd.concat(parts, ignore_index=True)
        result.index = model_input.index
        return result.assign(**self._origin)

    def _predict_rows(self, body: bytes) -> dict[str, Any]:
        model = self._model
        predictions = model.score(model.decoder.decode_columns(body))
        if model.classes is None:
            return {"prediction": predictions}
        return {"prediction": model.select_classes(predictions), "probabilities": predictions.tolist()}
