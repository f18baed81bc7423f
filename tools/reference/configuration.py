"""The reference of conf/: a page per group, from the schemas in conf/.schema and the files that ship."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from markdown_text import cell, prose

ROOT = Path(__file__).parents[2]
Schema = Mapping[str, Any]

OUTSIDE_CONF = frozenset({"report", "experiment"})
"""Schemas in conf/.schema that are no group: the gate's report, and experiments, which may set any key."""
OPEN = r"^(\$\{.+\}|\?\?\?)$"
"""The pattern of an interpolation, which the schemas allow for any key."""
MAX_EXAMPLE = 60
"""Characters of the longest value that is shown as an example."""
MAX_LINES = 40
"""Lines of the longest file that a page shows whole."""


def configuration_pages() -> dict[str, str]:
    """Return the Markdown of a page per group of conf/, and of their index, by path below docs/."""
    schemas = _schemas()
    pages = {
        f"reference/configuration/{name}.md": "\n".join(_group_page(name, schema)) for name, schema in schemas.items()
    }
    pages["reference/configuration/index.md"] = "\n".join(_index(schemas))
    return pages


def _schemas() -> dict[str, Schema]:
    files = sorted((ROOT / "conf/.schema").glob("*.json"))
    schemas = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    groups = {name: schema for name, schema in schemas.items() if name not in OUTSIDE_CONF}
    whole = groups["config"]
    own = {name: value for name, value in whole["properties"].items() if name not in groups}
    description = "conf/config.yaml: the model's name, and which file of each group."
    return groups | {"config": {**whole, "properties": own, "description": description}}


def _index(schemas: Mapping[str, Schema]) -> Iterator[str]:
    yield "# Configuration\n"
    yield (
        "Every key of `conf/`, from the schemas by which `merit compose` and editors check it. A file in a group's"
        " folder sets the keys of that group; an override on the command line, such as `trainer.max_epochs=3`, names"
        " a key by its full path. `merit explain KEY` shows a key's value and the line that set it.\n"
    )
    yield "| group | what it declares | files |\n|---|---|---|"
    for name, schema in schemas.items():
        choices = ", ".join(f"`{path.stem}`" for path in _files(name))
        yield f"| [{name}]({name}.md) | {cell(_summary(name, schema))} | {choices} |"
    yield "\nAn experiment, `conf/experiment/NAME.yaml`, chooses files of several groups and may set any of their keys."


def _summary(name: str, schema: Schema) -> str:
    said = {
        "model": "The network: its class and the arguments of that class.",
        "optimizer": "The optimizer: its class and the arguments of that class.",
    }
    text = str(schema.get("description", said.get(name, "")))
    head, colon, rest = text.partition(": ")
    return rest[:1].upper() + rest[1:] if colon and head.startswith("conf/") else text


def _files(name: str) -> list[Path]:
    return [ROOT / "conf/config.yaml"] if name == "config" else sorted((ROOT / "conf" / name).glob("*.yaml"))


def _group_page(name: str, schema: Schema) -> Iterator[str]:
    yield f"# {name}\n\n{prose(_summary(name, schema))}\n"
    yield from _shipped(name)
    examples = [yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in _files(name)]
    prefix = "" if name in {"config", "environment"} else name
    yield from _section(prefix, schema, prefix, examples)
    for path, component in _components(schema, prefix):
        yield from _classes(path, component)


def _shipped(name: str) -> Iterator[str]:
    files = _files(name)
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    shown = next((file for file in files if len(texts[file].splitlines()) <= MAX_LINES), None)
    yield "Files: " + ", ".join(f"`{file.relative_to(ROOT)}`" for file in files) + ".\n"
    if shown:
        yield f'``` {{ .yaml title="{shown.relative_to(ROOT)}" }}\n{texts[shown].rstrip()}\n```\n'


def _section(
    path: str, schema: Schema, prefix: str, examples: list[dict[str, Any]], variant: str = ""
) -> Iterator[str]:
    """Yield the keys of a section, then the sections in it."""
    properties = {name: each for name, each in schema.get("properties", {}).items() if name != "defaults"}
    if not properties or _is_component(schema):
        return
    inner = [(f"{path}.{name}".lstrip("."), each) for name, each in properties.items()]
    if any(not _is_section(each) for _, each in inner):
        yield f"## `{path}`{variant and f', {variant}'}\n" if path != prefix else "## Keys\n"
        yield f"{prose(str(schema.get('description', '')))}\n" if path != prefix else ""
    required = set(schema.get("required", ())) | set(_required_without_defaults(schema))
    for key, each in inner:
        if not _is_section(each):
            example = _example(key.removeprefix(f"{prefix}."), examples)
            yield from _entry(key, each, key.rpartition(".")[2] in required, example, variant)
    for key, each in inner:
        sections = list(_sections(each, key))
        for below, section in sections:
            yield from _section(below, section, prefix, examples, _variant(section) if len(sections) > 1 else variant)


def _variant(schema: Schema) -> str:
    """Return what sets a form of a section apart from its others, such as `by: time`."""
    for name, each in schema.get("properties", {}).items():
        for form in (each, *each.get("anyOf", ())):
            if "const" in form:
                return f"{name}: {form['const']}"
    return ""


