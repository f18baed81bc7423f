"""Scores test rows by the champion and by the networks of other seeds, and tells whether two models are the same."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.errors import MeritError
from merit.scoring.package import OnnxGraph, Package, extract_columns


def predict_champion(champion: Package, candidate: Package, rows: pl.DataFrame) -> NDArray[np.float32]:
    """Return the champion's predictions of the candidate's test rows.

    Raises:
        MeritError: the champion predicts another target, or needs columns that these rows don't have.
    """
    candidate_output, champion_output = candidate.output, champion.output
    if any(candidate_output.get(name) != champion_output.get(name) for name in ("task", "classes")):
        raise MeritError(
            f"it predicts something else ({champion_output.get('task')}, "
            f"{champion_output.get('classes', 'no classes')})"
        )
    candidate_description, champion_description = (
        " ".join(str(output.get("description")).split()) for output in (candidate_output, champion_output)
    )
    if candidate_description != champion_description:
        raise MeritError(f"it predicts something else ({champion_description})")
    return champion.predict(extract_columns(rows, champion.graph.inputs))


def predict_seeds(graphs: Sequence[Path], rows: pl.DataFrame) -> list[NDArray[np.float32]]:
    """Return the predictions of the rows by each of the graphs of a stage `seeds`.

    Raises:
        MeritError: a graph can't be loaded, or the rows lack a column that it takes.
    """

    def predict(path: Path) -> NDArray[np.float32]:
        graph = OnnxGraph(path)
        return np.asarray(graph.run(extract_columns(rows, graph.inputs))[0], dtype=np.float32)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # ONNX Runtime releases the interpreter's lock
        return list(pool.map(predict, graphs))


def hash_graph(package: Package) -> str:
    """Return the SHA-256 of a package's graph, against which the file was verified when the package was loaded."""
    return str(package.manifest["files"][artifacts.GRAPH])


def are_equal_bits(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether two arrays have the same shape, type and bits; NaN equals NaN."""
    return (one.shape, one.dtype) == (other.shape, other.dtype) and one.tobytes() == other.tobytes()
