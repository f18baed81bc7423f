"""conf/data and conf/features: where rows come from, what they must look like, and what is made of them."""

import hashlib
import json
import math
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from merit.config.schema.base import OUTPUT, Component, Interval, Positive, Section, Share


class Window(Section):
    """The rows in use, by their time; both days are included."""

    start: Annotated[date, Field(strict=False)]
    """The first day in use."""
    end: Annotated[date, Field(strict=False)]
    """The last day in use."""

    @model_validator(mode="after")
    def _in_order(self) -> "Window":
        if self.end < self.start:
            raise ValueError(f"the window ends on {self.end}, before it starts on {self.start}")
        return self


class Target(Section):
    """What is predicted: a column made from the source's columns by a SQL expression.

    `binary` asks for a condition, `regression` for a number, `multiclass` for one of the `classes`.
    """

    name: str
    """The column that holds the answer."""
    task: Literal["binary", "multiclass", "regression"] = "binary"
    """What kind of answer it is."""
    sql: str
    """A SQL expression on the source's columns: a condition, a number or a class, as the task asks."""
    classes: list[str] | list[int] | None = None
    """The classes of a multiclass task, in the order of the probabilities; a row of any other class is refused."""

    @property
    def outputs(self) -> int:
        """The numbers that a network gives per row."""
        return len(self.classes) if self.classes is not None else 1

    @model_validator(mode="after")
    def _has_classes(self) -> "Target":
        if (self.task == "multiclass") != (self.classes is not None):
            raise ValueError("classes are for a multiclass task, which must name them, and for no other")
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ValueError(f"classes must be two or more, each once; found {self.classes}")
        return self


FEATURES_OF = {
    "string": ("category", "none"),
    "integer": ("category", "number", "none"),
    "number": ("number", "none"),
    "boolean": ("number", "none"),
    "datetime": ("time", "none"),
    "array": ("array", "none"),
}
"""What the model can make of a column of each type."""

_ALLOWED: dict[str, type] = {"string": str, "integer": int}


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


class Column(Section):
    """One raw column: its contract, and what the model makes of it.

    `feature` is `category` (one code per value), `number` (standardised, with a flag where values may be
    missing), `time` (of a datetime: the hour of its day, its weekday and the day of its year, each as a place on a
    circle), `array` (every element standardised alike), or `none` (kept for keys, time or slices, never seen by the
    model).
    """

    type: Literal["string", "integer", "number", "boolean", "datetime", "array"]
    """What its values are."""
    feature: Literal["category", "number", "time", "array", "none"] = "none"
    """What the model makes of it."""
    shape: list[Positive] | None = None
    """The shape of an array column, such as [8, 8] for an image of one channel; `min` and `max` bound its elements."""
    description: str | None = None
    """What it means and its unit, for people."""
    allowed: list[str] | list[int] | None = None
    """The only values it may hold."""
    min: float | None = None
    """The least value it may hold."""
    max: float | None = None
    """The greatest value it may hold."""
    missing: Share = 0.0
    """The greatest share of rows that may lack a value; 0 means that every row must have one."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a column doesn't set: most set little, and the lock is read by people."""
        return {name: value for name, value in write(self).items() if value is not None}

    @model_validator(mode="after")
    def _fits_its_type(self) -> "Column":
        if self.feature not in FEATURES_OF[self.type]:
            allowed = ", ".join(FEATURES_OF[self.type])
            raise ValueError(f"a column of type {self.type} can't be a {self.feature} feature; allowed: {allowed}")
        if (self.shape is not None) != (self.type == "array"):
            raise ValueError("shape is for columns of type array, which must have one, and for no other")
        if self.type == "array" and self.missing > 0:
            raise ValueError("an array can't be missing; drop such rows by data.filter")
        if (self.min is not None or self.max is not None) and self.type not in {"integer", "number", "array"}:
            raise ValueError(f"min and max are for integers, numbers and arrays, not for a {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.allowed is not None and not all(isinstance(v, _ALLOWED.get(self.type, ())) for v in self.allowed):
            raise ValueError(f"allowed values are for strings and integers, and of that type; found {self.allowed}")
        return self

    def holds(self, value: Any) -> bool:
        """Say whether a value, as YAML has it, is of this column's type."""
        if value is None:
            return self.missing > 0
        if self.type == "datetime":
            return isinstance(value, date) or (isinstance(value, str) and _is_time(value))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": is_number and isinstance(value, int),
            "number": is_number and math.isfinite(value),
            "array": isinstance(value, list),
        }[self.type]


