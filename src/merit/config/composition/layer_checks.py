"""Check each layer of conf/ by itself: keys, types, targets. Keys that a layer omits may be set by another one."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from merit.config.components import metric_interface, signatures, targets
from merit.config.composition import group_choices, interpolation
from merit.config.composition.layers import COMMAND_LINE, REMOVED, Layer, locate_fault
from merit.config.composition.yaml_files import YamlFile
from merit.config.problems import Fault, convert_validation_error, find_key, list_sibling_keys
from merit.config.schema import Lock
from merit.errors import Problem


def check_files(files: group_choices.ConfigFiles, names: Collection[str]) -> list[Problem]:
    """Return every problem of files of conf/, each checked by itself.

    Args:
        files: all files of conf/, by name.
        names: the files to check.
    """
    problems: list[Problem] = []
    for name, file in files.items():
        if name not in names:
            continue
        problems += file.problems
        if not group_choices.is_sweep_file(name):
            problems += group_choices.check_defaults(files, file, name)
        if is_part_of_lock(file):
            problems += check_layer(Layer.from_file(file), _find_inherited_target(files, name))
    return problems


def are_complete(files: group_choices.ConfigFiles, names: Collection[str]) -> bool:
    """Return whether files are valid YAML and every choice of their defaults lists exists."""
    return not any(
        files[name].problems or any(group_choices.check_defaults(files, files[name], name)) for name in names
    )


def is_part_of_lock(file: YamlFile) -> bool:
    """Return whether a file sets part of the lock; files of folders such as environment/ don't."""
    return not file.package or file.package[0] in list_sibling_keys(("",))


def check_layer(layer: Layer, target: str | None = None) -> Iterator[Problem]:
    """Yield the problems of a layer; `target` is its component's class if the layer doesn't name it."""
    for key, node in layer.root.iterate_scalars(layer.package):
        if fault := interpolation.find_syntax_fault(node.value):
            yield Fault(key, fault.found, fault.allowed, fault.hint).to_problem(layer.locate_node(node))
    if layer.root.value is REMOVED:
        return
    if "hydra" in (values := layer.to_values()):
        yield locate_fault([layer], Fault(("hydra",), "Hydra's own settings", hint=group_choices.HYDRA_KEY_HINT))
        values = {name: value for name, value in values.items() if name != "hydra"}
    for fault in (*_find_schema_faults(values), *_find_target_faults(values, layer, target)):
        yield locate_fault([layer], fault)


def _find_schema_faults(values: dict[str, Any]) -> list[Fault]:
    try:
        Lock.model_validate(values)
    except ValidationError as error:
        # Only the composed whole can be judged by rules over several keys, or by a model that another layer selects.
        deferred_types = {"missing", "value_error", "union_tag_not_found"}
        relevant_errors = [
            each
            for each in error.errors()
            if each["type"] not in deferred_types and not interpolation.is_unresolved(each["input"])
        ]
        keys = {find_key(values, each["loc"]) for each in relevant_errors}
        return [fault for fault in convert_validation_error(error, values) if fault.key in keys]
    return []


def _find_target_faults(values: dict[str, Any], layer: Layer, target: str | None) -> Iterator[Fault]:
    completed = _add_target(values, layer.package, target) if target is not None else values
    for fault in (
        *targets.find_faults(completed),
        *signatures.find_faults(completed),
        *metric_interface.find_faults(completed),
    ):
        if not fault.found.startswith("missing") and not interpolation.is_unresolved(_get_value(completed, fault.key)):
            yield fault


def _add_target(values: Mapping[str, Any], package: tuple[str, ...], target: str) -> dict[str, Any]:
    if not package:
        return {"_target_": target, **values}
    return {package[0]: _add_target(values[package[0]], package[1:], target)}


def _get_value(values: Any, key: tuple[str, ...]) -> Any:
    for part in key:
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _find_inherited_target(files: group_choices.ConfigFiles, name: str, depth: int = 0) -> str | None:
    """Return the `_target_` at the root of a file, or of the files of its group that it builds on."""
    file = files.get(name)
    if file is None or not isinstance(file.root.value, dict) or depth > len(files):
        return None
    if (own_target := file.root.get_node(("_target_",))) is not None:
        return own_target.value if isinstance(own_target.value, str) else None
    entries = file.defaults.to_plain() if isinstance(file.defaults.value, list) else []
    base_names = [str(PurePosixPath(name).with_name(entry)) for entry in entries if _is_sibling_name(entry)]
    base_targets = [
        target for each in base_names if (target := _find_inherited_target(files, each, depth + 1)) is not None
    ]
    return base_targets[-1] if base_targets else None


def _is_sibling_name(entry: Any) -> bool:
    return isinstance(entry, str) and entry not in {"_self_", ""} and "/" not in entry and "." not in entry


def check_overrides(files: group_choices.ConfigFiles, overrides: list[group_choices.Override]) -> list[Problem]:
    """Return the problems of command-line overrides, each checked by itself."""
    problems: list[Problem] = []
    for override in overrides:
        if fault := group_choices.find_override_fault(files, override):
            problems.append(fault.to_problem(COMMAND_LINE))
        elif override.key not in group_choices.list_groups(files):
            problems += check_layer(group_choices.to_layer(override))
    return problems
