"""Read a target's arguments from source without importing it: types, defaults and documentation."""

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from merit.config.components import class_source, targets
from merit.config.composition.interpolation import is_unresolved
from merit.config.problems import Fault, format_value
from merit.errors import MeritError

Schema = dict[str, Any]
"""A JSON Schema of a value; empty where the annotation restricts nothing that YAML could express."""

IMPOSSIBLE_SCHEMA: Schema = {"not": {}}
"""A schema that no YAML value satisfies, for types such as a tensor."""


@dataclass(frozen=True)
class Argument:
    """One argument of a class: its annotation as written, the schema of it, and its default."""

    annotation: str
    schema: Schema
    default: str | None
    """Its source text; None if there is no default."""


def find_faults(values: Mapping[str, Any]) -> list[Fault]:
    """Return a fault for each argument of a target whose value doesn't fit its annotation."""
    return [
        Fault((*key, name), f"found {format_value(given)}", arguments[name].annotation)
        for key, component in targets.iterate_mappings(values)
        if (arguments := read_trusted_arguments(component.get("_target_"))) is not None
        for name, given in component.items()
        if name in arguments and not is_unresolved(given) and not matches_schema(given, arguments[name].schema)
    ]


def read_trusted_arguments(target: Any) -> dict[str, Argument] | None:
    """Return the arguments of a target; None if it is not trusted, doesn't exist or can't be read."""
    with suppress(MeritError):
        return read_arguments(target) if targets.is_trusted(target) else None
    return None


