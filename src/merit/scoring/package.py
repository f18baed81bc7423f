"""Scoring: run an ONNX graph over columns, and load a package that is what its manifest says.

On the shared floor, for training arrays, parity, gates and serving must all run graphs in the one same way.
Imports ONNX Runtime and numpy, nothing heavier.
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

if TYPE_CHECKING:
    import polars as pl

CHUNK = 1024
"""Rows scored at once, a multiple of LANES: a network's numbers for them stay near the processor, and in memory."""
LANES = 4
"""Rows that ONNX Runtime's kernels take at once. The rest of a number of rows that is no multiple goes through other
kernels, which round otherwise: a row's answer would depend on how many rows are asked with it, in its last bits."""
_FIRST = np.zeros(LANES, dtype=np.intp)

Columns = Mapping[str, NDArray[Any]]
UNKNOWN = "unknown"
"""What answers name as the commit where nobody says it."""


class Graph:
    """An ONNX graph whose inputs are named columns: strings ("" is missing) or float64 (NaN is missing).

    Each is [rows], but for arrays, which are [rows, *shape]; a time is the seconds since 1970 of its clock.

    Args:
        path: the file.
        threads: processor threads that one run may use.
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
        # The session under the session: for one row, the checks of the public one take a sixth of the time.
        self._unchecked = getattr(self._session, "_sess", self._session).run
        self._outputs = [each.name for each in self._session.get_outputs()]
        self.inputs = {
            each.name: "string" if each.type == "tensor(string)" else "number" for each in self._session.get_inputs()
        }

    def run(self, columns: Columns) -> list[NDArray[Any]]:
        """Return the outputs for all rows of the columns, computed chunk by chunk."""
        rows = len(next(iter(columns.values())))
        if rows <= CHUNK:
            return self._run(columns, rows)
        chunks = [
            self._run(
                {name: values[start : start + CHUNK] for name, values in columns.items()}, min(CHUNK, rows - start)
            )
            for start in range(0, rows, CHUNK)
        ]
        return [np.concatenate(outputs) for outputs in zip(*chunks, strict=True)]

    def _run(self, columns: Columns, rows: int) -> list[NDArray[Any]]:
        """Return the outputs, computed on a multiple of LANES rows: the last row stands in for those that lack."""
        if not (lacking := -rows % LANES):
            return list(self._unchecked(self._outputs, dict(columns), None))
        places = _FIRST if rows == 1 else np.minimum(np.arange(rows + lacking), rows - 1)
        found = self._unchecked(self._outputs, {name: values[places] for name, values in columns.items()}, None)
        return [output[:rows] for output in found]


def columns_of(table: "pl.DataFrame", inputs: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return the columns that a graph takes, missing values as it expects them.

    Raises:
        MeritError: the table lacks one, or has it in another type than the graph takes.
    """
    import polars as pl

    lacking = sorted(set(inputs) - set(table.columns))
    if lacking:
        raise MeritError(f"the rows lack the columns {', '.join(lacking)}, which the model takes")
    schema = table.schema
    for name, kind in inputs.items():
        if (schema[name] == pl.String) != (kind == "string"):
            raise MeritError(f"the column '{name}' is {schema[name]}, but the model takes a {kind}")
    # In one go: a column by itself takes as long as a hundred do together.
    made = table.select(_taken(name, schema[name]) for name in inputs)
    return {name: made[name].to_numpy() for name in inputs}


def _taken(name: str, dtype: "pl.DataType") -> "pl.Expr":
    """Return a column as a graph takes it."""
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
    """A model as it ships: the graph, its signature, and where it comes from."""

    graph: Graph
    signature: dict[str, Any]
    manifest: dict[str, Any]
    digest: str

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> "Package":
        """Load a package whose every file is what the manifest says.

        Raises:
            MeritError: a file is missing, changed or extra, or is no graph or signature.
        """
        manifest = verified(folder)
        graph = Graph(folder / artifacts.GRAPH, threads=threads)
        signature = json.loads((folder / artifacts.SIGNATURE).read_text(encoding="utf-8"))
        return cls(graph, signature, manifest, artifacts.package_digest(folder))

    @property
    def inputs(self) -> Sequence[dict[str, Any]]:
        """The input columns of the signature: name, type, whether a value may be missing."""
        return list(self.signature["inputs"])

    @property
    def output(self) -> dict[str, Any]:
        """The output of the signature: its name and task, and the classes of a multiclass task."""
        return dict(self.signature["outputs"][0])

    @property
    def commit(self) -> str:
        """The commit that answers name: as MERIT_COMMIT has it, else as packages did that named their own."""
        return os.environ.get(artifacts.COMMIT) or str(self.manifest.get("commit") or UNKNOWN)

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Return the prediction of each row, float32 [rows], or [rows, classes] for a multiclass task."""
        return np.asarray(self.graph.run(columns)[0], dtype=np.float32)


def verified(folder: Path) -> dict[str, Any]:
    """Return a package's manifest, once every file is found to be as it says.

    Raises:
        MeritError: with all that differs.
    """
    manifest: dict[str, Any] = artifacts.read_json(folder / artifacts.MANIFEST, "package")
    listed = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(listed, dict):
        raise MeritError(
            f"{folder}/{artifacts.MANIFEST}: has no list of files; make the package again with 'merit run'"
        )
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {artifacts.MANIFEST}
    wrong = [f"{name} is missing" for name in sorted(set(listed) - found)]
    wrong += [f"{name} is not in the manifest" for name in sorted(found - set(listed))]
    wrong += [
        f"{name} was changed" for name in sorted(found & set(listed)) if artifacts.sha256(folder / name) != listed[name]
    ]
    if wrong:
        raise MeritError(
            f"{folder}: not the package its manifest describes: {'; '.join(wrong)}; make it again with 'merit run'"
        )
    return manifest
