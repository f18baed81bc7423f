"""Check each layer of conf/ by itself: keys, types, targets. Keys that a layer omits may be set by another one."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from merit.config import choices, interpolation, shapes, signatures, targets
from merit.config.layers import COMMAND_LINE, REMOVED, Layer, located
from merit.config.problems import Fault, from_validation, key_in, keys_beside
from merit.config.schema import Lock
from merit.config.yamlfiles import YamlFile
from merit.errors import Problem


def of_files(files: choices.Files, names: Collection[str]) -> list[Problem]:
    """Return every problem of files of conf/, each checked by itself.

    Args:
        files: all files of conf/, by name.
        names: the files to check.
    """
    found: list[Problem] = []
    for name, file in files.items():
        if name not in names:
            continue
        found += file.problems
        if not choices.is_sweeps(name):
            found += choices.of_defaults(files, file, name)
        if sets_the_lock(file):
            found += of_layer(Layer.of(file), _target_below(files, name))
    return found


def are_whole(files: choices.Files, names: Collection[str]) -> bool:
    """Return whether files are valid YAML and every choice of their defaults lists exists."""
    return not any(files[name].problems or any(choices.of_defaults(files, files[name], name)) for name in names)


def sets_the_lock(file: YamlFile) -> bool:
    """Return whether a file sets part of the lock; files of folders such as environment/ don't."""
    return not file.package or file.package[0] in keys_beside(("",))


def of_layer(layer: Layer, target: str | None = None) -> Iterator[Problem]:
    """Yield the problems of a layer; `target` is its component's class if the layer doesn't name it."""
    for key, node in layer.root.scalars(layer.package):
        if fault := interpolation.refusal(node.value):
            yield Fault(key, fault.found, fault.allowed, fault.hint).at(layer.place(node))
    if layer.root.value is REMOVED:
        return
    if "hydra" in (values := layer.values()):
        yield located([layer], Fault(("hydra",), "Hydra's own settings", hint=choices.HYDRAS))
        values = {name: value for name, value in values.items() if name != "hydra"}
    for fault in (*_schema_faults(values), *_target_faults(values, layer, target)):
        yield located([layer], fault)


def _schema_faults(values: dict[str, Any]) -> list[Fault]:
    try:
        Lock.model_validate(values)
    except ValidationError as error:
        # Only the composed whole can be judged by rules over several keys, or by a model that another layer selects.
        late = {"missing", "value_error", "union_tag_not_found"}
        kept = [
            each for each in error.errors() if each["type"] not in late and not interpolation.is_open(each["input"])
        ]
        keys = {key_in(values, each["loc"]) for each in kept}
        return [fault for fault in from_validation(error, values) if fault.key in keys]
    return []


def _target_faults(values: dict[str, Any], layer: Layer, target: str | None) -> Iterator[Fault]:
    given = _with_target(values, layer.package, target) if target is not None else values
    for fault in (*targets.faults(given), *signatures.faults(given), *shapes.faults(given)):
        if not fault.found.startswith("missing") and not interpolation.is_open(_at(given, fault.key)):
            yield fault


def _with_target(values: Mapping[str, Any], package: tuple[str, ...], target: str) -> dict[str, Any]:
    if not package:
        return {"_target_": target, **values}
    return {package[0]: _with_target(values[package[0]], package[1:], target)}


def _at(values: Any, key: tuple[str, ...]) -> Any:
    for part in key:
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _target_below(files: choices.Files, name: str, depth: int = 0) -> str | None:
    """Return the `_target_` at the root of a file, or of the files of its group that it builds on."""
    file = files.get(name)
    if file is None or not isinstance(file.root.value, dict) or depth > len(files):
        return None
    if (own := file.root.at(("_target_",))) is not None:
        return own.value if isinstance(own.value, str) else None
    entries = file.defaults.plain() if isinstance(file.defaults.value, list) else []
    below = [str(PurePosixPath(name).with_name(entry)) for entry in entries if _is_sibling(entry)]
    found = [target for each in below if (target := _target_below(files, each, depth + 1)) is not None]
    return found[-1] if found else None


def _is_sibling(entry: Any) -> bool:
    return isinstance(entry, str) and entry not in {"_self_", ""} and "/" not in entry and "." not in entry


def of_overrides(files: choices.Files, overrides: list[choices.Override]) -> list[Problem]:
    """Return the problems of command-line overrides, each checked by itself."""
    found: list[Problem] = []
    for override in overrides:
        if fault := choices.of_override(files, override):
            found.append(fault.at(COMMAND_LINE))
        elif override.key not in choices.groups(files):
            found += of_layer(choices.layer_of(override))
    return found
