"""The stage package: writes the folder that ships (graph, signature, weights, lock, manifest) after a parity check."""

import importlib.metadata
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from merit import artifacts
from merit.config import lock as locks
from merit.config.components import targets
from merit.config.schema import Lock
from merit.config.schema.base import OUTPUT_NAME
from merit.config.schema.data import Target
from merit.errors import Refused
from merit.models import build
from merit.packaging import graph
from merit.reading.declaration import build_declaration, get_defaults
from merit.scoring.package import OnnxGraph, extract_columns
from merit.version import __version__

SECTIONS = ("name", "seed", "data", "features", "model", "optimizer", "trainer")
"""The sections of the lock that define the model. Only these are packaged, so the package changes with no others."""
LIBRARIES = ("lightning", "numpy", "onnx", "onnxruntime", "onnxscript", "polars", "safetensors", "torch")


def package(lock: Lock) -> dict[str, Any]:
    """Build the package, check its parity with the PyTorch network, and return its manifest.

    Raises:
        Refused: the graph's predictions on raw rows differ from the network's by more than `package.parity.tolerance`;
            nothing is written.
    """
    predictor = build.load_trained(lock)
    test = build.read_part("test")
    rows = artifacts.read_table(artifacts.TEST_ROWS, "features")
    flags = artifacts.read_json(artifacts.FEATURES_REPORT, "features").get("flags", [])
    with artifacts.write_atomically(artifacts.PACKAGE) as temporary_folder:
        temporary_folder.mkdir()
        (temporary_folder / artifacts.GRAPH).write_bytes(
            graph.join_graphs(predictor, test, flags).SerializeToString(deterministic=True)
        )
        parity = _check_parity(lock, temporary_folder / artifacts.GRAPH, rows, build.predict_rows(predictor, test))
        shutil.copyfile(artifacts.WEIGHTS, temporary_folder / artifacts.PACKAGED_WEIGHTS)
        (temporary_folder / artifacts.PACKAGED_LOCK).write_text(_render_sections(lock), encoding="utf-8")
        artifacts.write_json(temporary_folder / artifacts.SIGNATURE, _build_signature(lock, rows))
        manifest = _build_manifest(lock, temporary_folder, parity)
        artifacts.write_json(temporary_folder / artifacts.MANIFEST, manifest)
    return manifest


def _check_parity(
    lock: Lock, path: Path, rows: pl.DataFrame, expected: "np.ndarray[Any, Any]"
) -> dict[str, float | int]:
    """Compare the graph on raw rows with the network on arrays, for rows spread evenly over the test part."""
    limit = lock.package.parity
    row_indices = np.unique(np.linspace(0, rows.height - 1, min(limit.rows, rows.height)).astype(int))
    shipped = OnnxGraph(path)
    outputs = shipped.run(extract_columns(rows[row_indices], shipped.inputs))[0]
    max_difference = float(np.abs(outputs - expected[row_indices]).max()) / _read_difference_unit(lock)
    if not max_difference <= limit.tolerance:  # so that NaN is refused too
        raise Refused(
            f"package: the graph differs from the network by {max_difference:.2e} on {len(row_indices):,} test rows; "
            f"at most {limit.tolerance:.0e} is allowed (package.parity.tolerance); the export is wrong"
        )
    return {"rows": len(row_indices), "greatest_difference": max_difference}


def _read_difference_unit(lock: Lock) -> float:
    """Return the unit of differences: 1 for probabilities, the target's standard deviation for a regression."""
    if lock.data.target.task != "regression":
        return 1.0
    return float(artifacts.read_json(artifacts.FEATURES_REPORT, "features")["target"]["deviation"])


def _render_sections(lock: Lock) -> str:
    """Return the model's sections of the lock as YAML."""
    values = lock.model_dump(mode="json", by_alias=True, include=set(SECTIONS))
    return str(yaml.dump(values, Dumper=locks.YAML_DUMPER, sort_keys=False, allow_unicode=True))


def _build_signature(lock: Lock, rows: pl.DataFrame) -> dict[str, Any]:
    """Describe inputs and outputs, with a row of the test part, complete if possible, as the example."""
    feature_columns = {name: column for name, column in lock.data.columns.items() if column.feature != "none"}
    source = targets.build_component(lock.data.source.model_dump(by_alias=True))
    defaults, dialect = get_defaults(source), getattr(source, "dialect", None)
    inputs = [
        {
            "name": name,
            "type": column.type,
            "nullable": column.missing > 0,
            "description": column.description,
            **({"shape": column.shape} if column.shape else {}),
            **build_declaration(name, column.model_dump(), defaults).settings,
        }
        for name, column in feature_columns.items()
    ]
    columns = rows.select(list(feature_columns))
    complete = columns.drop_nulls()
    times = [pl.col(name).dt.to_string("iso:strict") for name, dtype in columns.schema.items() if dtype.is_temporal()]
    example = (columns if complete.is_empty() else complete).head(1).with_columns(times)
    text = {} if dialect is None else {"csv": dialect.settings}
    return {"inputs": inputs, "outputs": [_describe_output(lock.data.target)], **text, "example": example.to_dicts()[0]}


def _describe_output(target: Target) -> dict[str, Any]:
    """Describe the output of the graph."""
    meaning = {
        "binary": f"probability that {target.sql}",
        "multiclass": f"probability that {target.sql} is each of the classes",
        "regression": f"expected {target.sql}",
    }
    classes = {"classes": target.classes} if target.classes is not None else {}
    return {"name": OUTPUT_NAME, "type": "number", "task": target.task, "description": meaning[target.task], **classes}


def _build_manifest(lock: Lock, folder: Path, parity: dict[str, float | int]) -> dict[str, Any]:
    """Return the manifest: hashes of the package's files and of its origins, and the versions of libraries.

    The same inputs must give the same bytes, so it holds neither a time nor a commit. Python is named by its minor
    version, which requirements.lock leaves open although its packages are built for it.
    """
    return {
        "model": lock.name,
        "params_sha256": artifacts.hash_file(folder / artifacts.PACKAGED_LOCK),
        "data_sha256": artifacts.hash_file(artifacts.require_path(artifacts.RAW, "ingest")),
        "files": {path.name: artifacts.hash_file(path) for path in sorted(folder.iterdir())},
        "parity": parity,
        "libraries": {
            "merit-ml": __version__,
            "python": ".".join(platform.python_version_tuple()[:2]),
            **{name: importlib.metadata.version(name) for name in LIBRARIES},
        },
    }
