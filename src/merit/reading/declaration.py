"""What conf/data says of how the cells of a column are written; it travels in the package's signature."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

EXACT = 2**53
"""The greatest whole number up to which float64, which the model's graph takes, holds every one."""


@dataclass(frozen=True)
class Declaration:
    """How the cells of one column are read.

    Attributes:
        name: the column.
        type: string, integer, number, boolean, datetime or array.
        shape: of an array.
        null_values: words that mean "no value", besides the empty cell; a number or a time among them by its value.
        format: how times are written, as strptime has it, besides ISO 8601.
        decimal: what stands before the fraction of a number.
        thousands: what groups the digits of a number.
        negative: `parentheses`, where (1.50) means -1.50.
        affixes: marks before or after a number, such as $ or %, which are left out.
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
    def is_plain(self) -> bool:
        """Whether numbers are written as in any program: 1234.5."""
        return self.decimal in {None, "."} and not (self.thousands or self.negative or self.affixes)

    @property
    def settings(self) -> dict[str, Any]:
        """The keys of `KEYS` that are set, as YAML and JSON have them."""
        values = {key: getattr(self, key) for key in KEYS if getattr(self, key)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


KEYS = tuple(each.name for each in fields(Declaration))[3:]
"""The settings of a column that say how its cells are written."""


def declared(name: str, settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Declaration:
    """Return the declaration of a column.

    Args:
        name: the column.
        settings: of conf/data or of a signature: `type`, `shape` and those of `KEYS`; others are not looked at.
        defaults: what the source says of all its columns: `null_values`, which add up, and `decimal`.
    """
    defaults = defaults or {}
    values = {key: value for key in KEYS if (value := settings.get(key)) is not None}
    nulls = [*(defaults.get("null_values") or ()), *values.pop("null_values", ())]
    if settings["type"] in {"integer", "number"} and "decimal" not in values and defaults.get("decimal"):
        values["decimal"] = defaults["decimal"]
    if values.get("thousands") == ".":
        values.setdefault("decimal", ",")
    written: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Declaration(
        name,
        settings["type"],
        tuple(settings.get("shape") or ()),
        tuple(dict.fromkeys(word.strip() for word in nulls)),
        **written,
    )


def defaults_of(source: object) -> dict[str, Any]:
    """Return what a source says of all its columns, if it says anything: `null_values` and `decimal`."""
    values = {key: getattr(source, key, None) for key in ("null_values", "decimal")}
    return {key: value for key, value in values.items() if value and value != "."}
