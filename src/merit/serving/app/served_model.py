"""Provides the served model: turns a request body or columns into predictions with their model, version and commit."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.scoring.package import Columns, Package
from merit.serving.app.row_decoder import RowDecoder


class ServedModel:
    """Scores requests with a package and builds their responses.

    Args:
        package: the model package.
        version: the package's version in the registry, or its digest if it is not registered.
        max_rows: maximum rows per request.

    Attributes:
        decoder: decodes request bodies into columns.
        classes: the class labels of a multiclass task, else None.
        origin: model, version and commit, which every response contains.
    """

    def __init__(self, package: Package, version: str, max_rows: int) -> None:
        self.package = package
        self.decoder = RowDecoder(package, max_rows)
        self.classes: list[Any] | None = package.output.get("classes")
        self.origin: dict[str, str] = {
            "model": package.manifest["model"],
            "version": version,
            "commit": package.commit,
        }
        self._origin_json = b"," + msgspec.json.encode(self.origin)[1:]

    def predict(self, body: bytes) -> dict[str, Any]:
        """Return the response to a JSON body: `predictions`, one per row in order, with model, version and commit.

        A prediction is a probability (binary task), a number (regression) or the most likely class (multiclass); a
        multiclass response also contains `classes` and the `probabilities` of each.

        Raises:
            BadRows: the body is not valid.
        """
        return self.build_response(self.score(self.decoder.decode_columns(body)))

    def score(self, columns: Columns) -> NDArray[np.float32]:
        """Return the predictions, float32 [rows], or [rows, classes] for a multiclass task."""
        return self.package.predict(columns)

    def build_response(self, predictions: NDArray[np.float32]) -> dict[str, Any]:
        """Build the response content from the predictions of `score`."""
        if self.classes is None:
            return {"predictions": predictions.tolist(), **self.origin}
        probabilities = {"classes": self.classes, "probabilities": predictions.tolist()}
        return {"predictions": self.select_classes(predictions), **probabilities, **self.origin}

    def select_classes(self, predictions: NDArray[np.float32]) -> list[Any]:
        """Return the most likely class of each row."""
        assert self.classes is not None
        return [self.classes[index] for index in predictions.argmax(axis=1)]

    def encode_response(self, predictions: NDArray[np.float32]) -> bytes:
        """Return the response content as JSON."""
        if self.classes is None:
            return b'{"predictions":' + msgspec.json.encode(predictions.tolist()) + self._origin_json
        return msgspec.json.encode(self.build_response(predictions))
