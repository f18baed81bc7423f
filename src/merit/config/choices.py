"""Choices: the file that each group uses, in defaults lists and on the command line; none leads outside conf/."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from merit.config import interpolation
from merit.config.layers import COMMAND_LINE, REMOVED, Layer
from merit.config.problems import Fault, keys_beside, meant, shown
from merit.config.yamlfiles import Node, YamlFile
from merit.errors import Problem

Files = Mapping[str, YamlFile]
ENVIRONMENT = "environment"
"""The group of environments, which is not part of the lock."""
SWEEP = "sweep"
"""The group of sweeps, which is not part of the lock either; `merit train -m` reads it."""
EXPERIMENT = "experiment"
"""The group for which experiment=null chooses no file."""
HYDRAS = "Hydra's own settings can't be set here: they may run code and look for configuration elsewhere"
OUTSIDE = "names of files and folders below conf/"


@dataclass(frozen=True)
class Override:
    """One override of the command line, parsed: `key=value`, with `+` to add or `~` to remove."""

    text: str
    key: str
    package: str | None
    value: Any
    removes: bool


def groups(files: Files) -> set[str]:
    """Return the folders of conf/ that are groups of the lock, so without environments and sweeps."""
    found = {name[:end] for name in files for end, letter in enumerate(name) if letter == "/"}
    return {name for name in found if name.partition("/")[0] not in {ENVIRONMENT, SWEEP}}


def is_sweeps(name: str) -> bool:
    """Return whether a file configures a sweep; its defaults list names files of its own folder only."""
    return name.partition("/")[0] == SWEEP


def names_in(files: Files, group: str) -> list[str]:
    """Return the choices of a group."""
    return sorted(name.removeprefix(f"{group}/") for name in files if str(PurePosixPath(name).parent) == group)


def _is_outside(name: str) -> bool:
    return name.startswith("/") or "\\" in name or ".." in name.split("/")


def _is_hydras(name: str | None) -> bool:
    return name is not None and re.split(r"[./]", name.lstrip("/"))[0] == "hydra"


def fault_of(files: Files, group: str, name: Any, key: str) -> Fault | None:
    """Return what is wrong with choosing a file of a group by name; None if nothing is."""
    if not isinstance(name, str):
        return Fault((key,), f"found {shown(name)}", ", ".join(names_in(files, group)), "name one of the group's files")
    if _is_outside(name) or _is_outside(group.lstrip("/")):
        return Fault((key,), f"found {name!r}, which leads out of the group", OUTSIDE)
    if "${" in name:
        return interpolation.refusal(name)
    choice = name.removesuffix(".yaml").removesuffix(".yml")
    if f"{group}/{choice}".lstrip("/") in files:
        return None
    allowed = names_in(files, group) if group else sorted(each for each in files if "/" not in each)
    return Fault((key,), f"no choice {name!r}", ", ".join(allowed) or "none", meant(choice, allowed))


def of_defaults(files: Files, file: YamlFile, name: str) -> Iterator[Problem]:
    """Yield the problems of a file's defaults list."""
    if _is_hydras(".".join(file.package)):
        yield Problem(f"{file.path}:1", "@package", f"the package {'.'.join(file.package)!r}", hint=HYDRAS)
    here = str(PurePosixPath(name).parent).removeprefix(".")
    entries = file.defaults.value
    if not isinstance(entries, list):
        yield Problem(f"{file.path}:{file.defaults.line}", "defaults", f"found {file.defaults.plain()!r}", "a list")
        return
    for entry in entries:
        for group, choice in _pairs(entry, here):
            if fault := _entry_fault(files, group, choice, here):
                yield fault.at(f"{file.path}:{entry.line}")


def without_faults(files: Files) -> Files:
    """Return the files without the refused entries of their defaults lists, so that Hydra follows none of them."""
    return {name: _without_faults(files, file, name) for name, file in files.items()}


