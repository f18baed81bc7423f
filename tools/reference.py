"""Writes the generated part of the site: the reference of conf/ and of the command line.

MkDocs loads this file as a hook (`hooks:` in mkdocs.yml) and calls `on_files` at each build, so the pages are always
those of the schemas in conf/.schema, of the files in conf/ and of the commands of `merit.cli`. Nothing is committed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
Schema = Mapping[str, Any]
Key = tuple[str, Schema, bool]
"""A key's dotted path, its schema, and whether a file must set it."""

OUTSIDE_CONF = frozenset({"report", "experiment"})
"""Schemas in conf/.schema that are no group: the gate's report, and experiments, which may set any key."""
OPEN = r"^(\$\{.+\}|\?\?\?)$"
"""The pattern of an interpolation, which the schemas allow for any key."""
MAX_EXAMPLE = 60
MAX_LINES = 40


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    for path, text in {**configuration_pages(), "reference/cli.md": cli_page()}.items():
        files.append(File.generated(config, path, content=text))
    return files


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
        yield f"| [{name}]({name}.md) | {_cell(_summary(name, schema))} | {choices} |"
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
    yield f"# {name}\n\n{_prose(_summary(name, schema))}\n"
    yield from _shipped(name)
    examples = [yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in _files(name)]
    prefix = "" if name in {"config", "environment"} else name
    title = ""
    for path, each, required in _keys(schema, prefix):
        section = path.rpartition(".")[0]
        if section != title:
            title = section
            yield f"## `{section}`\n" if section != prefix else "## Keys\n"
        inner = path.removeprefix(f"{prefix}.") if prefix else path
        yield from _entry(path, each, required, _example(inner, examples))
    for path, component in _components(schema, prefix):
        yield from _classes(path, component)


def _shipped(name: str) -> Iterator[str]:
    files = _files(name)
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    shown = next((file for file in files if len(texts[file].splitlines()) <= MAX_LINES), None)
    yield "Files: " + ", ".join(f"`{file.relative_to(ROOT)}`" for file in files) + ".\n"
    if shown:
        yield f'``` {{ .yaml title="{shown.relative_to(ROOT)}" }}\n{texts[shown].rstrip()}\n```\n'


def _keys(schema: Schema, prefix: str) -> Iterator[Key]:
    """Yield the keys of a section, first its own, then those of the sections in it."""
    required = set(schema.get("required", ())) | set(_required_without_defaults(schema))
    sections: list[tuple[str, Schema]] = []
    for name, each in schema.get("properties", {}).items():
        path = f"{prefix}.{name}" if prefix else name
        if name == "defaults" or _is_component(schema):
            continue
        inner = list(_sections(each, path))
        sections += inner
        if not _is_section(each):
            yield path, each, name in required
    for path, inner_schema in sections:
        yield from _keys(inner_schema, path)


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


def _entry(path: str, schema: Schema, required: bool, example: str | None) -> Iterator[str]:
    may_be_null = any(each.get("type") == "null" for each in schema.get("anyOf", ()))
    default = json.dumps(schema.get("default")) if "default" in schema or may_be_null else None
    words = [type_text(schema), "required" if required else f"default `{default}`" if default else "optional"]
    if example is not None and example != json.dumps(schema.get("default")):
        words.append(f"for example `{example}`")
    anchor = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
    meaning = _prose(str(schema.get("description", "")))
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
    if _is_component(schema):
        return "a class and its arguments"
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
        yield f"### `{target}`\n\n{_prose(str(then['properties']['_target_'].get('description', '')))}\n"
        if arguments:
            yield "| argument | value | meaning |\n|---|---|---|"
        for key, value in arguments.items():
            needed = " (required)" if key in required else ""
            yield f"| `{key}`{needed} | {_cell(type_text(value))} | {_cell(str(value.get('description', '')))} |"
        yield ""


def cli_page() -> str:
    """Return the Markdown of a page with every command, in the order of `merit --help`."""
    from merit.cli import main

    lines = [
        "# Command line\n\nExit codes: 0, passed or no difference; 1, refused or differs; 2, broken; 130, interrupted.\n"
    ]
    for path, command in _commands(main, ("merit",)):
        lines += _command(path, command)
    return "\n".join(lines)


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.commands[name]
        if not command.hidden:
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from _commands(command, (*path, name))


def _command(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path), max_content_width=100)
    usage = " ".join([" ".join(path), *command.collect_usage_pieces(context)])
    yield f"{'#' * len(path)} {' '.join(path)} {{ #{'-'.join(path[1:])} }}\n\n```\n{usage}\n```\n"
    yield _help(command.help or "") + "\n"
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    if options:
        yield "| option | meaning |\n|---|---|"
    for option in options:
        record = option.get_help_record(context)
        if record:
            yield f"| `{record[0].replace('|', chr(92) + '|')}` | {_cell(record[1])} |"
    yield ""


def _help(text: str) -> str:
    """Return a help text as Markdown; what click leaves as it stands becomes a block."""
    paragraphs = text.replace("\f", "").strip().split("\n\n")
    return "\n\n".join(_paragraph(each) for each in paragraphs)


def _paragraph(text: str) -> str:
    verbatim = text.removeprefix("\b")
    return _prose(" ".join(text.split())) if verbatim == text else f"```\n{verbatim.strip(chr(10))}\n```"


def _prose(text: str) -> str:
    """Return text that says nothing in Markdown or HTML but what it says."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]{}$~])", r"\\\1", part) for part in parts)


def _cell(text: str) -> str:
    return _prose(" ".join(text.split())).replace("|", "\\|")
