"""JSON Schemas of conf/ for editors: one per group, one for config.yaml, one for experiments; generated from code."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from merit import artifacts
from merit.config.components import class_source, signatures, targets
from merit.config.components.signatures import Schema
from merit.config.documentation import keys
from merit.config.problems import COMPOSED_KEYS, find_models, get_annotations
from merit.config.schema import Lock
from merit.config.schema.environment import Environment
from merit.config.schema.sweep import Sweep
from merit.errors import MeritError

SCHEMA_FOLDER = Path("conf/.schema")
SCHEMA_DIALECT = "http://json-schema.org/draft-07/schema#"
"""The draft that editors' language servers support best."""

UNRESOLVED_SCHEMA: Schema = {"type": "string", "pattern": r"^(\$\{.+\}|\?\?\?)$"}
"""A value that is known only after composing: an interpolation, or `???` for one that another file must set."""

_WITH_DEFAULTS: Schema = {"required": ["defaults"]}
DEFAULTS_SCHEMA: Schema = {
    "type": "array",
    "description": "The files that this one builds on; _self_ is its own place.",
}


def build_schemas() -> dict[str, str]:
    """Return the text of every schema by file name; the same code gives the same bytes."""
    group_builder, partial_schema = _SchemaBuilder(is_group=True), _SchemaBuilder(is_group=False).build_partial()
    sections = {name for name, annotation in get_annotations(Lock).items() if find_models(annotation)}
    schemas = {name: group_builder.build_group(name) for name in sorted(sections)}
    schemas |= {
        "config": partial_schema,
        "experiment": partial_schema,
        "environment": _SchemaBuilder(is_group=True, root_model=Environment).build_complete(),
    }
    schemas["sweep"] = _SchemaBuilder(is_group=True, root_model=Sweep).build_extensible()
    return {f"{name}.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def write_schemas(folder: Path = SCHEMA_FOLDER, others: Mapping[str, str] | None = None) -> list[str]:
    """Write the stale schemas and remove those no longer generated; return their names.

    Args:
        folder: the folder to write to.
        others: the texts of further schemas in the same folder, by file name.
    """
    texts = {**build_schemas(), **(others or {})}
    changed = _find_differences(folder, texts)
    for name in changed:
        if name in texts:
            artifacts.write_text(folder / name, texts[name])
        else:
            (folder / name).unlink()
    return changed


def find_stale(folder: Path = SCHEMA_FOLDER, others: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of schema files that differ from the code, or are no longer generated."""
    return _find_differences(folder, {**build_schemas(), **(others or {})})


def _find_differences(folder: Path, texts: Mapping[str, str]) -> list[str]:
    current = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.json")}
    return sorted(name for name in texts.keys() | current.keys() if texts.get(name) != current.get(name))


class _SchemaBuilder:
    """Converts pydantic's schema of a model into one for files that set part of it, with descriptions."""

    def __init__(self, *, is_group: bool, root_model: type[BaseModel] = Lock) -> None:
        self.is_group = is_group
        self.root_model = root_model
        self.model_schema = root_model.model_json_schema(by_alias=True)
        self.models = {model.__name__: model for model in _list_sections(root_model)}

    def build_complete(self) -> Schema:
        """Return the schema of files that hold the complete model, with nothing left to compose."""
        return {
            "$schema": SCHEMA_DIALECT,
            **self._build_object(self.root_model, self.model_schema, (), is_complete=True),
        }

    def build_extensible(self) -> Schema:
        """Return the schema of files that hold the model and may build on one another."""
        schema = self.build_complete()
        schema["properties"] = {"defaults": DEFAULTS_SCHEMA, **schema["properties"]}
        return schema

    def build_group(self, name: str) -> Schema:
        """Return the schema of a group's files; a file without `defaults` must be complete."""
        schema = self._convert(self.model_schema["properties"][name], (name,))
        requirement = {"required": schema.pop("required", [])}
        condition = {"if": _WITH_DEFAULTS, "else": requirement} if requirement["required"] else {}
        schema["properties"] = {"defaults": DEFAULTS_SCHEMA, **schema["properties"]}
        # Keep the conditions on the component's classes beside this one.
        extra = [*schema.pop("allOf", []), *([condition] if condition else [])]
        return {"$schema": SCHEMA_DIALECT, **schema, **({"allOf": extra} if extra else {})}

    def build_partial(self) -> Schema:
        """Return the schema of files that set any part of the lock."""
        schema = self._build_object(Lock, self.model_schema, (), is_complete=False)
        schema["properties"] = {"defaults": DEFAULTS_SCHEMA, **schema["properties"]}
        return {"$schema": SCHEMA_DIALECT, **schema}

    def _convert(self, schema: Mapping[str, Any], path: tuple[str, ...], *, is_complete: bool = False) -> Schema:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if path and ".".join(path) in targets.PREFIXES_BY_KEY:
                return _build_component(path, is_complete=self.is_group and len(path) == 1)
            return self._build_object(
                self.models[name],
                self.model_schema["$defs"][name],
                path,
                is_complete=is_complete or (self.is_group and len(path) == 1),
            )
        converted = {name: value for name, value in schema.items() if name not in {"title", "discriminator", "oneOf"}}
        converted = {name: value for name, value in converted.items() if (name, value) != ("default", None)}
        if alternatives := schema.get("anyOf", schema.get("oneOf")):
            # A partial section may match several members of a union, so `oneOf` would refuse it.
            converted["anyOf"] = [self._convert(form, path, is_complete=is_complete) for form in alternatives]
        if isinstance(schema.get("items"), Mapping):  # composing replaces lists, so their items must be complete
            converted["items"] = self._convert(schema["items"], (*path, "0"), is_complete=True)
        if isinstance(schema.get("additionalProperties"), Mapping):
            converted["additionalProperties"] = self._convert(
                schema["additionalProperties"], (*path, "*"), is_complete=is_complete
            )
        return converted

    def _build_object(
        self, model: type[BaseModel], schema: Mapping[str, Any], path: tuple[str, ...], *, is_complete: bool
    ) -> Schema:
        properties = {
            name: _add_description(
                self._allow_unresolved(self._convert(inner, (*path, name), is_complete=False)),
                keys.describe_field(model, name),
            )
            for name, inner in schema["properties"].items()
            if name not in COMPOSED_KEYS
        }
        object_schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [name for name in schema.get("required", []) if name not in COMPOSED_KEYS]
        if is_complete and required:
            object_schema["required"] = required
        return _add_description(object_schema, keys.describe_class(model))

    def _allow_unresolved(self, schema: Schema) -> Schema:
        return _accept_unresolved(schema) if self.root_model is Lock else schema


def _list_sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [each for annotation in get_annotations(model).values() for each in find_models(annotation)]
    return [model, *(section for each in inner for section in _list_sections(each))]


def _add_description(schema: Schema, description: str) -> Schema:
    return {"description": description, **schema} if description else schema


def _accept_unresolved(schema: Schema) -> Schema:
    """Return a schema that also accepts unresolved values; sections and unrestricted strings need no change."""
    if not schema or schema.get("type") == "object" or "allOf" in schema:
        return schema
    alternatives = (
        schema["anyOf"] if "anyOf" in schema else [{k: v for k, v in schema.items() if k not in _ANNOTATION_KEYS}]
    )
    if any(form.get("type") == "object" or form == {"type": "string"} for form in alternatives):
        return schema
    return {**{k: v for k, v in schema.items() if k in _ANNOTATION_KEYS}, "anyOf": [*alternatives, UNRESOLVED_SCHEMA]}


_ANNOTATION_KEYS = frozenset({"description", "default"})


def _build_component(path: tuple[str, ...], *, is_complete: bool) -> Schema:
    """Return the schema of a component: its class, and the arguments of each class that merit knows."""
    key = ".".join(path)
    arguments_by_target = {
        target: argument_schemas
        for target in _list_classes(targets.PREFIXES_BY_KEY[key])
        if (argument_schemas := _build_arguments(target, key)) is not None
    }
    # A project may trust its own packages, whose classes this schema can't list.
    trusted_pattern = "|".join(prefix.replace(".", "[.]") for prefix in targets.TRUSTED_PREFIXES)
    target_schemas = [{"enum": list(arguments_by_target)}, {"type": "string", "pattern": rf"^(?!{trusted_pattern})"}]
    description = "The class to build; the keys beside it are its arguments."
    conditions = [
        _build_class(target, arguments, key, is_complete=is_complete)
        for target, arguments in arguments_by_target.items()
    ]
    schema: Schema = {
        "type": "object",
        "properties": {"_target_": {"description": description, "anyOf": target_schemas}},
    }
    if conditions:
        schema["allOf"] = conditions
    return {**schema, "required": ["_target_"]} if is_complete else schema


def _build_class(target: str, arguments: dict[str, Schema], key: str, *, is_complete: bool) -> Schema:
    described = {"_target_": _add_description({}, signatures.read_summary(target)), **arguments}
    then: Schema = {"properties": {"defaults": {}, **described}, "additionalProperties": False}
    signature = class_source.read_signature(target)
    required = [] if signature is None else [name for name in signature.required if name in arguments]
    if is_complete and required:
        then |= {"if": _WITH_DEFAULTS, "else": {"required": required}}
    return {"if": {"properties": {"_target_": {"const": target}}, "required": ["_target_"]}, "then": then}


def _list_classes(prefixes: tuple[str, ...]) -> list[str]:
    """Return the classes of a component's modules, including those that the modules import from their submodules."""
    targets_found: list[str] = []
    for module in (prefix.removesuffix(".") for prefix in prefixes):
        tree = class_source.parse_module(module)
        imported = (
            []
            if tree is None
            else [
                name for name, origin in class_source.iterate_imports(module, tree) if origin.startswith(f"{module}.")
            ]
        )
        targets_found += [f"{module}.{name}" for name in sorted({*class_source.list_classes(module), *imported})]
    return [target for target in targets_found if targets.is_trusted(target)]


def _build_arguments(target: str, key: str) -> dict[str, Schema] | None:
    """Return the schema of each argument that conf/ may set; None if the class doesn't fit this key."""
    signature = None
    with suppress(MeritError):  # some names that a module imports are no classes
        signature = targets.read_trusted_signature(target)
    supplied = targets.RUN_ARGUMENTS.get(key, ())
    if signature is None or signature.takes_any or "defaults" in signature.names:  # `defaults` is Hydra's own key
        return None
    if supplied and supplied[0] not in signature.names:  # a building block of a network, or no optimizer
        return None
    docs, arguments = signatures.read_argument_docs(target), signatures.read_arguments(target) or {}
    return {
        name: _add_description(
            _accept_unresolved(_to_draft7(arguments[name].schema if name in arguments else {})), docs.get(name, "")
        )
        for name in signature.names
        if name not in supplied
    }


def _to_draft7(schema: Schema) -> Schema:
    """Return a schema in draft 7, where the items of a tuple are `items`."""
    return {"items" if name == "prefixItems" else name: value for name, value in schema.items()}
