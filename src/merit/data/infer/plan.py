"""Chooses the split, the training settings and the gate thresholds for the size of the data."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from merit.config.schema.data import GroupSplit
from merit.data.entities import Entity
from merit.data.infer.guess import Guess, features, side
from merit.data.split import PARTS, assign_groups
from merit.errors import MeritError

MANY = 50_000
"""Minimum rows for a test share of 10% instead of 20%."""
FEWEST_DAYS = 5
FEWEST_GROUPS = 10
"""Minimum groups for a split by group; with fewer, a part would have only one or two."""
LEAST_SHARE = 0.05
PRODUCTS_MS, MOST_PRODUCTS, BATCH_MS = 5_000_000, 20_000_000_000, 200
"""Multiplications that a thread computes per millisecond (a safe estimate), the maximum for a timed batch, and the
gate's default limit for a batch in milliseconds."""
MOST_BLOCKS = 5
"""Maximum blocks of a convolutional network; each halves height and width."""
STEPS = 1200
"""Optimizer steps for a first model."""


@dataclass(frozen=True)
class Split:
    """A split as conf/data declares it, the number of rows per part, and notes."""

    settings: dict[str, Any]
    rows: dict[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def column(self) -> str | None:
        """The column whose equal values stay in one part; None without one."""
        return self.settings.get("column")


def split(table: pl.DataFrame, time: str | None, entity: Entity | None, classes: pl.Series | None) -> Split:
    """Choose a split: by time if requested and possible, else by group if there is an entity, else at random.

    Args:
        table: the rows in use.
        time: the column to split by; None for another split.
        entity: the entity that rows belong to; None without one.
        classes: the class of each row; None for a regression.
    """
    notes = []
    if time is not None:
        if (found := _by_time(days(table, time), entity)) is not None:
            return found
        notes = [f"--time {time}: its days are too few, or too uneven, to split by: split by lot instead"]
    made = _by_lot(table.height) if entity is None else _by_group(table, entity, classes)
    return Split(made.settings, made.rows, [*notes, *made.notes])


def days(table: pl.DataFrame, time: str) -> pl.Series:
    """Return the day of each row."""
    return table[time].cast(pl.Datetime("us")).dt.date()


def _by_lot(rows: int) -> Split:
    share = 0.2 if rows < MANY else 0.1
    part = round(share * rows)
    settings = {"by": "random", "validation": share, "test": share, "seed": 0}
    return Split(settings, {"train": rows - 2 * part, "validation": part, "test": part})


def _by_group(table: pl.DataFrame, entity: Entity, classes: pl.Series | None) -> Split:
    """Return a split by group, or a random one if there are too few groups or one of them is too large."""
    lot = _by_lot(table.height)
    both = f"rows of one {entity.name} are on both sides, and the model is judged on what it has seen"
    if entity.values < FEWEST_GROUPS:
        few = f"{_repeats(entity)}, too few to split by: {both}"
        return Split(lot.settings, lot.rows, [few])
    settings = {**lot.settings, "by": "group", "column": entity.name}
    try:
        place = assign_groups(table[entity.name], classes, GroupSplit.model_validate(settings))
    except MeritError as error:
        return Split(lot.settings, lot.rows, [f"{_repeats(entity)}, but {both}: {error}"])
    order = ("by", "column", "validation", "test", "seed")
    rows = {part: int((place == number).sum()) for number, part in enumerate(PARTS)}
    otherwise = ", ".join(f"{name}: {lot.settings[name]}" for name in ("by", "validation", "test"))
    note = (
        f"{_repeats(entity)}: all rows of one stay in one part, for the model will be asked about others. If it will "
        f"be asked about the same ones again, split: {{{otherwise}}} in conf/data, and in conf/experiment "
        "gate: {data: {leakage: {entity: []}}}"
    )
    return Split({name: settings[name] for name in order}, rows, [note])


def _by_time(day: pl.Series, entity: Entity | None) -> Split | None:
    """Return a split at the days nearest to 60%, 20% and 20% of the rows; None if a part would be too small."""
    counts = day.value_counts().sort(day.name)
    if counts.height < FEWEST_DAYS:
        return None
    through = counts["count"].cum_sum().to_numpy() / len(day)
    first = min(int(np.abs(through - 0.6).argmin()), counts.height - 3)
    second = min(max(int(np.abs(through - 0.8).argmin()), first + 1), counts.height - 2)
    shares = np.diff([0.0, through[first], through[second], 1.0])
    if shares.min() < LEAST_SHARE:
        return None
    ends: list[date] = [counts[day.name][place] for place in (first, second, counts.height - 1)]
    settings = dict(zip(("by", "train_until", "validation_until", "test_until"), ("time", *ends), strict=True))
    rows = [round(share * len(day)) for share in shares]
    return Split(settings, dict(zip(PARTS, rows, strict=True)), [] if entity is None else [_later(entity)])


def _repeats(entity: Entity) -> str:
    return f"'{entity.name}' repeats ({entity.values:,} values in {entity.rows:,} rows)"


def _later(entity: Entity) -> str:
    return (
        f"{_repeats(entity)}: split by time, the model is judged on later rows of the same ones. If it will be asked "
        f"about others, split: {{by: group, column: {entity.name}, validation: 0.2, test: 0.2}}"
    )


def trainer(train: int, task: str) -> dict[str, Any]:
    """Return the trainer settings for a number of training rows: batch size, epochs, patience and monitor."""
    batch = min(1024, max(16, 2 ** round(math.log2(max(train / 50, 1)))))
    epochs = min(100, max(4, math.ceil(STEPS / math.ceil(train / batch))))
    monitor = "rmse" if task == "regression" else "log_loss"
    return {"batch_size": batch, "max_epochs": epochs, "patience": max(3, epochs // 5), "monitor": monitor}


def model(columns: Iterable[Guess]) -> dict[str, Any] | None:
    """Return the settings of a convolutional network for the size of the array features; None without any."""
    if not (shapes := _shapes(columns)):
        return None
    blocks = max(1, min(MOST_BLOCKS, int(math.log2(max(1, min(map(side, shapes)) / 4)))))
    return {"channels": [32, *[64] * (blocks - 1)]}


def _shapes(columns: Iterable[Guess]) -> list[list[int]]:
    return [guess.settings["shape"] for guess in features(columns) if guess.settings["type"] == "array"]


def times(columns: list[Guess]) -> dict[str, Any]:
    """Return the gate's time limits if convolutions over arrays of this size need more than the default; else empty."""
    network = model(columns)
    if network is None:
        return {}
    height, width = sorted(_shapes(columns)[0])[-2:]
    before, products = sum(math.prod(shape) // (height * width) for shape in _shapes(columns)), 0
    for place, channels in enumerate(network["channels"]):
        products += 9 * (height * width >> 2 * place) * (before * channels + channels**2)
        before = channels
    batch = round(1000 * products / PRODUCTS_MS, -2)
    return (
        {"time": {"row_ms": max(10, round(batch / 100)), "batch_ms": batch, "batch": 1000}} if batch > BATCH_MS else {}
    )


def least_count(train: int) -> int:
    """Return the minimum number of training rows of a known category value."""
    return min(20, max(2, train // 250))


def evaluation(test: int) -> dict[str, Any]:
    """Return the evaluation settings: the minimum rows of a slice, and fewer resamples for many rows."""
    found = {"slice_min_rows": min(200, max(20, test // 20))}
    return found | _resamples(test, {"resamples": 1000, "slice_resamples": 300})


def gate(truth: pl.Series, test: int, task: str) -> dict[str, Any]:
    """Return gate thresholds: floors slightly above guessing, and margins that the number of test rows can resolve."""
    found: dict[str, Any] = {
        "floors": _floors(truth, task),
        "baseline": {"margin": up(max(0.02, 0.5 / math.sqrt(test)))},
    }
    if task != "regression":
        # The calibration error of a well calibrated model that ten bins show by chance.
        found["calibration"] = min(0.5, up(0.05 + 1.5 * math.sqrt(10 / test)))
    return found | _resamples(test, {"resamples": 2000})


def _floors(truth: pl.Series, task: str) -> dict[str, float]:
    if task == "regression":
        return {"r2": 0.0}
    shares = truth.value_counts()["count"].to_numpy() / len(truth)
    loss = up(-float((shares * np.log(shares)).sum()) + 0.1)
    if task == "binary":
        return {"roc_auc": 0.5, "log_loss": loss}
    return {"accuracy": math.floor(90 * float(shares.max())) / 100, "log_loss": loss}


def _resamples(test: int, usual: dict[str, int]) -> dict[str, int]:
    """Return fewer resamples for many rows: intervals are narrow then, and each resample is slow."""
    return {name: max(200, count * MANY // test) for name, count in usual.items()} if test > MANY else {}


def up(number: float) -> float:
    """Round a number up to hundredths."""
    return math.ceil(100 * number) / 100


def chance_repeats(rows: pl.DataFrame) -> float:
    """Return how many rows may be duplicates by chance: twice the expectation for independent columns, plus 3."""
    alike, pairs = 1.0, max(1, rows.height * (rows.height - 1))
    for column in rows:
        counts = column.value_counts()["count"].to_numpy().astype(float)
        alike *= float((counts * (counts - 1)).sum()) / pairs
    return alike * pairs + 3


def around(rows: int) -> dict[str, int]:
    """Return the bounds of the number of rows: half and twice the observed number."""
    return {"min": max(1, rows // 2), "max": rows * 2}
