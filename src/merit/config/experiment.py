"""Experiments: a set of overrides as a file of conf/experiment, chosen by a line of config.yaml."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from merit import artifacts
from merit.errors import ConfigError, MeritError

CONFIG = artifacts.CONF / "config.yaml"
FOLDER = artifacts.CONF / "experiment"
GROUP = "experiment"
NAME = r"[a-z][a-z0-9_-]{0,40}"

_CHOICE = re.compile(r"(?m)^(\s*-\s*experiment:\s*)([^\s#]+)")
_HEAD = "# @package _global_\n# yaml-language-server: $schema=../.schema/experiment.json\n"


class _Lines(list[Any]):
    """A list that is written with one line per item, however short."""


class _Dumper(yaml.SafeDumper):
    """Writes YAML in the style of conf/: lists of scalars on one line, other lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def sequence(self, values: list[Any]) -> yaml.Node:
        short = not isinstance(values, _Lines) and not any(isinstance(each, dict | list) for each in values)
        return self.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=short)


_Dumper.add_representer(list, _Dumper.sequence)
_Dumper.add_representer(_Lines, _Dumper.sequence)


def path(name: str) -> Path:
    """Return the path of an experiment's file.

    Raises:
        MeritError: the name is not allowed.
    """
    if not re.fullmatch(NAME, name):
        raise MeritError(f"name: found {name!r}; allowed: a small letter, then small letters, digits, '-' and '_'")
    return FOLDER / f"{name}.yaml"


def render(overrides: Sequence[str], told: str, base: str | None = None) -> str:
    """Return the text of an experiment file that has the same effect as overrides.

    Args:
        overrides: group=choice and key=value; `experiment=NAME` is the experiment that it builds on.
        told: the comment at its head.
        base: the experiment that it builds on, unless the overrides name one.

    Raises:
        ConfigError: an override can't be parsed.
        MeritError: an override removes a key, which a file can't do.
    """
    from merit.config import choices, yamlfiles
    from merit.config.compose import understood

    known = choices.groups(yamlfiles.read_all(artifacts.CONF))
    chosen: list[Any] = []
    values: dict[str, Any] = {}
    given, faults = understood(overrides)
    if faults:
        raise ConfigError(faults)
    for each in given:
        if each.removes:
            raise MeritError(f"overrides: found {each.text!r}; a file can't take a key away: set it to another value")
        if each.key == GROUP:
            base = each.value
        elif each.key in known:
            chosen.append({f"override /{each.key}": each.value})
        else:
            _put(values, each.key.split("."), each.value)
    defaults = _Lines([*([base] if base else []), *chosen, *(["_self_"] if base else [])])
    body = {**({"defaults": defaults} if defaults else {}), **values}
    lines = "".join(f"# {line}\n" for line in told.splitlines())
    text = yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100) if body else ""
    return f"{_HEAD}{lines}{text}"


def _put(values: dict[str, Any], keys: list[str], value: Any) -> None:
    *parents, last = keys
    for parent in parents:
        values = values.setdefault(parent, {})
    values[last] = value


def chosen(config: str) -> str | None:
    """Return the experiment that the text of config.yaml chooses; None if it chooses none."""
    found = _CHOICE.search(config)
    return None if found is None or found[2] in {"null", "~"} else found[2]


def choose(config: str, name: str) -> str:
    """Return the text of config.yaml with another experiment chosen.

    Raises:
        MeritError: it has no line for the experiment, or several.
    """
    text, count = _CHOICE.subn(rf"\g<1>{name}", config)
    if count != 1:
        raise MeritError(f"{CONFIG}: found {count} lines '- experiment: ...' among its defaults; allowed: one")
    return text
