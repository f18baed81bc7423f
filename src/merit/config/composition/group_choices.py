"""Choices: the file that each group uses, in defaults lists and on the command line; none leads outside conf/."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from merit.config.composition import interpolation
from merit.config.composition.layers import COMMAND_LINE, REMOVED, Layer
from merit.config.composition.yaml_files import Node, YamlFile
from merit.config.problems import Fault, format_value, list_sibling_keys, suggest_name
from merit.errors import Problem

ConfigFiles = Mapping[str, YamlFile]
ENVIRONMENT_GROUP = "environment"
"""The group of environments, which is not part of the lock."""
SWEEP_GROUP = "sweep"
"""The group of sweeps, which is not part of the lock either; `merit train -m` reads it."""
EXPERIMENT_GROUP = "experiment"
"""The group for which experiment=null chooses no file."""
HYDRA_KEY_HINT = "Hydra's own settings can't be set here: they may run code and look for configuration elsewhere"
ALLOWED_NAMES = "names of files and folders below conf/"


@dataclass(frozen=True)
class Override:
    """One override of the command line, parsed: `key=value`, with `+` to add or `~` to remove."""

    text: str
    key: str
    package: str | None
    value: Any
    removes: bool


def list_groups(files: ConfigFiles) -> set[str]:
    """Return the folders of conf/ that are groups of the lock, so without environments and sweeps."""
    folders = {name[:end] for name in files for end, letter in enumerate(name) if letter == "/"}
    return {name for name in folders if name.partition("/")[0] not in {ENVIRONMENT_GROUP, SWEEP_GROUP}}


def is_sweep_file(name: str) -> bool:
    """Return whether a file configures a sweep; its defaults list names files of its own folder only."""
    return name.partition("/")[0] == SWEEP_GROUP


def list_choices(files: ConfigFiles, group: str) -> list[str]:
    """Return the choices of a group."""
    return sorted(name.removeprefix(f"{group}/") for name in files if str(PurePosixPath(name).parent) == group)


def _leads_outside(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ".." in name.split("/")


def _is_hydra_key(name: str | None) -> bool:
    return name is not None and re.split(r"[./]", name.lstrip("/"))[0] == "hydra"


def find_choice_fault(files: ConfigFiles, group: str, name: Any, key: str) -> Fault | None:
    """Return what is wrong with choosing a file of a group by name; None if nothing is."""
    if not isinstance(name, str):
        return Fault(
            (key,),
            f"found {format_value(name)}",
            ", ".join(list_choices(files, group)),
            "name one of the group's files",
        )
    if _leads_outside(name) or _leads_outside(group.lstrip("/")):
        return Fault((key,), f"found {name!r}, which leads out of the group", ALLOWED_NAMES)
    if "${" in name:
        return interpolation.find_syntax_fault(name)
    choice = name.removesuffix(".yaml").removesuffix(".yml")
    if f"{group}/{choice}".lstrip("/") in files:
        return None
    allowed = list_choices(files, group) if group else sorted(each for each in files if "/" not in each)
    return Fault((key,), f"no choice {name!r}", ", ".join(allowed) or "none", suggest_name(choice, allowed))


def check_defaults(files: ConfigFiles, file: YamlFile, name: str) -> Iterator[Problem]:
    """Yield the problems of a file's defaults list."""
    if _is_hydra_key(".".join(file.package)):
        yield Problem(f"{file.path}:1", "@package", f"the package {'.'.join(file.package)!r}", hint=HYDRA_KEY_HINT)
    folder = str(PurePosixPath(name).parent).removeprefix(".")
    entries = file.defaults.value
    if not isinstance(entries, list):
        yield Problem(f"{file.path}:{file.defaults.line}", "defaults", f"found {file.defaults.to_plain()!r}", "a list")
        return
    for entry in entries:
        for group, choice in _iterate_choices(entry, folder):
            if fault := _find_entry_fault(files, group, choice, folder):
                yield fault.to_problem(f"{file.path}:{entry.line}")


def drop_faulty_defaults(files: ConfigFiles) -> ConfigFiles:
    """Return the files without the refused entries of their defaults lists, so that Hydra follows none of them."""
    return {name: _drop_faulty_entries(files, file, name) for name, file in files.items()}


