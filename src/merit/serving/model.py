"""Provides the model of Python's face: `merit.load` returns it, and it predicts as the endpoint does."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.scoring.package import Package
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel
from merit.serving.codec.json_rows import DataFrame, encode_rows, encode_table

MAX_ROWS = 10_000
"""Maximum rows scored at once; more rows are scored in several steps."""
ROWS_ADVICE = "give a dict for one row, a list of dicts, or a DataFrame of Polars or pandas"

Rows = DataFrame | Mapping[str, Any] | list[Any] | tuple[Any, ...]
"""One row as a dict, several as a list of dicts or a DataFrame of Polars or pandas."""


class Model:
    """A model package, loaded and verified; `merit.load` returns one.

    Example:
        model = merit.load("model")
        model.predict({"shop": "north", "size": 48.5})        # array([0.73], dtype=float32)
        model.predict(pl.read_parquet("new.parquet"))         # one prediction per row

    Args:
        package: the verified package.
        version: its version, such as `v3`; None if it is not registered.
    """

    def __init__(self, package: Package, version: str | None = None) -> None:
        self._model = ServedModel(package, version or package.digest, MAX_ROWS)
        self._column_names = [column["name"] for column in package.inputs]

    @property
    def signature(self) -> dict[str, Any]:
        """The input columns, the outputs (of a multiclass task with their `classes`) and an example row."""
        return self._model.package.signature

    @property
    def manifest(self) -> dict[str, Any]:
        """The model's name, the hashes of its files, of its data and of its configuration, and its libraries."""
        return self._model.package.manifest

    @property
    def version(self) -> str:
        """The version in the registry, such as `v3`, or the package's hash if it is not registered."""
        return self._model.origin["version"]

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """Return the prediction of each row, to the bit what the endpoint answers.

        Rows are read as a request's are: a missing value is None, NaN, or a null of Polars or pandas; a time is a
        datetime or its text. A DataFrame may have columns that the model doesn't take; a dict may not, as at the
        endpoint, where such a key is most likely a misspelt one.

        Args:
            rows: a dict for one row, a list of dicts, or a DataFrame of Polars or pandas.

        Returns:
            float32: the probability of the positive class [rows] (binary), the probability of each class
            [rows, classes] in the order of the signature's `classes` (multiclass), or the value [rows] (regression).

        Raises:
            MeritError: there are no rows, or a row is invalid; the text names row and column.
        """
        model = self._model
        return np.concatenate([model.score(model.decoder.decode_columns(body)) for body in self._encode(rows)])

    def _encode(self, rows: Rows) -> Iterator[bytes]:
        """Return the JSON bodies of requests with these rows."""
        if isinstance(rows, Mapping):
            return encode_rows([rows], MAX_ROWS)
        if isinstance(rows, list | tuple):
            if wrong := [type(row).__name__ for row in rows if not isinstance(row, Mapping)]:
                raise BadRows(f"predict: found a row of the type {wrong[0]}; {ROWS_ADVICE}")
            return encode_rows(rows, MAX_ROWS)
        if not isinstance(rows, Sequence) and hasattr(rows, "__len__") and hasattr(rows, "columns"):
            return encode_table(rows, self._column_names, MAX_ROWS)
        collect_hint = "'collect' a LazyFrame first; " if hasattr(rows, "collect") else ""
        raise BadRows(f"predict: found the type {type(rows).__name__}; {collect_hint}{ROWS_ADVICE}")

    def __repr__(self) -> str:
        return f"<merit.Model {self.manifest['model']} {self.version}>"
