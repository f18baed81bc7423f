"""Runs ONNX graphs over columns, and loads packages after verifying them against their manifest.

A shared module: features, package, gate and serving must all run graphs in the same way. Imports ONNX Runtime and
numpy, nothing heavier.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from merit import artifacts
from merit.errors import MeritError
from merit.scoring import onnxruntime_adapter

if TYPE_CHECKING:
    import polars as pl

CHUNK_ROWS = 1024
"""Rows per run, a multiple of LANES: keeps a network's intermediate values in the cache, and bounds memory."""
LANES = 4
"""Rows that ONNX Runtime's kernels process together. The remainder of a batch that is no multiple goes through other
kernels, which round differently: the last bits of a row's prediction would depend on the size of its batch."""
_FIRST_ROW = np.zeros(LANES, dtype=np.intp)

Columns = Mapping[str, NDArray[Any]]
UNKNOWN_COMMIT = "unknown"
"""The commit named in responses if neither the environment nor the package names one."""


class OnnxGraph:
    """An ONNX graph whose inputs are named columns: strings ("" is missing) or float64 (NaN is missing).

    A column is [rows], an array column [rows, *shape]; a time is its wall-clock time in seconds since 1970.

    Args:
        path: the ONNX file.
        threads: the number of CPU threads of one run.

    Attributes:
        inputs: the type of each input by its name: `string` or `number`.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types for one bad file
            raise MeritError(
                f"{path}: not a graph that ONNX Runtime can load ({' '.join(str(error).split())[:200]})"
            ) from error
        self._unchecked = onnxruntime_adapter.get_run_function(self._session)
        self._outputs = [each.name for each in self._session.get_outputs()]
        self.inputs = {
            each.name: "string" if each.type == "tensor(string)" else "number" for each in self._session.get_inputs()
        }

    def run(self, columns: Columns) -> list[NDArray[Any]]:
        """Return the outputs for all rows of the columns, computed chunk by chunk."""
        rows = len(next(iter(columns.values())))
        if rows <= CHUNK_ROWS:
            return self._run_padded(columns, rows)
        chunks = [
            self._run_padded(
                {name: values[first_row : first_row + CHUNK_ROWS] for name, values in columns.items()},
                min(CHUNK_ROWS, rows - first_row),
            )
            for first_row in range(0, rows, CHUNK_ROWS)
        ]
        return [np.concatenate(outputs) for outputs in zip(*chunks, strict=True)]

    def _run_padded(self, columns: Columns, rows: int) -> list[NDArray[Any]]:
        """Return the outputs, computed on a multiple of LANES rows: copies of the last row pad the batch."""
        if not (padding := -rows % LANES):
            return list(self._unchecked(self._outputs, dict(columns), None))
        row_numbers = _FIRST_ROW if rows == 1 else np.minimum(np.arange(rows + padding), rows - 1)
        outputs = self._unchecked(self._outputs, {name: values[row_numbers] for name, values in columns.items()}, None)
        return [output[:rows] for output in outputs]


def extract_columns(table: "pl.DataFrame", inputs: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return the columns that a graph takes, with missing values as "" or NaN.

    Raises:
        MeritError: the table lacks a column, or has it with a type that the graph doesn't take.
    """
    import polars as pl

    missing = sorted(set(inputs) - set(table.columns))
    if missing:
        raise MeritError(f"the rows lack the columns {', '.join(missing)}, which the model takes")
    schema = table.schema
    for name, kind in inputs.items():
        if (schema[name] == pl.String) != (kind == "string"):
            raise MeritError(f"the column '{name}' is {schema[name]}, but the model takes a {kind}")
    # One query: a column on its own takes as long as a hundred together.
    converted = table.select(_convert_column(name, schema[name]) for name in inputs)
    return {name: converted[name].to_numpy() for name in inputs}


def _convert_column(name: str, dtype: "pl.DataType") -> "pl.Expr":
    """Return the expression that converts a column to a graph's input."""
    import polars as pl
    from polars import selectors

    value = selectors.by_name(name).as_expr()  # pl.col would take '*' and '^...$' for patterns
    if dtype == pl.String:
        return value.fill_null("")
    if isinstance(dtype, pl.Array):
        return value
    if dtype.is_temporal():
        value = value.cast(pl.Datetime("us")).cast(pl.Int64) / 1e6
    return value.cast(pl.Float64).fill_null(float("nan"))


@dataclass(frozen=True)
class Package:
    """A packaged model: the graph, its signature, and its manifest.

    Example:
        package = Package.load(Path("model"))
        predictions = package.predict(extract_columns(table, package.graph.inputs))  # table: raw columns, in Polars

    Attributes:
        graph: the graph from raw columns to predictions.
        signature: inputs, outputs and an example row, as signature.json has them.
        manifest: hashes, origins and library versions, as manifest.json has them.
        digest: the hash that identifies the package in responses.
    """

    graph: OnnxGraph
    signature: dict[str, Any]
    manifest: dict[str, Any]
    digest: str

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> "Package":
        """Load a package after verifying its files against the manifest.

        Raises:
            MeritError: a file is missing, changed or not in the manifest, or the graph can't be loaded.
        """
        manifest = verify_package(folder)
        graph = OnnxGraph(folder / artifacts.GRAPH, threads=threads)
        signature = json.loads((folder / artifacts.SIGNATURE).read_text(encoding="utf-8"))
        return cls(graph, signature, manifest, artifacts.hash_package(folder))

    @property
    def inputs(self) -> Sequence[dict[str, Any]]:
        """The input columns of the signature, each with its name, type and whether it is nullable."""
        return list(self.signature["inputs"])

    @property
    def output(self) -> dict[str, Any]:
        """The output of the signature, with its name and task, and the classes of a multiclass task."""
        return dict(self.signature["outputs"][0])

    @property
    def commit(self) -> str:
        """The commit for responses: MERIT_COMMIT, else the manifest's (older packages have one), else `unknown`."""
        return os.environ.get(artifacts.COMMIT_VARIABLE) or str(self.manifest.get("commit") or UNKNOWN_COMMIT)

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Return the prediction of each row, float32 [rows], or [rows, classes] for a multiclass task."""
        return np.asarray(self.graph.run(columns)[0], dtype=np.float32)


class PackageError(MeritError):
    """Files of a package that are not those of its manifest.

    Attributes:
        reason: what is wrong, without the folder and without what to do, which depend on where the package is from.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def verify_package(folder: Path) -> dict[str, Any]:
    """Verify the files of a package by the hashes in its manifest, and return the manifest.

    Raises:
        PackageError: files are missing, changed or not in the manifest; the message lists all of them.
        MeritError: there is no manifest, or it can't be read.
    """
    manifest: dict[str, Any] = artifacts.read_json(folder / artifacts.MANIFEST, "package")
    listed = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(listed, dict):
        raise PackageError(
            f"{folder}/{artifacts.MANIFEST}: has no list of files; make the package again with 'merit run'",
            "a package whose manifest has no list of files",
        )
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        artifacts.MANIFEST
    }
    problems = [f"{name} is missing" for name in sorted(set(listed) - present)]
    problems += [f"{name} is not in the manifest" for name in sorted(present - set(listed))]
    problems += [
        f"{name} was changed"
        for name in sorted(present & set(listed))
        if artifacts.hash_file(folder / name) != listed[name]
    ]
    if problems:
        reason = f"not the package its manifest describes: {'; '.join(problems)}"
        raise PackageError(f"{folder}: {reason}; make it again with 'merit run'", reason)
    return manifest