def _without_faults(files: Files, file: YamlFile, name: str) -> YamlFile:
    entries = file.defaults.value if isinstance(file.defaults.value, list) else []
    here = str(PurePosixPath(name).parent).removeprefix(".")
    right = [entry for entry in entries if not any(_entry_fault(files, *pair, here) for pair in _pairs(entry, here))]
    return file if right == file.defaults.value else replace(file, defaults=Node(right, file.defaults.line))


def _pairs(entry: Node, here: str) -> Iterator[tuple[str, Any]]:
    """Yield the group, as written, and each name that an entry of a defaults list chooses in it."""
    if not isinstance(entry.value, dict):
        yield "", entry.plain()
        return
    for group, choice in entry.plain().items():
        for name in choice if isinstance(choice, list) else [choice]:
            yield group, name


def _entry_fault(files: Files, written: str, name: Any, here: str) -> Fault | None:
    words = written.split()
    group, _, package = (words[-1] if words else "").partition("@")
    text = name if isinstance(name, str) else ""
    if _is_hydras(group) or _is_hydras(package or text.partition("@")[2]) or (not group and _is_hydras(text)):
        return Fault(("defaults",), f"found {written or name!r}", hint=HYDRAS)
    if _is_outside(group.lstrip("/")):
        return Fault(("defaults",), f"found {group!r}, which leads out of conf/", OUTSIDE)
    may_lack = "optional" in words[:-1] and not _is_outside(text)
    if name == "_self_" or (name is None and group) or may_lack:
        return None
    if not group and isinstance(name, str) and name.startswith("/") and not _is_outside(name[1:]):
        folder, _, name = name.lstrip("/").rpartition("/")
        return fault_of(files, folder, name, "defaults")
    whole = group.lstrip("/") if group.startswith("/") or not here else f"{here}/{group}".rstrip("/")
    if whole and whole not in groups(files):
        known = sorted(groups(files))
        return Fault(("defaults",), f"no group {group!r}", ", ".join(known), meant(group.lstrip("/"), known))
    return fault_of(files, whole, name.partition("@")[0] if isinstance(name, str) else name, "defaults")


def of_override(files: Files, override: Override) -> Fault | None:
    """Return what is wrong with an override before anything is composed; None if nothing is."""
    key = override.key
    if _is_hydras(key) or _is_hydras(override.package):
        return Fault((key,), f"found {override.text!r}", hint=HYDRAS)
    if _is_outside(key):
        return Fault((key,), f"found {key!r}, which leads out of conf/", OUTSIDE)
    if key in groups(files):
        chosen = override.value if isinstance(override.value, list) else [override.value]
        is_none = override.removes or (key == EXPERIMENT and override.value is None)
        faults = [] if is_none else [fault_of(files, key, name, key) for name in chosen]
        return next(filter(None, faults), None)
    if "/" in key or override.package is not None:
        return _unknown("group", key, groups(files))
    sections = keys_beside(("",))
    return None if key.partition(".")[0] in sections else _unknown("key", key, {*sections, *groups(files)})


def text_of(override: Override) -> str:
    """Return an override in Hydra's syntax, where a group set to null is removed from the defaults list."""
    return f"~{override.key}" if override.value is None else override.text


def _unknown(what: str, key: str, known: set[str]) -> Fault:
    return Fault((key,), f"unknown {what}", ", ".join(sorted(known)), meant(key.partition(".")[0], known))


def layer_of(override: Override) -> Layer:
    """Return the layer of an override that sets a value."""
    root = Node(REMOVED, 0) if override.removes else _noded(override.value)
    return Layer(COMMAND_LINE, tuple(re.sub(r"\[(\d+)\]", r".\1", override.key).split(".")), root)


def _noded(value: Any) -> Node:
    if isinstance(value, Mapping):
        return Node({str(name): _noded(inner) for name, inner in value.items()}, 0)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Node([_noded(inner) for inner in value], 0)
    return Node(value, 0)
