"""The stage features: splits the rows, fits the preprocessing on training rows only, and runs it over every part."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.config.lock import preprocessing
from merit.config.schema.column import Column
from merit.config.schema.data import Data, Features, Target
from merit.data.split import split
from merit.errors import MeritError
from merit.features.transform import Array, Category, Number, Time, Transform
from merit.scoring.package import Graph, columns_of


def features(data: Data, how: Features) -> None:
    """Fit the preprocessing; write its graph, the arrays of each part, the test rows and a report of fitted values."""
    parts = split(artifacts.read_table(artifacts.RAW, "ingest"), data)
    _check_classes(parts, data)
    transform = fit(parts["train"], data.columns, how)
    with artifacts.written_aside(artifacts.TRANSFORM) as aside:
        aside.write_bytes(transform.graph().SerializeToString(deterministic=True))
    graph = Graph(artifacts.TRANSFORM)
    for name, rows in parts.items():
        artifacts.write_arrays(artifacts.part(name), arrays(graph, rows, data))
    artifacts.write_table(artifacts.TEST_ROWS, parts["test"])
    report = {"made_for": preprocessing(data, how), **_report(transform, parts, data)}
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
        learned = set(parts["train"][target.name].unique().to_list())
        lacking = [str(label) for place, label in enumerate(target.classes) if place not in learned]
        if lacking:
            raise MeritError(
                f"data.target.classes: no training row is of the class {', '.join(lacking)}; "
                "leave such classes out, or move data.split"
            )


def fit(train: pl.DataFrame, columns: dict[str, Column], how: Features) -> Transform:
    """Return the preprocessing fitted on the training rows: vocabularies, means and deviations."""
    categories = [_category(train[n], c, how.category.min_count) for n, c in columns.items() if c.feature == "category"]
    numbers = [
        Time(n, flagged=c.missing > 0) if c.feature == "time" else _number(train[n], c, how.number.clip)
        for n, c in columns.items()
        if c.feature in {"number", "time"}
    ]
    arrays = [_array(train[n], c) for n, c in columns.items() if c.feature == "array"]
    return Transform(categories, numbers, arrays)


def _category(values: pl.Series, column: Column, min_count: int) -> Category:
    counts = values.drop_nulls().value_counts()
    frequent = counts.filter(pl.col("count") >= min_count)[values.name]
    return Category(values.name, column.type, [value for value in frequent.sort().to_list() if value != ""])


def _number(values: pl.Series, column: Column, clip: float) -> Number:
    mean, deviation = _scale(values.name, values.drop_nulls().cast(pl.Float64).to_numpy())
    return Number(values.name, mean, deviation, clip, flagged=column.missing > 0)


def _array(values: pl.Series, column: Column) -> Array:
    assert column.shape is not None
    return Array(values.name, column.shape, *_scale(values.name, values.to_numpy()))


def _scale(name: str, known: NDArray[Any]) -> tuple[float, float]:
    """Return mean and standard deviation; a constant column gets the deviation 1, so that it is scaled to 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean(known)) if known.size else 0.0
        deviation = float(np.std(known)) if known.size else 0.0
    if not np.isfinite([mean, deviation]).all():
        raise MeritError(f"data.columns.{name}: values too large to be standardised; declare min and max")
    return mean, deviation or 1.0


def arrays(graph: Graph, rows: pl.DataFrame, data: Data) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a part in the format that `artifacts.part` defines."""
    codes, numbers, *others = graph.run(columns_of(rows, graph.inputs))
    target = rows[data.target.name].to_numpy().astype(np.float32)
    made = {"codes": codes.astype(np.int32), "numbers": numbers, "target": target}
    return made | {f"array{place}": each for place, each in enumerate(others)}


def _report(transform: Transform, parts: dict[str, pl.DataFrame], data: Data) -> dict[str, object]:
    """Return the report of features.json: input sizes of the network, fitted values, a summary of each part."""
    mean, deviation = _scale(data.target.name, parts["train"][data.target.name].to_numpy())
    return {
        "categories": [category.column for category in transform.categories],
        "cardinalities": transform.cardinalities,
        "numbers": transform.width,
        "flags": transform.flags,
        "shapes": [array.shape for array in transform.arrays],
        "target": {"mean": mean, "deviation": deviation},
        "parts": {name: _described(rows, data) for name, rows in parts.items()},
        "fitted": {
            **{c.column: {"vocabulary": len(c.values)} for c in transform.categories},
            **{
                n.column: {"mean": n.mean, "deviation": n.deviation}
                for n in [*transform.numbers, *transform.arrays]
                if not isinstance(n, Time)
            },
        },
    }


def _described(rows: pl.DataFrame, data: Data) -> dict[str, object]:
    times = {} if data.time is None else {"from": str(rows[data.time].min()), "to": str(rows[data.time].max())}
    return {"rows": rows.height, **times, "target": summary(rows[data.target.name], data.target)}


def summary(target: pl.Series, of: Target) -> dict[str, float]:
    """Summarize a target: share of positives, share of each class, or mean and standard deviation."""
    if of.task == "regression":
        return {"mean": float(target.mean()), "deviation": float(target.std(ddof=0))}  # type: ignore[arg-type]
    if of.task == "binary":
        return {"share": float(target.mean())}  # type: ignore[arg-type]  # the target is Float64
    assert of.classes is not None
    return {str(label): float((target == place).mean()) for place, label in enumerate(of.classes)}  # type: ignore[arg-type]
