"""The stage features: splits the rows, fits the preprocessing on training rows only, and runs it over every part."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.config.lock import hash_preprocessing
from merit.config.schema.column import Column
from merit.config.schema.data import Data, Features, Target
from merit.data.split import split_table
from merit.errors import MeritError
from merit.features.transform import ArrayScale, NumberScale, Preprocessing, TimeEncoding, Vocabulary
from merit.scoring.package import OnnxGraph, extract_columns


def features(data: Data, settings: Features) -> None:
    """Fit the preprocessing; write its graph, the arrays of each part, the test rows and a report of fitted values."""
    parts = split_table(artifacts.read_table(artifacts.RAW, "ingest"), data)
    _check_classes(parts, data)
    transform = fit_preprocessing(parts["train"], data.columns, settings)
    with artifacts.write_atomically(artifacts.TRANSFORM) as temporary_file:
        temporary_file.write_bytes(transform.build_graph().SerializeToString(deterministic=True))
    graph = OnnxGraph(artifacts.TRANSFORM)
    for name, rows in parts.items():
        artifacts.write_arrays(artifacts.part_path(name), compute_arrays(graph, rows, data))
    artifacts.write_table(artifacts.TEST_ROWS, parts["test"])
    report = {"made_for": hash_preprocessing(data, settings), **_build_report(transform, parts, data)}
    artifacts.write_json(artifacts.FEATURES_REPORT, report)


def _check_classes(parts: dict[str, pl.DataFrame], data: Data) -> None:
    """Refuse parts with a constant target, and training rows that lack a class."""
    target = data.target
    for name, rows in parts.items():
        if rows[target.name].n_unique() < 2:
            raise MeritError(
                f"data.split: every row of the {name} part has {target.name} = {rows[target.name][0]:g}; "
                "move data.split, or correct data.target.sql"
            )
    if target.classes is not None:
        trained_classes = set(parts["train"][target.name].unique().to_list())
        missing = [str(label) for index, label in enumerate(target.classes) if index not in trained_classes]
        if missing:
            raise MeritError(
                f"data.target.classes: no training row is of the class {', '.join(missing)}; "
                "leave such classes out, or move data.split"
            )


def fit_preprocessing(train: pl.DataFrame, columns: dict[str, Column], settings: Features) -> Preprocessing:
    """Return the preprocessing fitted on the training rows: vocabularies, means and deviations."""
    categories = [
        _fit_category(train[n], c, settings.category.min_count) for n, c in columns.items() if c.feature == "category"
    ]
    numbers = [
        TimeEncoding(n, has_missing_flag=c.missing > 0)
        if c.feature == "time"
        else _fit_number(train[n], c, settings.number.clip)
        for n, c in columns.items()
        if c.feature in {"number", "time"}
    ]
    arrays = [_fit_array(train[n], c) for n, c in columns.items() if c.feature == "array"]
    return Preprocessing(categories, numbers, arrays)


def _fit_category(values: pl.Series, column: Column, min_count: int) -> Vocabulary:
    counts = values.drop_nulls().value_counts()
    frequent = counts.filter(pl.col("count") >= min_count)[values.name]
    return Vocabulary(values.name, column.type, [value for value in frequent.sort().to_list() if value != ""])


def _fit_number(values: pl.Series, column: Column, clip: float) -> NumberScale:
    mean, deviation = _fit_scale(values.name, values.drop_nulls().cast(pl.Float64).to_numpy())
    return NumberScale(values.name, mean, deviation, clip, has_missing_flag=column.missing > 0)


def _fit_array(values: pl.Series, column: Column) -> ArrayScale:
    assert column.shape is not None
    return ArrayScale(values.name, column.shape, *_fit_scale(values.name, values.to_numpy()))


def _fit_scale(name: str, values: NDArray[Any]) -> tuple[float, float]:
    """Return mean and standard deviation; a constant column gets the deviation 1, so that it is scaled to 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean(values)) if values.size else 0.0
        deviation = float(np.std(values)) if values.size else 0.0
    if not np.isfinite([mean, deviation]).all():
        raise MeritError(f"data.columns.{name}: values too large to be standardised; declare min and max")
    return mean, deviation or 1.0


def compute_arrays(graph: OnnxGraph, rows: pl.DataFrame, data: Data) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a part in the format that `artifacts.part` defines."""
    codes, numbers, *array_outputs = graph.run(extract_columns(rows, graph.inputs))
    target = rows[data.target.name].to_numpy().astype(np.float32)
    named_arrays = {"codes": codes.astype(np.int32), "numbers": numbers, "target": target}
    return named_arrays | {f"array{index}": each for index, each in enumerate(array_outputs)}


def _build_report(transform: Preprocessing, parts: dict[str, pl.DataFrame], data: Data) -> dict[str, object]:
    """Return the report of features.json: input sizes of the network, fitted values, a summary of each part."""
    mean, deviation = _fit_scale(data.target.name, parts["train"][data.target.name].to_numpy())
    return {
        "categories": [category.column for category in transform.categories],
        "cardinalities": transform.cardinalities,
        "numbers": transform.width,
        "flags": transform.flags,
        "shapes": [array.shape for array in transform.arrays],
        "target": {"mean": mean, "deviation": deviation},
        "parts": {name: _describe_part(rows, data) for name, rows in parts.items()},
        "fitted": {
            **{c.column: {"vocabulary": len(c.values)} for c in transform.categories},
            **{
                n.column: {"mean": n.mean, "deviation": n.deviation}
                for n in [*transform.numbers, *transform.arrays]
                if not isinstance(n, TimeEncoding)
            },
        },
    }


def _describe_part(rows: pl.DataFrame, data: Data) -> dict[str, object]:
    times = {} if data.time is None else {"from": str(rows[data.time].min()), "to": str(rows[data.time].max())}
    return {"rows": rows.height, **times, "target": summarize_target(rows[data.target.name], data.target)}


def summarize_target(target: pl.Series, config: Target) -> dict[str, float]:
    """Summarize a target: share of positives, share of each class, or mean and standard deviation."""
    if config.task == "regression":
        return {"mean": float(target.mean()), "deviation": float(target.std(ddof=0))}  # type: ignore[arg-type]
    if config.task == "binary":
        return {"share": float(target.mean())}  # type: ignore[arg-type]  # the target is Float64
    assert config.classes is not None
    return {str(label): float((target == index).mean()) for index, label in enumerate(config.classes)}  # type: ignore[arg-type]