def read_arguments(target: str) -> dict[str, Argument] | None:
    """Return the arguments of a class by name, without `self`; None if there is no such class."""
    module, _, name = target.rpartition(".")
    located = class_source.find_class(module, name)
    if located is None:
        return None
    module_name, definition = located
    init = next((n for n in definition.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        return dict(_parse_arguments(init.args))
    for base in definition.bases:
        if isinstance(base, ast.Name) and (inherited := read_arguments(f"{module_name}.{base.id}")) is not None:
            return inherited
    return {}


def _parse_arguments(args: ast.arguments) -> Iterator[tuple[str, Argument]]:
    positional = [*args.posonlyargs, *args.args]
    defaults = [*[None] * (len(positional) - len(args.defaults)), *args.defaults, *args.kw_defaults]
    for arg, default in list(zip([*positional, *args.kwonlyargs], defaults, strict=True))[1:]:
        annotation = "" if arg.annotation is None else ast.unparse(arg.annotation)
        yield (
            arg.arg,
            Argument(annotation, convert_annotation(arg.annotation), None if default is None else ast.unparse(default)),
        )


_SCALAR_SCHEMAS: dict[str, Schema] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "Path": {"type": "string"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "Tensor": IMPOSSIBLE_SCHEMA,
}
_LIST_TYPES = frozenset({"Sequence", "list", "List", "Iterable", "Collection", "tuple", "Tuple"})
_MAPPING_TYPES = frozenset({"Mapping", "dict", "Dict", "MutableMapping"})


def convert_annotation(annotation: ast.expr | None) -> Schema:
    """Return the schema of an annotation, as far as it is simple."""
    match annotation:
        case ast.Constant(value=None):
            return {"type": "null"}
        case ast.Constant(value=str(text)):
            return convert_annotation(ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _join_alternatives([convert_annotation(left), convert_annotation(right)])
        case ast.Subscript(value=outer, slice=inner):
            return _convert_subscript(_get_name(outer), inner.elts if isinstance(inner, ast.Tuple) else [inner])
        case ast.Name() | ast.Attribute():
            name = _get_name(annotation)
            default_schema = (
                {"type": "array"} if name in _LIST_TYPES else {"type": "object"} if name in _MAPPING_TYPES else {}
            )
            return dict(_SCALAR_SCHEMAS.get(name, default_schema))
    return {}


def _get_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _convert_subscript(outer: str, inner: list[ast.expr]) -> Schema:
    if outer == "Literal":
        return {"enum": [each.value for each in inner if isinstance(each, ast.Constant)]}
    if outer in {"Optional", "Union"}:
        return _join_alternatives(
            [convert_annotation(each) for each in inner] + ([{"type": "null"}] if outer == "Optional" else [])
        )
    if outer in _MAPPING_TYPES:
        return {"type": "object"}
    if outer not in _LIST_TYPES:
        return {}
    if outer.lower() == "tuple" and not (len(inner) == 2 and _is_ellipsis(inner[1])):
        each = [convert_annotation(one) for one in inner]
        return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
    return {"type": "array", "items": convert_annotation(inner[0])}


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _join_alternatives(schemas: list[Schema]) -> Schema:
    possible = [one for schema in schemas for one in schema.get("anyOf", [schema]) if one != IMPOSSIBLE_SCHEMA]
    if {} in possible:
        return {}
    return possible[0] if len(possible) == 1 else {"anyOf": possible} if possible else IMPOSSIBLE_SCHEMA


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,), "number": (int, float), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "array": (list,), "object": (dict,),
}  # fmt: skip


def matches_schema(value: Any, schema: Schema) -> bool:
    """Return whether a value matches a schema of this module; unresolved values always do."""
    if is_unresolved(value) or not schema:
        return True
    if "anyOf" in schema:
        return any(matches_schema(value, one) for one in schema["anyOf"])
    if "enum" in schema:
        return any(value == one and type(value) is type(one) for one in schema["enum"])
    kind = schema.get("type")
    if isinstance(value, bool) or kind not in _PYTHON_TYPES or not isinstance(value, _PYTHON_TYPES[kind]):
        return isinstance(value, bool) and kind == "boolean"
    return not isinstance(value, list) or _items_match(value, schema)


def _items_match(items: list[Any], schema: Schema) -> bool:
    if "prefixItems" in schema:
        return len(items) == schema["minItems"] and all(map(matches_schema, items, schema["prefixItems"]))
    return all(matches_schema(item, schema.get("items", {})) for item in items)


def read_summary(target: str) -> str:
    """Return the first paragraph of a class's docstring, on one line."""
    return " ".join(_read_docstring(target).partition("\n\n")[0].split())


def read_argument_docs(target: str) -> dict[str, str]:
    """Return the text of each argument in the `Args` section of a class's docstring, on one line each."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", _read_docstring(target), re.M | re.S)
    if section is None:
        return {}
    docs: dict[str, str] = {}
    for entry in re.split(r"^(?=\w)", dedent(section[1]), flags=re.M):
        # A paragraph indented like the entries, such as a note or a link, ends the entry before it.
        if match := re.match(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)", re.split(r"\n\n|\n\.\. ", entry)[0], re.S):
            docs[match[1]] = " ".join(match[2].split())
    return docs


def _read_docstring(target: str) -> str:
    """Return a class's docstring, also one that is assigned to `__doc__` after the class, as torch does."""
    module, _, name = target.rpartition(".")
    located = class_source.find_class(module, name)
    if located is None:
        return ""
    module_name, definition = located
    text = ast.get_docstring(definition) or ""
    for node in [] if text else getattr(class_source.parse_module(module_name), "body", []):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"{definition.name}.__doc__":
            text = _evaluate_text(node.value, module_name)
    lines = text.strip().splitlines()
    return "\n".join([*lines[:1], *dedent("\n".join(lines[1:])).splitlines()])


def _evaluate_text(node: ast.expr, module: str) -> str:
    """Return the value of an expression that only joins string literals and names of string constants."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _evaluate_text(left, module) + _evaluate_text(right, module)
        case ast.JoinedStr(values=parts):
            return "".join(_evaluate_text(part, module) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return _find_constant(module, name)
    return ""


def _find_constant(module: str, name: str) -> str:
    """Return the string that a module defines or imports under a name."""
    tree = class_source.parse_module(module)
    for node in [] if tree is None else tree.body:
        if isinstance(node, ast.Assign) and any(ast.unparse(each) == name for each in node.targets):
            return _evaluate_text(node.value, module)
    origin = "" if tree is None else dict(class_source.iterate_imports(module, tree)).get(name, "")
    return _find_constant(*origin.rpartition(".")[::2]) if "." in origin else ""
