"""How a column's cells are written, as declared in conf/data and recorded in the package's signature."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MAX_EXACT_INTEGER = 2**53
"""2**53: up to it float64, the input type of the model's graph, represents every integer exactly."""


@dataclass(frozen=True)
class ColumnDeclaration:
    """How the cells of one column are read.

    Attributes:
        name: the column.
        type: string, integer, number, boolean, datetime or array.
        shape: the shape of an array.
        null_values: texts that mean "no value", besides the empty cell; numbers and times among them match by value.
        format: the strptime format of times, accepted besides ISO 8601.
        decimal: the decimal separator of numbers.
        thousands: the thousands separator of numbers.
        negative: `parentheses` if (1.50) means -1.50.
        affixes: marks before or after a number, such as $ or %, which are ignored.
    """

    name: str
    type: str
    shape: tuple[int, ...] = ()
    null_values: tuple[str, ...] = ()
    format: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    negative: str | None = None
    affixes: tuple[str, ...] = ()

    @property
    def has_plain_numbers(self) -> bool:
        """Whether numbers are written without separators, parentheses and affixes: 1234.5."""
        return self.decimal in {None, "."} and not (self.thousands or self.negative or self.affixes)

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of `KEYS` that are set, for YAML and JSON."""
        values = {key: getattr(self, key) for key in CELL_KEYS if getattr(self, key)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


CELL_KEYS = tuple(each.name for each in fields(ColumnDeclaration))[3:]
"""The settings of a column that describe how its cells are written."""


def build_declaration(
    name: str, settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> ColumnDeclaration:
    """Return the declaration of a column.

    Args:
        name: the column.
        settings: from conf/data or a signature: `type`, `shape` and those of `KEYS`; others are ignored.
        defaults: the source's settings for all columns: `null_values`, which add to the column's, and `decimal`.
    """
    defaults = defaults or {}
    values = {key: value for key in CELL_KEYS if (value := settings.get(key)) is not None}
    nulls = [*(defaults.get("null_values") or ()), *values.pop("null_values", ())]
    if settings["type"] in {"integer", "number"} and "decimal" not in values and defaults.get("decimal"):
        values["decimal"] = defaults["decimal"]
    if values.get("thousands") == ".":
        values.setdefault("decimal", ",")
    cell_settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return ColumnDeclaration(
        name,
        settings["type"],
        tuple(settings.get("shape") or ()),
        tuple(dict.fromkeys(word.strip() for word in nulls)),
        **cell_settings,
    )


def get_defaults(source: object) -> dict[str, Any]:
    """Return a source's settings for all its columns: `null_values` and `decimal`, if set."""
    values = {key: getattr(source, key, None) for key in ("null_values", "decimal")}
    return {key: value for key, value in values.items() if value and value != "."}
