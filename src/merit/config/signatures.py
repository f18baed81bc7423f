"""Read a target's arguments from source without importing it: types, defaults and documentation."""

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from merit.config import classes, targets
from merit.config.interpolation import is_open
from merit.config.problems import Fault, shown
from merit.errors import MeritError

Schema = dict[str, Any]
"""A JSON Schema of a value; empty where the annotation restricts nothing that YAML could express."""

NOTHING: Schema = {"not": {}}
"""A schema that no YAML value satisfies, for types such as a tensor."""


@dataclass(frozen=True)
class Argument:
    """One argument of a class: its annotation as written, the schema of it, and its default."""

    annotation: str
    schema: Schema
    default: str | None
    """Its source text; None if there is no default."""


def faults(values: Mapping[str, Any]) -> list[Fault]:
    """Return a fault for each argument of a target whose value doesn't fit its annotation."""
    return [
        Fault((*key, name), f"found {shown(given)}", arguments[name].annotation)
        for key, component in targets.mappings(values)
        if (arguments := trusted_arguments(component.get("_target_"))) is not None
        for name, given in component.items()
        if name in arguments and not is_open(given) and not fits(given, arguments[name].schema)
    ]


def trusted_arguments(target: Any) -> dict[str, Argument] | None:
    """Return the arguments of a target; None if it is not trusted, doesn't exist or can't be read."""
    with suppress(MeritError):
        return arguments_of(target) if targets.is_trusted(target) else None
    return None


def arguments_of(target: str) -> dict[str, Argument] | None:
    """Return the arguments of a class by name, without `self`; None if there is no such class."""
    module, _, name = target.rpartition(".")
    found = classes.find(module, name)
    if found is None:
        return None
    home, definition = found
    init = next((n for n in definition.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        return dict(_arguments(init.args))
    for base in definition.bases:
        if isinstance(base, ast.Name) and (inherited := arguments_of(f"{home}.{base.id}")) is not None:
            return inherited
    return {}


def _arguments(args: ast.arguments) -> Iterator[tuple[str, Argument]]:
    positional = [*args.posonlyargs, *args.args]
    defaults = [*[None] * (len(positional) - len(args.defaults)), *args.defaults, *args.kw_defaults]
    for arg, default in list(zip([*positional, *args.kwonlyargs], defaults, strict=True))[1:]:
        written = "" if arg.annotation is None else ast.unparse(arg.annotation)
        yield arg.arg, Argument(written, schema_of(arg.annotation), None if default is None else ast.unparse(default))


_PLAIN: dict[str, Schema] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "Path": {"type": "string"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "Tensor": NOTHING,
}
_LISTS = frozenset({"Sequence", "list", "List", "Iterable", "Collection", "tuple", "Tuple"})
_MAPPINGS = frozenset({"Mapping", "dict", "Dict", "MutableMapping"})


def schema_of(annotation: ast.expr | None) -> Schema:
    """Return the schema of an annotation, as far as it is simple."""
    match annotation:
        case ast.Constant(value=None):
            return {"type": "null"}
        case ast.Constant(value=str(text)):
            return schema_of(ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _any_of([schema_of(left), schema_of(right)])
        case ast.Subscript(value=outer, slice=inner):
            return _subscript(_name(outer), inner.elts if isinstance(inner, ast.Tuple) else [inner])
        case ast.Name() | ast.Attribute():
            name = _name(annotation)
            bare = {"type": "array"} if name in _LISTS else {"type": "object"} if name in _MAPPINGS else {}
            return dict(_PLAIN.get(name, bare))
    return {}


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _subscript(outer: str, inner: list[ast.expr]) -> Schema:
    if outer == "Literal":
        return {"enum": [each.value for each in inner if isinstance(each, ast.Constant)]}
    if outer in {"Optional", "Union"}:
        return _any_of([schema_of(each) for each in inner] + ([{"type": "null"}] if outer == "Optional" else []))
    if outer in _MAPPINGS:
        return {"type": "object"}
    if outer not in _LISTS:
        return {}
    if outer.lower() == "tuple" and not (len(inner) == 2 and _is_dots(inner[1])):
        each = [schema_of(one) for one in inner]
        return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
    return {"type": "array", "items": schema_of(inner[0])}


def _is_dots(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _any_of(schemas: list[Schema]) -> Schema:
    possible = [one for schema in schemas for one in schema.get("anyOf", [schema]) if one != NOTHING]
    if {} in possible:
        return {}
    return possible[0] if len(possible) == 1 else {"anyOf": possible} if possible else NOTHING


_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,), "number": (int, float), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "array": (list,), "object": (dict,),
}  # fmt: skip


def fits(value: Any, schema: Schema) -> bool:
    """Return whether a value matches a schema of this module; unresolved values always do."""
    if is_open(value) or not schema:
        return True
    if "anyOf" in schema:
        return any(fits(value, one) for one in schema["anyOf"])
    if "enum" in schema:
        return any(value == one and type(value) is type(one) for one in schema["enum"])
    kind = schema.get("type")
    if isinstance(value, bool) or kind not in _TYPES or not isinstance(value, _TYPES[kind]):
        return isinstance(value, bool) and kind == "boolean"
    return not isinstance(value, list) or _items_fit(value, schema)


def _items_fit(items: list[Any], schema: Schema) -> bool:
    if "prefixItems" in schema:
        return len(items) == schema["minItems"] and all(map(fits, items, schema["prefixItems"]))
    return all(fits(item, schema.get("items", {})) for item in items)


def summary_of(target: str) -> str:
    """Return the first paragraph of a class's docstring, on one line."""
    return " ".join(_docstring(target).partition("\n\n")[0].split())


def documentation_of(target: str) -> dict[str, str]:
    """Return the text of each argument in the `Args` section of a class's docstring, on one line each."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", _docstring(target), re.M | re.S)
    if section is None:
        return {}
    found: dict[str, str] = {}
    for entry in re.split(r"^(?=\w)", dedent(section[1]), flags=re.M):
        # A paragraph indented like the entries, such as a note or a link, ends the entry before it.
        if told := re.match(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)", re.split(r"\n\n|\n\.\. ", entry)[0], re.S):
            found[told[1]] = " ".join(told[2].split())
    return found


def _docstring(target: str) -> str:
    """Return a class's docstring, also one that is assigned to `__doc__` after the class, as torch does."""
    module, _, name = target.rpartition(".")
    found = classes.find(module, name)
    if found is None:
        return ""
    home, definition = found
    text = ast.get_docstring(definition) or ""
    for node in [] if text else getattr(classes.source(home), "body", []):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"{definition.name}.__doc__":
            text = _text(node.value, home)
    lines = text.strip().splitlines()
    return "\n".join([*lines[:1], *dedent("\n".join(lines[1:])).splitlines()])


def _text(node: ast.expr, module: str) -> str:
    """Return the value of an expression that only joins string literals and names of string constants."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, module) + _text(right, module)
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, module) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return _constant(module, name)
    return ""


def _constant(module: str, name: str) -> str:
    """Return the string that a module defines or imports under a name."""
    tree = classes.source(module)
    for node in [] if tree is None else tree.body:
        if isinstance(node, ast.Assign) and any(ast.unparse(each) == name for each in node.targets):
            return _text(node.value, module)
    origin = "" if tree is None else dict(classes.imports(module, tree)).get(name, "")
    return _constant(*origin.rpartition(".")[::2]) if "." in origin else ""