class Rows(Section):
    """How many rows there must be."""

    min: Positive
    """The fewest rows."""
    max: Positive
    """The most rows."""

    @model_validator(mode="after")
    def _in_order(self) -> "Rows":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Contract(Section):
    """What must hold of the table as a whole."""

    rows: Rows
    unique: list[str] = []
    """The columns whose values together name a row: no two rows share them; rows are ordered by them."""


class TimeSplit(Section):
    """The split by time: each part ends with the day it names, and begins after the part before it."""

    by: Literal["time"]
    """How rows are split."""
    train_until: Annotated[date, Field(strict=False)]
    """The last day of the training part."""
    validation_until: Annotated[date, Field(strict=False)]
    """The last day of the validation part."""
    test_until: Annotated[date, Field(strict=False)]
    """The last day of the test part."""

    @model_validator(mode="after")
    def _in_order(self) -> "TimeSplit":
        if not self.train_until < self.validation_until < self.test_until:
            raise ValueError("train_until, validation_until and test_until must follow one another")
        return self


class RandomSplit(Section):
    """The split by lot, the same on every run, for rows that have no time; classes keep their shares in each part."""

    by: Literal["random"]
    """How rows are split."""
    validation: Interval
    """The share of rows that fall to the validation part."""
    test: Interval
    """The share of rows that fall to the test part."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Another seed is another split."""

    @model_validator(mode="after")
    def _leaves_some(self) -> "RandomSplit":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave some rows to train on: their sum must be below 1")
        return self


Split = Annotated[TimeSplit | RandomSplit, Field(discriminator="by")]


class Data(Section):
    """conf/data: where rows come from, what they must look like, how they are split."""

    source: Component
    fingerprint: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """The hash of the files that the source reads; `merit compose` fills it in."""
    time: str | None = None
    """The datetime column that rows are ordered and, with `by: time`, split by."""
    window: Window | None = None
    filter: str | None = None
    """A SQL condition on the source's columns; rows for which it doesn't hold are left out."""
    target: Target
    columns: dict[str, Column]
    columns_sha256: str = ""
    """The hash of `columns`, by which DVC's stages depend on them: of a wide table dvc.lock would hold little else;
    `merit compose` fills it in."""
    contract: Contract
    split: Split

    @model_validator(mode="after")
    def _knows_its_columns(self) -> "Data":
        columns = {name: column.model_dump(mode="json") for name, column in self.columns.items()}
        made = f"sha256:{hashlib.sha256(json.dumps(columns).encode()).hexdigest()}"
        if self.columns_sha256 not in {"", made}:
            raise ValueError("columns were changed, for columns_sha256 was made of others")
        object.__setattr__(self, "columns_sha256", made)  # what is frozen is so for others
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> "Data":
        known = sorted(self.columns)
        for place, names in {"time": [self.time] if self.time else [], "contract.unique": self.contract.unique}.items():
            for name in names:
                if name not in self.columns:
                    raise ValueError(f"{place} names '{name}', which is not among the columns {known}")
        if self.time is not None and self.columns[self.time].type != "datetime":
            raise ValueError(f"time names '{self.time}', whose type is not datetime")
        for needing, needs in {"window": self.window is not None, "split.by: time": self.split.by == "time"}.items():
            if needs and self.time is None:
                raise ValueError(f"{needing} needs time to name a datetime column")
        if self.target.name in self.columns:
            raise ValueError(f"the target '{self.target.name}' can't be a column too")
        for name in self.columns:
            if name.startswith("/") or name == OUTPUT:
                raise ValueError(f"a column can't be named '{name}': the model's graph uses that name; rename it")
        if not any(column.feature != "none" for column in self.columns.values()):
            raise ValueError("no column is a feature; set 'feature' on some")
        return self


class CategoryFeatures(Section):
    """How categories are fitted: a value seen in fewer than `min_count` training rows is unknown."""

    min_count: Positive
    """Training rows that a value needs to be known."""


class NumberFeatures(Section):
    """How numbers are fitted: standardised on training rows, then cut at `clip` standard deviations."""

    clip: Annotated[float, Field(gt=0)]
    """Standard deviations beyond which a number is cut."""


class Features(Section):
    """conf/features: how the preprocessing is fitted on training rows."""

    category: CategoryFeatures
    number: NumberFeatures
