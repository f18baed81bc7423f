"""Declares, beside a field, which change of it makes a rule of the gate less strict, and finds the declaration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Change = Literal["larger", "smaller", "fewer", "any", "worse metric", "margins"]


@dataclass(frozen=True)
class Weaker:
    """The change of a field that makes its rule less strict; the last item of the field's `Annotated`.

    Attributes:
        change: `larger` or `smaller` numbers; `fewer` names; `any` other value; for a limit of a metric, the `worse
            metric`; for margins by metric, larger or fewer `margins`.
        null: what null means: `no limit`, a limit of `zero`, or that the names are `detected`, which is the strictest.

    Example:
        size_mb: Annotated[float, Field(gt=0), Weaker("larger")]
    """

    change: Change
    null: Literal["no limit", "zero", "detected"] = "no limit"


def find_weaker(section: type[BaseModel], path: Sequence[str]) -> Weaker | None:
    """Return the declaration of the field at a path of keys; None if there is no such field, or it declares nothing."""
    field = section.model_fields.get(path[0])
    return None if field is None else _follow_path(field.annotation, path[1:], get_weaker(field))


def get_weaker(field: FieldInfo) -> Weaker | None:
    """Return the declaration of a field."""
    return next((each for each in field.metadata if isinstance(each, Weaker)), None)


def list_marked_paths(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all fields with a declaration in a section and those below it, but for entries of a dict."""
    for name, field in section.model_fields.items():
        if get_weaker(field) is not None:
            yield (*prefix, name)
        for kind in split_union(field.annotation):
            if is_section(kind):
                yield from list_marked_paths(kind, (*prefix, name))


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


def _follow_path(annotation: Any, path: Sequence[str], declared: Weaker | None) -> Weaker | None:
    if not path:
        return declared
    for kind in split_union(annotation):
        if is_section(kind):
            return find_weaker(kind, path)
        if get_origin(kind) is dict:
            return _follow_path(get_args(kind)[1], path[1:], declared)
    return None
