"""Declares, beside a field, which change of it makes a rule of the gate less strict, and finds the declaration.

Every key of params.yaml is a rule unless its field, or that of a section around it, declares `NoRule`: a key without a
declaration counts as weaker whenever it changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Change = Literal["larger", "smaller", "fewer", "more", "earlier", "any", "worse metric", "margins"]


@dataclass(frozen=True)
class Weaker:
    """The change of a field that makes its rule less strict; the last item of the field's `Annotated`.

    Attributes:
        change: `larger` or `smaller` numbers; `fewer` or `more` names; an `earlier` day; `any` other value; for a limit
            of a metric, the `worse metric`; for margins by metric, larger or fewer `margins`.
        null: what null means: `no limit`, a limit of `zero`, or that the names are `detected`, which is the strictest.

    Example:
        size_mb: Annotated[float, Field(gt=0), Weaker("larger")]
    """

    change: Change
    null: Literal["no limit", "zero", "detected"] = "no limit"


@dataclass(frozen=True)
class NoRule:
    """States that a change of a field, and of all fields below it, lets nothing more through the gate.

    Attributes:
        reason: why not.

    Example:
        seed: Annotated[int, NoRule("another draw of the same training")]
    """

    reason: str


Declaration = Weaker | NoRule


def find_declaration(section: type[BaseModel], path: Sequence[str]) -> Declaration | None:
    """Return the declaration nearest to a path of keys: its field's, or that of a section around it; None without one.

    Args:
        section: the section that the path begins in.
        path: the keys; those below a field that is no section, such as a dict, belong to that field.
    """
    return _follow_path(section, path, None)


def get_declaration(field: FieldInfo) -> Declaration | None:
    """Return the declaration of a field."""
    return next((each for each in field.metadata if isinstance(each, Declaration)), None)


def find_field(section: type[BaseModel], path: Sequence[str]) -> FieldInfo | None:
    """Return the field at a path of keys; None if no field has just this path."""
    kinds: list[Any] = [section]
    field = None
    for name in path:
        field = next((each for kind in kinds if (each := _get_field(kind, name)) is not None), None)
        if field is None:
            return None
        kinds = split_union(field.annotation)
    return field


def split_union(annotation: Any) -> list[Any]:
    """Return the types that a value may have, without None."""
    if get_origin(annotation) is Annotated:
        return split_union(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [kind for each in get_args(annotation) for kind in split_union(each) if kind is not NoneType]
    return [annotation]


def is_section(kind: Any) -> bool:
    """Return whether a type is a section of the schema."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _get_field(kind: Any, name: str) -> FieldInfo | None:
    return kind.model_fields.get(name) if is_section(kind) else None


def _follow_path(annotation: Any, path: Sequence[str], declared: Declaration | None) -> Declaration | None:
    if not path:
        return declared
    for kind in split_union(annotation):
        if (field := _get_field(kind, path[0])) is not None:
            return _follow_path(field.annotation, path[1:], get_declaration(field) or declared)
        if get_origin(kind) is dict:
            return _follow_path(get_args(kind)[1], path[1:], declared)
    return declared