def _drop_faulty_entries(files: ConfigFiles, file: YamlFile, name: str) -> YamlFile:
    entries = file.defaults.value if isinstance(file.defaults.value, list) else []
    folder = str(PurePosixPath(name).parent).removeprefix(".")
    valid_entries = [
        entry
        for entry in entries
        if not any(_find_entry_fault(files, *pair, folder) for pair in _iterate_choices(entry, folder))
    ]
    return (
        file
        if valid_entries == file.defaults.value
        else replace(file, defaults=Node(valid_entries, file.defaults.line))
    )


def _iterate_choices(entry: Node, folder: str) -> Iterator[tuple[str, Any]]:
    """Yield the group, as written, and each name that an entry of a defaults list chooses in it."""
    if not isinstance(entry.value, dict):
        yield "", entry.to_plain()
        return
    for group, choice in entry.to_plain().items():
        for name in choice if isinstance(choice, list) else [choice]:
            yield group, name


def _find_entry_fault(files: ConfigFiles, group_text: str, name: Any, parent: str) -> Fault | None:
    keywords = group_text.split()
    group, _, package = (keywords[-1] if keywords else "").partition("@")
    text = name if isinstance(name, str) else ""
    if _is_hydra_key(group) or _is_hydra_key(package or text.partition("@")[2]) or (not group and _is_hydra_key(text)):
        return Fault(("defaults",), f"found {group_text or name!r}", hint=HYDRA_KEY_HINT)
    if _leads_outside(group.lstrip("/")):
        return Fault(("defaults",), f"found {group!r}, which leads out of conf/", ALLOWED_NAMES)
    is_optional = "optional" in keywords[:-1] and not _leads_outside(text)
    if name == "_self_" or (name is None and group) or is_optional:
        return None
    if not group and isinstance(name, str) and name.startswith("/") and not _leads_outside(name[1:]):
        folder, _, name = name.lstrip("/").rpartition("/")
        return find_choice_fault(files, folder, name, "defaults")
    full_group = group.lstrip("/") if group.startswith("/") or not parent else f"{parent}/{group}".rstrip("/")
    if full_group and full_group not in list_groups(files):
        known_groups = sorted(list_groups(files))
        return Fault(
            ("defaults",), f"no group {group!r}", ", ".join(known_groups), suggest_name(group.lstrip("/"), known_groups)
        )
    return find_choice_fault(files, full_group, name.partition("@")[0] if isinstance(name, str) else name, "defaults")


def find_override_fault(files: ConfigFiles, override: Override) -> Fault | None:
    """Return what is wrong with an override before anything is composed; None if nothing is."""
    key = override.key
    if _is_hydra_key(key) or _is_hydra_key(override.package):
        return Fault((key,), f"found {override.text!r}", hint=HYDRA_KEY_HINT)
    if _leads_outside(key):
        return Fault((key,), f"found {key!r}, which leads out of conf/", ALLOWED_NAMES)
    if key in list_groups(files):
        choices = override.value if isinstance(override.value, list) else [override.value]
        is_none = override.removes or (key == EXPERIMENT_GROUP and override.value is None)
        faults = [] if is_none else [find_choice_fault(files, key, name, key) for name in choices]
        return next(filter(None, faults), None)
    if "/" in key or override.package is not None:
        return _make_unknown_fault("group", key, list_groups(files))
    sections = list_sibling_keys(("",))
    return (
        None if key.partition(".")[0] in sections else _make_unknown_fault("key", key, {*sections, *list_groups(files)})
    )


def to_hydra_text(override: Override) -> str:
    """Return an override in Hydra's syntax, where a group set to null is removed from the defaults list."""
    return f"~{override.key}" if override.value is None else override.text


def _make_unknown_fault(kind: str, key: str, allowed: set[str]) -> Fault:
    return Fault((key,), f"unknown {kind}", ", ".join(sorted(allowed)), suggest_name(key.partition(".")[0], allowed))


def to_layer(override: Override) -> Layer:
    """Return the layer of an override that sets a value."""
    root = Node(REMOVED, 0) if override.removes else _to_node(override.value)
    return Layer(COMMAND_LINE, tuple(re.sub(r"\[(\d+)\]", r".\1", override.key).split(".")), root)


def _to_node(value: Any) -> Node:
    if isinstance(value, Mapping):
        return Node({str(name): _to_node(inner) for name, inner in value.items()}, 0)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Node([_to_node(inner) for inner in value], 0)
    return Node(value, 0)
