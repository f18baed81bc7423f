"""JSON Schemas of conf/ for editors: one per group, one for config.yaml, one for experiments; generated from code."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from merit import artifacts
from merit.config import classes, documentation, signatures, targets
from merit.config.problems import FILLED_IN, fields_of, models_in
from merit.config.schema import Lock
from merit.config.schema.environment import Environment
from merit.config.schema.sweep import Sweep
from merit.config.signatures import Schema
from merit.errors import MeritError

FOLDER = Path("conf/.schema")
DIALECT = "http://json-schema.org/draft-07/schema#"
"""The draft that editors' language servers support best."""

OPEN: Schema = {"type": "string", "pattern": r"^(\$\{.+\}|\?\?\?)$"}
"""A value that is known only after composing: an interpolation, or `???` for one that another file must set."""

_WITH_DEFAULTS: Schema = {"required": ["defaults"]}
DEFAULTS: Schema = {"type": "array", "description": "The files that this one builds on; _self_ is its own place."}


def files() -> dict[str, str]:
    """Return the text of every schema by file name; the same code gives the same bytes."""
    maker, parts = _Maker(is_group=True), _Maker(is_group=False).whole()
    sections = {name for name, annotation in fields_of(Lock).items() if models_in(annotation)}
    schemas = {name: maker.group(name) for name in sorted(sections)}
    schemas |= {"config": parts, "experiment": parts, "environment": _Maker(is_group=True, form=Environment).alone()}
    schemas["sweep"] = _Maker(is_group=True, form=Sweep).building()
    return {f"{name}.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def write(folder: Path = FOLDER, others: Mapping[str, str] | None = None) -> list[str]:
    """Write the stale schemas and remove those no longer generated; return their names.

    Args:
        folder: the folder to write to.
        others: the texts of further schemas in the same folder, by file name.
    """
    made = {**files(), **(others or {})}
    changed = _differing(folder, made)
    for name in changed:
        if name in made:
            artifacts.write_text(folder / name, made[name])
        else:
            (folder / name).unlink()
    return changed


def stale(folder: Path = FOLDER, others: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of schema files that differ from the code, or are no longer generated."""
    return _differing(folder, {**files(), **(others or {})})


def _differing(folder: Path, made: Mapping[str, str]) -> list[str]:
    there = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.json")}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


class _Maker:
    """Converts pydantic's schema of a model into one for files that set part of it, with descriptions."""

    def __init__(self, *, is_group: bool, form: type[BaseModel] = Lock) -> None:
        self.is_group = is_group
        self.form = form
        self.lock = form.model_json_schema(by_alias=True)
        self.models = {model.__name__: model for model in _sections(form)}

    def alone(self) -> Schema:
        """Return the schema of files that hold the complete model, with nothing left to compose."""
        return {"$schema": DIALECT, **self._object(self.form, self.lock, (), whole=True)}

    def building(self) -> Schema:
        """Return the schema of files that hold the model and may build on one another."""
        made = self.alone()
        made["properties"] = {"defaults": DEFAULTS, **made["properties"]}
        return made

    def group(self, name: str) -> Schema:
        """Return the schema of a group's files; a file without `defaults` must be complete."""
        made = self._made(self.lock["properties"][name], (name,))
        whole = {"required": made.pop("required", [])}
        condition = {"if": _WITH_DEFAULTS, "else": whole} if whole["required"] else {}
        made["properties"] = {"defaults": DEFAULTS, **made["properties"]}
        # Keep the conditions on the component's classes beside this one.
        extra = [*made.pop("allOf", []), *([condition] if condition else [])]
        return {"$schema": DIALECT, **made, **({"allOf": extra} if extra else {})}

    def whole(self) -> Schema:
        """Return the schema of files that set any part of the lock."""
        made = self._object(Lock, self.lock, (), whole=False)
        made["properties"] = {"defaults": DEFAULTS, **made["properties"]}
        return {"$schema": DIALECT, **made}

    def _made(self, schema: Mapping[str, Any], place: tuple[str, ...], *, whole: bool = False) -> Schema:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if place and ".".join(place) in targets.PLACES:
                return _component(place, whole=self.is_group and len(place) == 1)
            return self._object(
                self.models[name], self.lock["$defs"][name], place, whole=whole or (self.is_group and len(place) == 1)
            )
        kept = {name: value for name, value in schema.items() if name not in {"title", "discriminator", "oneOf"}}
        kept = {name: value for name, value in kept.items() if (name, value) != ("default", None)}
        if forms := schema.get("anyOf", schema.get("oneOf")):
            # A partial section may match several members of a union, so `oneOf` would refuse it.
            kept["anyOf"] = [self._made(form, place, whole=whole) for form in forms]
        if isinstance(schema.get("items"), Mapping):  # composing replaces lists, so their items must be complete
            kept["items"] = self._made(schema["items"], (*place, "0"), whole=True)
        if isinstance(schema.get("additionalProperties"), Mapping):
            kept["additionalProperties"] = self._made(schema["additionalProperties"], (*place, "*"), whole=whole)
        return kept

    def _object(
        self, model: type[BaseModel], schema: Mapping[str, Any], place: tuple[str, ...], *, whole: bool
    ) -> Schema:
        properties = {
            name: _described(
                self._opened(self._made(inner, (*place, name), whole=False)), documentation.of_field(model, name)
            )
            for name, inner in schema["properties"].items()
            if name not in FILLED_IN
        }
        made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [name for name in schema.get("required", []) if name not in FILLED_IN]
        if whole and required:
            made["required"] = required
        return _described(made, documentation.of_class(model))

    def _opened(self, schema: Schema) -> Schema:
        return _opened(schema) if self.form is Lock else schema


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [each for annotation in fields_of(model).values() for each in models_in(annotation)]
    return [model, *(section for each in inner for section in _sections(each))]


def _described(schema: Schema, words: str) -> Schema:
    return {"description": words, **schema} if words else schema


def _opened(schema: Schema) -> Schema:
    """Return a schema that also accepts unresolved values; sections and unrestricted strings need no change."""
    if not schema or schema.get("type") == "object" or "allOf" in schema:
        return schema
    forms = schema["anyOf"] if "anyOf" in schema else [{k: v for k, v in schema.items() if k not in _BESIDE}]
    if any(form.get("type") == "object" or form == {"type": "string"} for form in forms):
        return schema
    return {**{k: v for k, v in schema.items() if k in _BESIDE}, "anyOf": [*forms, OPEN]}


_BESIDE = frozenset({"description", "default"})


def _component(place: tuple[str, ...], *, whole: bool) -> Schema:
    """Return the schema of a component: its class, and the arguments of each class that merit knows."""
    key = ".".join(place)
    known = {
        target: taken for target in _classes(targets.PLACES[key]) if (taken := _arguments(target, key)) is not None
    }
    # A project may trust its own packages, whose classes this schema can't list.
    merits = "|".join(prefix.replace(".", "[.]") for prefix in targets.TRUSTED)
    named = [{"enum": list(known)}, {"type": "string", "pattern": rf"^(?!{merits})"}]
    words = "The class to build; the keys beside it are its arguments."
    each = [_of_class(target, arguments, key, whole=whole) for target, arguments in known.items()]
    made: Schema = {"type": "object", "properties": {"_target_": {"description": words, "anyOf": named}}}
    if each:
        made["allOf"] = each
    return {**made, "required": ["_target_"]} if whole else made


def _of_class(target: str, arguments: dict[str, Schema], place: str, *, whole: bool) -> Schema:
    described = {"_target_": _described({}, signatures.summary_of(target)), **arguments}
    then: Schema = {"properties": {"defaults": {}, **described}, "additionalProperties": False}
    signature = classes.signature_of(target)
    required = [] if signature is None else [name for name in signature.required if name in arguments]
    if whole and required:
        then |= {"if": _WITH_DEFAULTS, "else": {"required": required}}
    return {"if": {"properties": {"_target_": {"const": target}}, "required": ["_target_"]}, "then": then}


def _classes(prefixes: tuple[str, ...]) -> list[str]:
    """Return the classes of a component's modules, including those that the modules import from their submodules."""
    found: list[str] = []
    for module in (prefix.removesuffix(".") for prefix in prefixes):
        tree = classes.source(module)
        borrowed = (
            []
            if tree is None
            else [name for name, origin in classes.imports(module, tree) if origin.startswith(f"{module}.")]
        )
        found += [f"{module}.{name}" for name in sorted({*classes.classes_in(module), *borrowed})]
    return [target for target in found if targets.is_trusted(target)]


def _arguments(target: str, place: str) -> dict[str, Schema] | None:
    """Return the schema of each argument that conf/ may set; None if the class doesn't fit this key."""
    signature = None
    with suppress(MeritError):  # some names that a module imports are no classes
        signature = targets._signature_of(target)
    supplied = targets.SUPPLIED.get(place, ())
    if signature is None or signature.takes_any or "defaults" in signature.names:  # `defaults` is Hydra's own key
        return None
    if supplied and supplied[0] not in signature.names:  # a building block of a network, or no optimizer
        return None
    told, typed = signatures.documentation_of(target), signatures.arguments_of(target) or {}
    return {
        name: _described(_opened(_draft7(typed[name].schema if name in typed else {})), told.get(name, ""))
        for name in signature.names
        if name not in supplied
    }


def _draft7(schema: Schema) -> Schema:
    """Return a schema in draft 7, where the items of a tuple are `items`."""
    return {"items" if name == "prefixItems" else name: value for name, value in schema.items()}