def _required_without_defaults(schema: Schema) -> list[str]:
    conditions = [schema, *schema.get("allOf", ())]
    return [name for each in conditions for name in each.get("else", {}).get("required", ())]


def _is_section(schema: Schema) -> bool:
    return schema.get("type") == "object" and "properties" in schema and not _is_component(schema)


def _is_component(schema: Schema) -> bool:
    return "_target_" in schema.get("properties", {})


def _components(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield what is built by name in a group: the group itself, or keys in it."""
    if _is_component(schema):
        yield path, schema
        return
    for name, each in schema.get("properties", {}).items():
        yield from _components(each, f"{path}.{name}")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _components(schema["additionalProperties"], f"{path}.NAME")


def _sections(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Yield the sections that a value may be or hold: of a list as `key[]`, of a mapping as `key.NAME`."""
    if _is_section(schema):
        yield path, schema
    for each in schema.get("anyOf", ()):
        yield from _sections(each, path)
    if isinstance(schema.get("items"), Mapping):
        yield from _sections(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _sections(schema["additionalProperties"], f"{path}.NAME")


def _entry(path: str, schema: Schema, required: bool, example: str | None, variant: str) -> Iterator[str]:
    may_be_null = any(each.get("type") == "null" for each in schema.get("anyOf", ()))
    default = json.dumps(schema.get("default")) if "default" in schema or may_be_null else None
    words = [type_text(schema), "required" if required or default is None else f"default `{default}`"]
    if example is not None and example != json.dumps(schema.get("default")):
        words.append(f"for example `{example}`")
    anchor = re.sub(r"[^a-z0-9]+", "-", f"{path} {variant}".lower()).strip("-")
    described = [schema, *(section for _, section in _sections(schema, path))]
    meaning = prose(next((each["description"] for each in described if "description" in each), ""))
    yield f"### `{path}` {{ #{anchor} }}\n\n{'; '.join(words)}\n{{ .key }}\n\n{meaning}\n"


def _example(path: str, examples: list[dict[str, Any]]) -> str | None:
    """Return the first value of a key in the files that ship, if it is short."""
    for value in (found for values in examples for found in _values(values, path.split("."))):
        text = json.dumps(value, ensure_ascii=False, default=str)
        if value is not None and len(text) <= MAX_EXAMPLE:
            return text
    return None


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    if not path:
        yield value
    elif path[0].endswith("[]"):
        items = value.get(path[0].removesuffix("[]")) if isinstance(value, dict) else None
        for item in items or ():
            yield from _values(item, path[1:])
    elif isinstance(value, dict):
        names = list(value) if path[0] == "NAME" else [path[0]]
        for name in names:
            if name in value:
                yield from _values(value[name], path[1:])


def type_text(schema: Schema) -> str:
    """Return what a value may be, in words."""
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if forms := [each for each in schema.get("anyOf", ()) if each.get("pattern") != OPEN]:
        return " or ".join(dict.fromkeys(type_text(each) for each in forms))
    if _is_component(schema) or _is_section(schema):
        return "class and arguments" if _is_component(schema) else "section"
    kind, holder = str(schema.get("type")), {"array": ("list", "items"), "object": ("mapping", "additionalProperties")}
    if kind in holder:
        name, key = holder[kind]
        inner = schema.get(key)
        return f"{name} of {type_text(inner)}" if isinstance(inner, Mapping) and inner else name
    names = {"integer": "integer", "number": "number", "boolean": "true or false", "null": "null", "string": "text"}
    return names.get(kind, "any value") + _bounds(schema)


def _bounds(schema: Schema) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    said = [f"{text} {schema[key]}" for key, text in words.items() if key in schema]
    said += [f"of the form `{schema['pattern']}`"] if "pattern" in schema else []
    return f" {' and '.join(said)}" if said else ""


def _classes(name: str, schema: Schema) -> Iterator[str]:
    """Yield a section per class that a component may be."""
    known = [each for each in schema.get("allOf", ()) if "_target_" in each.get("if", {}).get("properties", {})]
    yield f"## What `{name}` may be\n"
    if not known:
        yield "`_target_` names [a class of your own](../../how-to/own-python.md); the other keys are its arguments.\n"
        return
    yield (
        "`_target_` names a class; the other keys are its arguments. merit trusts the classes below;"
        " [a package of your own](../../how-to/own-python.md) can add others.\n"
    )
    for each in known:
        target, then = each["if"]["properties"]["_target_"]["const"], each["then"]
        arguments = {key: value for key, value in then["properties"].items() if key not in {"defaults", "_target_"}}
        required = then.get("else", {}).get("required", ())
        yield f"### `{target}`\n\n{prose(str(then['properties']['_target_'].get('description', '')))}\n"
        if arguments:
            yield "| argument | value | meaning |\n|---|---|---|"
        for key, value in arguments.items():
            needed = " (required)" if key in required else ""
            yield f"| `{key}`{needed} | {cell(type_text(value))} | {cell(str(value.get('description', '')))} |"
        yield ""
