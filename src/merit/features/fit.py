"""features: split by time, fit the preprocessing on training rows only, and run it over every part."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit import artifacts
from merit.config.schema import Column, Data, Features
from merit.errors import MeritError
from merit.features.split import split
from merit.features.transform import Category, Number, Transform
from merit.scoring import Graph, columns_of


def features(data: Data, how: Features) -> None:
    """Fit on training rows, then write the graph, the arrays of each part, the test rows and what was fitted."""
    parts = split(artifacts.read_table(artifacts.RAW, "ingest"), data.time, data.split)
    _check_classes(parts, data)
    transform = fit(parts["train"], data.columns, how)
    with artifacts.written_aside(artifacts.TRANSFORM) as aside:
        aside.write_bytes(transform.graph().SerializeToString(deterministic=True))
    graph = Graph(artifacts.TRANSFORM)
    for name, rows in parts.items():
        artifacts.write_arrays(artifacts.part(name), arrays(graph, rows, data))
    artifacts.write_table(artifacts.TEST_ROWS, parts["test"])
    artifacts.write_json(artifacts.FEATURES_REPORT, _report(transform, parts, data))


def _check_classes(parts: dict[str, pl.DataFrame], data: Data) -> None:
    for name, rows in parts.items():
        if rows[data.target.name].n_unique() < 2:
            raise MeritError(
                f"data.split: every row of the {name} part has {data.target.name} = {rows[data.target.name][0]:g}; "
                "move data.split, or correct data.target.sql"
            )


def fit(train: pl.DataFrame, columns: dict[str, Column], how: Features) -> Transform:
    """Return the preprocessing that the training rows call for."""
    categories = [_category(train[n], c, how.category.min_count) for n, c in columns.items() if c.feature == "category"]
    numbers = [_number(train[n], c, how.number.clip) for n, c in columns.items() if c.feature == "number"]
    return Transform(categories, numbers)


def _category(values: pl.Series, column: Column, min_count: int) -> Category:
    counts = values.drop_nulls().value_counts()
    frequent = counts.filter(pl.col("count") >= min_count)[values.name]
    return Category(values.name, column.type, [value for value in frequent.sort().to_list() if value != ""])


def _number(values: pl.Series, column: Column, clip: float) -> Number:
    known = values.drop_nulls().cast(pl.Float64).to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean(known)) if len(known) else 0.0
        deviation = float(np.std(known)) if len(known) else 0.0
    if not np.isfinite([mean, deviation]).all():
        raise MeritError(f"data.columns.{values.name}: values too large to be standardised; declare min and max")
    # A constant column says nothing: it stays 0 instead of dividing by nothing.
    return Number(values.name, mean, deviation or 1.0, clip, flagged=column.missing > 0)


def arrays(graph: Graph, rows: pl.DataFrame, data: Data) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a part, in the form that `artifacts.part` tells."""
    codes, numbers = graph.run(columns_of(rows, graph.inputs))
    target = rows[data.target.name].to_numpy().astype(np.float32)
    return {"codes": codes.astype(np.int32), "numbers": numbers, "target": target}


def _report(transform: Transform, parts: dict[str, pl.DataFrame], data: Data) -> dict[str, object]:
    return {
        "categories": [category.column for category in transform.categories],
        "cardinalities": transform.cardinalities,
        "numbers": transform.width,
        "parts": {
            name: {
                "rows": rows.height,
                "from": str(rows[data.time].min()),
                "to": str(rows[data.time].max()),
                "target_share": float(rows[data.target.name].mean()),  # type: ignore[arg-type]  # the target is Float64
            }
            for name, rows in parts.items()
        },
        "fitted": {
            **{c.column: {"vocabulary": len(c.values)} for c in transform.categories},
            **{n.column: {"mean": n.mean, "deviation": n.deviation} for n in transform.numbers},
        },
    }
