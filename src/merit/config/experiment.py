"""Experiments: a set of overrides as a file of conf/experiment, chosen by a line of config.yaml."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from merit import artifacts
from merit.errors import ConfigError, MeritError

CONFIG_PATH = artifacts.CONF / "config.yaml"
EXPERIMENT_FOLDER = artifacts.CONF / "experiment"
EXPERIMENT_GROUP = "experiment"
NAME_PATTERN = r"[a-z][a-z0-9_-]{0,40}"

_CHOICE_LINE = re.compile(r"(?m)^(\s*-\s*experiment:\s*)([^\s#]+)")
_FILE_HEADER = "# @package _global_\n# yaml-language-server: $schema=../.schema/experiment.json\n"


class _BlockList(list[Any]):
    """A list that is written with one line per item, however short."""


class _ConfDumper(yaml.SafeDumper):
    """Writes YAML in the style of conf/: lists of scalars on one line, other lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def represent_conf_list(self, values: list[Any]) -> yaml.Node:
        is_flow = not isinstance(values, _BlockList) and not any(isinstance(each, dict | list) for each in values)
        return self.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=is_flow)


_ConfDumper.add_representer(list, _ConfDumper.represent_conf_list)
_ConfDumper.add_representer(_BlockList, _ConfDumper.represent_conf_list)


def get_path(name: str) -> Path:
    """Return the path of an experiment's file.

    Raises:
        MeritError: the name is not allowed.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise MeritError(f"name: found {name!r}; allowed: a small letter, then small letters, digits, '-' and '_'")
    return EXPERIMENT_FOLDER / f"{name}.yaml"


def render_experiment(overrides: Sequence[str], comment: str, base: str | None = None) -> str:
    """Return the text of an experiment file that has the same effect as overrides.

    Args:
        overrides: group=choice and key=value; `experiment=NAME` is the experiment that it builds on.
        comment: the comment at its head.
        base: the experiment that it builds on, unless the overrides name one.

    Raises:
        ConfigError: an override can't be parsed.
        MeritError: an override removes a key, which a file can't do.
    """
    from merit.config.compose import parse_overrides
    from merit.config.composition import group_choices, yaml_files

    groups = group_choices.list_groups(yaml_files.read_all_files(artifacts.CONF))
    defaults_entries: list[Any] = []
    values: dict[str, Any] = {}
    parsed, faults = parse_overrides(overrides)
    if faults:
        raise ConfigError(faults)
    for each in parsed:
        if each.removes:
            raise MeritError(f"overrides: found {each.text!r}; a file can't take a key away: set it to another value")
        if each.key == EXPERIMENT_GROUP:
            base = each.value
        elif each.key in groups:
            defaults_entries.append({f"override /{each.key}": each.value})
        else:
            _set_nested(values, each.key.split("."), each.value)
    defaults = _BlockList([*([base] if base else []), *defaults_entries, *(["_self_"] if base else [])])
    content = {**({"defaults": defaults} if defaults else {}), **values}
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    text = yaml.dump(content, Dumper=_ConfDumper, sort_keys=False, allow_unicode=True, width=100) if content else ""
    return f"{_FILE_HEADER}{lines}{text}"


def _set_nested(values: dict[str, Any], keys: list[str], value: Any) -> None:
    *parents, last = keys
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value


def find_chosen(config: str) -> str | None:
    """Return the experiment that the text of config.yaml chooses; None if it chooses none."""
    match = _CHOICE_LINE.search(config)
    return None if match is None or match[2] in {"null", "~"} else match[2]


def choose_experiment(config: str, name: str) -> str:
    """Return the text of config.yaml with another experiment chosen.

    Raises:
        MeritError: it has no line for the experiment, or several.
    """
    text, count = _CHOICE_LINE.subn(rf"\g<1>{name}", config)
    if count != 1:
        raise MeritError(f"{CONFIG_PATH}: found {count} lines '- experiment: ...' among its defaults; allowed: one")
    return text
