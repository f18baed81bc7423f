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
from merit.data.infer.guess import ColumnGuess, find_side, select_features
from merit.data.split import PARTS, assign_groups
from merit.errors import MeritError

MANY_ROWS = 50_000
"""Minimum rows for a test share of 10% instead of 20%."""
MIN_DAYS = 5
MIN_GROUPS = 10
"""Minimum groups for a split by group; with fewer, a part would have only one or two."""
MIN_PART_SHARE = 0.05
PRODUCTS_PER_MS, MAX_PRODUCTS, DEFAULT_BATCH_MS = 5_000_000, 20_000_000_000, 200
"""Multiplications that a thread computes per millisecond (a safe estimate), the maximum for a timed batch, and the
gate's default limit for a batch in milliseconds."""
MAX_BLOCKS = 5
"""Maximum blocks of a convolutional network; each halves height and width."""
TRAINING_STEPS = 1200
"""Optimizer steps for a first model."""


@dataclass(frozen=True)
class SplitPlan:
    """A split as conf/data declares it, the number of rows per part, and notes."""

    settings: dict[str, Any]
    rows: dict[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def column(self) -> str | None:
        """The column whose equal values stay in one part; None without one."""
        return self.settings.get("column")


def plan_split(table: pl.DataFrame, time: str | None, entity: Entity | None, classes: pl.Series | None) -> SplitPlan:
    """Choose a split: by time if requested and possible, else by group if there is an entity, else at random.

    Args:
        table: the rows in use.
        time: the column to split by; None for another split.
        entity: the entity that rows belong to; None without one.
        classes: the class of each row; None for a regression.
    """
    notes = []
    if time is not None:
        if (time_split := _plan_time_split(extract_days(table, time), entity)) is not None:
            return time_split
        notes = [f"--time {time}: its days are too few, or too uneven, to split by: split by lot instead"]
    chosen = _plan_random_split(table.height) if entity is None else _plan_group_split(table, entity, classes)
    return SplitPlan(chosen.settings, chosen.rows, [*notes, *chosen.notes])


def extract_days(table: pl.DataFrame, time: str) -> pl.Series:
    """Return the day of each row."""
    return table[time].cast(pl.Datetime("us")).dt.date()


def _plan_random_split(rows: int) -> SplitPlan:
    share = 0.2 if rows < MANY_ROWS else 0.1
    part = round(share * rows)
    settings = {"by": "random", "validation": share, "test": share, "seed": 0}
    return SplitPlan(settings, {"train": rows - 2 * part, "validation": part, "test": part})


def _plan_group_split(table: pl.DataFrame, entity: Entity, classes: pl.Series | None) -> SplitPlan:
    """Return a split by group, or a random one if there are too few groups or one of them is too large."""
    random_split = _plan_random_split(table.height)
    consequence = f"rows of one {entity.name} are on both sides, and the model is judged on what it has seen"
    if entity.values < MIN_GROUPS:
        note_few = f"{_describe_entity(entity)}, too few to split by: {consequence}"
        return SplitPlan(random_split.settings, random_split.rows, [note_few])
    settings = {**random_split.settings, "by": "group", "column": entity.name}
    try:
        part_index = assign_groups(table[entity.name], classes, GroupSplit.model_validate(settings))
    except MeritError as error:
        return SplitPlan(
            random_split.settings, random_split.rows, [f"{_describe_entity(entity)}, but {consequence}: {error}"]
        )
    order = ("by", "column", "validation", "test", "seed")
    rows = {part: int((part_index == number).sum()) for number, part in enumerate(PARTS)}
    random_settings = ", ".join(f"{name}: {random_split.settings[name]}" for name in ("by", "validation", "test"))
    note = (
        f"{_describe_entity(entity)}: all rows of one stay in one part, for the model will be asked about others. If "
        "it will "
        f"be asked about the same ones again, split: {{{random_settings}}} in conf/data, and in conf/experiment "
        "gate: {data: {leakage: {entity: []}}}"
    )
    return SplitPlan({name: settings[name] for name in order}, rows, [note])


def _plan_time_split(day: pl.Series, entity: Entity | None) -> SplitPlan | None:
    """Return a split at the days nearest to 60%, 20% and 20% of the rows; None if a part would be too small."""
    counts = day.value_counts().sort(day.name)
    if counts.height < MIN_DAYS:
        return None
    cumulative = counts["count"].cum_sum().to_numpy() / len(day)
    train_end = min(int(np.abs(cumulative - 0.6).argmin()), counts.height - 3)
    validation_end = min(max(int(np.abs(cumulative - 0.8).argmin()), train_end + 1), counts.height - 2)
    shares = np.diff([0.0, cumulative[train_end], cumulative[validation_end], 1.0])
    if shares.min() < MIN_PART_SHARE:
        return None
    ends: list[date] = [counts[day.name][index] for index in (train_end, validation_end, counts.height - 1)]
    settings = dict(zip(("by", "train_until", "validation_until", "test_until"), ("time", *ends), strict=True))
    rows = [round(share * len(day)) for share in shares]
    return SplitPlan(
        settings, dict(zip(PARTS, rows, strict=True)), [] if entity is None else [_note_later_rows(entity)]
    )


def _describe_entity(entity: Entity) -> str:
    return f"'{entity.name}' repeats ({entity.values:,} values in {entity.rows:,} rows)"


def _note_later_rows(entity: Entity) -> str:
    return (
        f"{_describe_entity(entity)}: split by time, the model is judged on later rows of the same ones. If it will be "
        "asked "
        f"about others, split: {{by: group, column: {entity.name}, validation: 0.2, test: 0.2}}"
    )


def plan_trainer(train_rows: int, task: str) -> dict[str, Any]:
    """Return the trainer settings for a number of training rows: batch size, epochs, patience and monitor."""
    batch = min(1024, max(16, 2 ** round(math.log2(max(train_rows / 50, 1)))))
    epochs = min(100, max(4, math.ceil(TRAINING_STEPS / math.ceil(train_rows / batch))))
    monitor = "rmse" if task == "regression" else "log_loss"
    return {"batch_size": batch, "max_epochs": epochs, "patience": max(3, epochs // 5), "monitor": monitor}


def plan_model(columns: Iterable[ColumnGuess]) -> dict[str, Any] | None:
    """Return the settings of a convolutional network for the size of the array features; None without any."""
    if not (shapes := _list_shapes(columns)):
        return None
    blocks = max(1, min(MAX_BLOCKS, int(math.log2(max(1, min(map(find_side, shapes)) / 4)))))
    return {"channels": [32, *[64] * (blocks - 1)]}


def _list_shapes(columns: Iterable[ColumnGuess]) -> list[list[int]]:
    return [guess.settings["shape"] for guess in select_features(columns) if guess.settings["type"] == "array"]


def plan_time_limits(columns: list[ColumnGuess]) -> dict[str, Any]:
    """Return the gate's time limits if convolutions over arrays of this size need more than the default; else empty."""
    network = plan_model(columns)
    if network is None:
        return {}
    height, width = sorted(_list_shapes(columns)[0])[-2:]
    input_channels, products = sum(math.prod(shape) // (height * width) for shape in _list_shapes(columns)), 0
    for depth, channels in enumerate(network["channels"]):
        products += 9 * (height * width >> 2 * depth) * (input_channels * channels + channels**2)
        input_channels = channels
    batch = round(1000 * products / PRODUCTS_PER_MS, -2)
    return (
        {"time": {"row_ms": max(10, round(batch / 100)), "batch_ms": batch, "batch": 1000}}
        if batch > DEFAULT_BATCH_MS
        else {}
    )


def choose_min_count(train_rows: int) -> int:
    """Return the minimum number of training rows of a known category value."""
    return min(20, max(2, train_rows // 250))


def plan_evaluation(test_rows: int) -> dict[str, Any]:
    """Return the evaluation settings: the minimum rows of a slice, and fewer resamples for many rows."""
    settings = {"slice_min_rows": min(200, max(20, test_rows // 20))}
    return settings | _plan_resamples(test_rows, {"resamples": 1000, "slice_resamples": 300})


def plan_gate(target_values: pl.Series, test_rows: int, task: str) -> dict[str, Any]:
    """Return gate thresholds: floors slightly above guessing, and margins that the number of test rows can resolve."""
    settings: dict[str, Any] = {
        "floors": _plan_floors(target_values, task),
        "baseline": {"margin": round_up(max(0.02, 0.5 / math.sqrt(test_rows)))},
    }
    if task != "regression":
        # The calibration error of a well calibrated model that ten bins show by chance.
        settings["calibration"] = min(0.5, round_up(0.05 + 1.5 * math.sqrt(10 / test_rows)))
    return settings | _plan_resamples(test_rows, {"resamples": 1000})


def _plan_floors(target_values: pl.Series, task: str) -> dict[str, float]:
    if task == "regression":
        return {"r2": 0.0}
    shares = target_values.value_counts()["count"].to_numpy() / len(target_values)
    loss = round_up(-float((shares * np.log(shares)).sum()) + 0.1)
    if task == "binary":
        return {"roc_auc": 0.5, "log_loss": loss}
    return {"accuracy": math.floor(90 * float(shares.max())) / 100, "log_loss": loss}


def _plan_resamples(test_rows: int, defaults: dict[str, int]) -> dict[str, int]:
    """Return fewer resamples for many rows: intervals are narrow then, and each resample is slow."""
    return (
        {name: max(200, count * MANY_ROWS // test_rows) for name, count in defaults.items()}
        if test_rows > MANY_ROWS
        else {}
    )


def round_up(number: float) -> float:
    """Round a number up to hundredths."""
    return math.ceil(100 * number) / 100


def estimate_chance_duplicates(rows: pl.DataFrame) -> float:
    """Return how many rows may be duplicates by chance: twice the expectation for independent columns, plus 3."""
    match_share, pairs = 1.0, max(1, rows.height * (rows.height - 1))
    for column in rows:
        counts = column.value_counts()["count"].to_numpy().astype(float)
        match_share *= float((counts * (counts - 1)).sum()) / pairs
    return match_share * pairs + 3


def bound_rows(rows: int) -> dict[str, int]:
    """Return the bounds of the number of rows: half and twice the observed number."""
    return {"min": max(1, rows // 2), "max": rows * 2}
