"""The schema of one raw column in conf/data: its type, how its cells are written, and its feature."""

import math
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from merit.config.schema.base import PositiveInt, Section, Share
from merit.config.schema.strictness import NoRule, Weaker
from merit.reading.times import compile_format

FEATURES_BY_TYPE = {
    "string": ("category", "none"),
    "integer": ("category", "number", "none"),
    "number": ("number", "none"),
    "boolean": ("number", "none"),
    "datetime": ("time", "none"),
    "array": ("array", "none"),
}
"""The features allowed for each column type."""

_ALLOWED_VALUE_TYPES: dict[str, type] = {"string": str, "integer": int}


def _is_naive_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def is_servable_name(name: str) -> bool:
    """Return whether rows of JSON can have a column of this name, as msgspec checks them."""
    return not any(each in '"\\' or each < " " for each in name)


class Known(Section):
    """Why a column is known before the outcome: the time by which it is, or a reason."""

    by: str | None = None
    """A datetime column: the time by which the value was known. The gate checks that no row's is after data.time."""
    reason: Annotated[str | None, Field(min_length=10)] = None
    """The reason, for reviewers."""

    @model_validator(mode="after")
    def _check_one(self) -> "Known":
        if (self.by is None) == (self.reason is None):
            raise ValueError("give either by, a datetime column, or reason")
        return self

    @model_serializer(mode="wrap")
    def _omit_unset_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class Column(Section):
    """One raw column: its contract, and the feature that the model makes of it.

    `feature` is `category` (one code per value), `number` (standardised, with a flag where values may be missing),
    `time` (of a datetime: hour of the day, weekday and day of the year, each as a point on a circle), `array` (every
    element standardised alike), or `none` (kept for keys, time or slices, never an input of the model).
    """

    type: Annotated[Literal["string", "integer", "number", "boolean", "datetime", "array"], Weaker("any")]
    """The type of its values."""
    feature: Annotated[
        Literal["category", "number", "time", "array", "none"], NoRule("the gate judges the model that takes it")
    ] = "none"
    """The feature that the model makes of it."""
    shape: Annotated[list[PositiveInt] | None, Weaker("any")] = None
    """The shape of an array column, such as [8, 8] for an image of one channel; `min` and `max` bound its elements."""
    description: Annotated[str | None, NoRule("it is for readers")] = None
    """Its meaning and unit, for readers."""
    known: Annotated[Known | None, Weaker("any")] = None
    """Why its value is known before the outcome; the gate asks for it where a new or changed feature predicts the
    target too well (gate.data.leakage.gain)."""
    allowed: Annotated[list[str] | list[int] | None, Weaker("more")] = None
    """The only allowed values."""
    min: Annotated[float | None, Weaker("smaller")] = None
    """The minimum value."""
    max: Annotated[float | None, Weaker("larger")] = None
    """The maximum value."""
    missing: Annotated[Share, Weaker("larger")] = 0.0
    """The maximum share of rows without a value; 0 means that every row must have one."""
    null_values: Annotated[list[str] | None, Weaker("any")] = None
    """Texts that mean "no value" in this column, besides the empty cell."""
    format: Annotated[str | None, Weaker("any")] = None
    """The strptime format of a datetime, such as "%d.%m.%Y"; ISO 8601 is always read."""
    decimal: Annotated[Literal[".", ","] | None, Weaker("any")] = None
    """The decimal separator of a number; "." unless the source sets another, or thousands is "." and it is ","."""
    thousands: Annotated[Literal[",", ".", " ", "'", "_"] | None, Weaker("any")] = None
    """The thousands separator of a number, as in 1,234,567."""
    negative: Annotated[Literal["parentheses"] | None, Weaker("any")] = None
    """How a negative number may be written besides -1.50: `parentheses` reads (1.50)."""
    affixes: Annotated[list[Annotated[str, Field(min_length=1)]] | None, Weaker("any")] = None
    """Marks before or after a number that are ignored, such as "$" or "%"; 12% is read as 12."""

    @model_serializer(mode="wrap")
    def _omit_unset_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit keys that are not set: most columns set few, and the lock is read by people."""
        return {name: value for name, value in serialize(self).items() if value is not None}

    @model_validator(mode="after")
    def _check_cell_settings(self) -> "Column":
        if self.format is not None and self.type != "datetime":
            raise ValueError(f"format is for columns of type datetime, not for a {self.type}")
        if self.format is not None:
            try:
                compile_format(self.format)
            except ValueError as error:
                raise ValueError(f"format: {error}") from error
        number_keys = [key for key in ("decimal", "thousands", "negative", "affixes") if getattr(self, key) is not None]
        if number_keys and self.type not in {"integer", "number"}:
            raise ValueError(f"{' and '.join(number_keys)} are for integers and numbers, not for a {self.type}")
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError(f"thousands and decimal are both '{self.thousands}'; a number needs two signs")
        if self.null_values is not None and self.type == "array":
            raise ValueError("null_values are words, which an array has none of")
        return self

    @model_validator(mode="after")
    def _check_contract(self) -> "Column":
        if self.feature not in FEATURES_BY_TYPE[self.type]:
            allowed_features = ", ".join(FEATURES_BY_TYPE[self.type])
            raise ValueError(
                f"a column of type {self.type} can't be a {self.feature} feature; allowed: {allowed_features}"
            )
        if (self.shape is not None) != (self.type == "array"):
            raise ValueError("shape is for columns of type array, which must have one, and for no other")
        if self.type == "array" and self.missing > 0:
            raise ValueError("an array can't be missing; drop such rows by data.filter")
        if (self.min is not None or self.max is not None) and self.type not in {"integer", "number", "array"}:
            raise ValueError(f"min and max are for integers, numbers and arrays, not for a {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.allowed is not None and not all(
            isinstance(v, _ALLOWED_VALUE_TYPES.get(self.type, ())) for v in self.allowed
        ):
            raise ValueError(f"allowed values are for strings and integers, and of that type; found {self.allowed}")
        return self

    def accepts_value(self, value: Any) -> bool:
        """Return whether a YAML value is of this column's type."""
        if value is None:
            return self.missing > 0
        if self.type == "datetime":
            return isinstance(value, date) or (isinstance(value, str) and _is_naive_time(value))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": is_number and isinstance(value, int),
            "number": is_number and math.isfinite(value),
            "array": isinstance(value, list),
        }[self.type]
