"""Explain a key: its value, what set it, what that replaced, and what the key means."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from merit import artifacts
from merit.config.components import signatures
from merit.config.compose import ComposedConfig, compose_config
from merit.config.composition.layers import Setting, list_settings
from merit.config.documentation import keys
from merit.config.lock import UNREAD_FINGERPRINT, UNREAD_TEXT
from merit.config.problems import COMPOSED_KEYS
from merit.config.schema import Lock
from merit.errors import ConfigError, Problem

if TYPE_CHECKING:
    from rich.tree import Tree

COMPOSE_ORIGIN = "merit compose"
"""The origin of keys that compose fills in."""


@dataclass(frozen=True)
class Explanation:
    """The explanation of a key.

    Attributes:
        value: its value in the lock; for an argument that is not set, the source text of its default.
        where: what set it: `file:line`, the command line, or the owner of the default.
        written: the interpolation that was written there, if it was one.
        overrode: the settings that it replaced, the latest first.
        meaning: the description of the key.
    """

    key: str
    value: Any
    where: str
    written: str | None
    overrode: tuple[Setting, ...]
    meaning: str

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON; `set_by` is `where`, and each of `overrode` has `value` and `set_by`."""
        return {
            "key": self.key,
            "value": self.value,
            "set_by": self.where,
            "written": self.written,
            "overrode": [{"value": setting.value, "set_by": setting.where} for setting in self.overrode],
            "meaning": self.meaning,
        }

    def __str__(self) -> str:
        """Return it as lines of text."""
        suffix = f" ({self.written})" if self.written is not None else ""
        lines = [f"{self.key} = {to_yaml_text(self.value)}{suffix}", f"  set by:   {self.where}"]
        lines += [f"  overrode: {to_yaml_text(setting.value)} from {setting.where}" for setting in self.overrode]
        return "\n".join([*lines, f"  meaning:  {self.meaning}"] if self.meaning else lines)


def explain_key(key: str, overrides: Sequence[str] = (), conf: Path = artifacts.CONF) -> Explanation:
    """Explain a dotted key of the lock.

    Raises:
        ConfigError: there is no such key, or conf/ or the overrides are wrong.
    """
    return explain_composed(compose_config(overrides, conf, data_access="nothing"), key)


def explain_composed(composed: ComposedConfig, key: str) -> Explanation:
    """Explain a key of a composed configuration; a longer or shorter name is accepted if it is unambiguous.

    Raises:
        ConfigError: there is no such key.
    """
    values = _collect_values(composed.lock)
    path = _resolve_key(key, values)
    key = ".".join(path)
    exists, value = _get_value(values, path)
    if not exists:
        return _explain_argument(composed, path) or _raise_unknown_key(composed.lock, path, values)
    where, settings = _find_origin(composed, path)
    setting_value = settings[-1].value if settings else None
    is_written = isinstance(setting_value, str) and "${" in setting_value
    meaning = keys.describe_key(composed.lock, path)
    return Explanation(key, value, where, setting_value if is_written else None, tuple(settings[-2::-1]), meaning)


def to_yaml_text(value: Any) -> str:
    """Return a value as YAML on one line."""
    import yaml

    if isinstance(value, _VerbatimText):
        return str(value)
    # YAML ends a document that is only a scalar with '...'.
    dumped = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return dumped.removesuffix("...\n").strip()


def _collect_values(lock: Lock) -> dict[str, Any]:
    """Return all values of a lock by key, including those that params.yaml omits."""
    values = {name: _to_plain(value) for name, value in _get_fields(lock).items()}
    if lock.data.fingerprint == UNREAD_FINGERPRINT:
        values["data"]["fingerprint"] = _VerbatimText(UNREAD_TEXT)
    return values


def _get_fields(model: BaseModel) -> dict[str, Any]:
    own_fields = {field.alias or name: getattr(model, name) for name, field in type(model).model_fields.items()}
    return {**own_fields, **(model.model_extra or {})}


def _to_plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _to_plain(inner) for name, inner in _get_fields(value).items()}
    if isinstance(value, dict):
        return {str(name): _to_plain(inner) for name, inner in value.items()}
    return [_to_plain(inner) for inner in value] if isinstance(value, list) else value


def _get_value(values: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    for part in path:
        if isinstance(values, dict) and part in values:
            values = values[part]
        elif isinstance(values, list) and part.isdecimal() and int(part) < len(values):
            values = values[int(part)]
        else:
            return False, None
    return True, values


def _resolve_key(key: str, values: dict[str, Any]) -> tuple[str, ...]:
    """Return the key that a name means: itself, its end (`training.optimizer.lr`), or the only key that ends so.

    Column names may contain dots, so names are compared as strings, not part by part.
    """
    path_by_name = {".".join(path): path for path in _iterate_paths(values)}
    parts = key.split(".")
    if key in path_by_name or parts[0] in values:
        return path_by_name.get(key, tuple(parts))
    for start in range(1, len(parts)):
        if (end := ".".join(parts[start:])) in path_by_name:
            return path_by_name[end]
    matches = [path for name, path in path_by_name.items() if name.endswith(f".{key}")]
    return matches[0] if len(matches) == 1 else tuple(parts)


def _find_origin(composed: ComposedConfig, path: tuple[str, ...]) -> tuple[str, list[Setting]]:
    """Return what set a key, and all its settings; a section is set by every file that sets part of it."""
    settings = list_settings(composed.layers, path)
    if path[-1] in COMPOSED_KEYS:
        return COMPOSE_ORIGIN, []
    if not settings:
        return keys.describe_default_origin(path), []
    if isinstance(settings[-1].value, dict):
        return ", ".join(dict.fromkeys(each.where for each in settings)), settings[-1:]
    return settings[-1].where, settings


def _explain_argument(composed: ComposedConfig, path: tuple[str, ...]) -> Explanation | None:
    """Explain an argument of a target that no file sets."""
    _, component = _get_value(_collect_values(composed.lock), path[:-1])
    default = _read_defaults(component).get(path[-1])
    if default is None:
        return None
    target = component["_target_"]
    meaning = keys.describe_argument(target, path[-1])
    return Explanation(".".join(path), _VerbatimText(default), f"the default of {target}", None, (), meaning)


def _read_defaults(component: Any) -> dict[str, str]:
    """Return the arguments of a component's class that have a default, as source text."""
    target = component.get("_target_") if isinstance(component, dict) else None
    arguments = signatures.read_trusted_arguments(target) or {}
    return {name: each.default for name, each in arguments.items() if each.default is not None}


class _VerbatimText(str):
    """A text to print verbatim: the source text of a default, or a note in place of a value."""


def _raise_unknown_key(lock: Lock, path: tuple[str, ...], values: dict[str, Any]) -> Explanation:
    key = ".".join(path)
    if (free_names := _find_free_names(lock, path[:-1])) is not None:
        hint = f"'{'.'.join(path[:-1])}' has no '{path[-1]}'; a file of conf/ may set it"
        raise ConfigError([Problem("", key, "not set", ", ".join(free_names) or "none, for none is set", hint)])
    known_keys = [".".join(path) for path in _iterate_paths(values)]
    *parents, _ = key.split(".")
    exists, siblings = _get_value(values, tuple(parents))
    names = list(siblings) if exists and isinstance(siblings, dict) else list(values)
    names += [name for name in _read_defaults(siblings) if name not in names]
    known_keys += [".".join((*parents, name)) for name in names if exists]
    matches = difflib.get_close_matches(key, known_keys, n=1)
    hint = f"did you mean '{matches[0]}'?" if matches else ""
    raise ConfigError([Problem("", key, "unknown key", ", ".join(names), hint)])


def _find_free_names(lock: Lock, path: tuple[str, ...]) -> list[str] | None:
    """Return the keys set in a mapping with free names, such as gate.waivers; None for any other path."""
    value: Any = lock
    for part in path:
        inner = _get_fields(value) if isinstance(value, BaseModel) else value
        value = inner.get(part) if isinstance(inner, dict) else None
    return list(value) if isinstance(value, dict) else None


def _iterate_paths(values: Any, parents: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in values.items() if isinstance(values, dict) else ():
        yield (*parents, name)
        yield from _iterate_paths(inner, (*parents, name))


def build_tree(overrides: Sequence[str] = (), depth: int | None = None, conf: Path = artifacts.CONF) -> "Tree":
    """Return the composition as a tree of sections, keys, values and what set each, down to a depth."""
    from rich.text import Text
    from rich.tree import Tree

    composed = compose_config(overrides, conf, data_access="nothing")
    values = _collect_values(composed.lock)
    root = Tree(Text(str(conf)))
    _add_branches(root, composed, values, (), depth)
    return root


def list_keys(
    overrides: Sequence[str] = (), depth: int | None = None, conf: Path = artifacts.CONF
) -> list[dict[str, Any]]:
    """Return the leaves of the tree of `build_tree`: `key`, `value` and `set_by` of each; a cut section is a leaf."""
    composed = compose_config(overrides, conf, data_access="nothing")
    values = _collect_values(composed.lock)
    listed = []
    for path in _iterate_paths(values):
        _, value = _get_value(values, path)
        is_section = isinstance(value, dict) and bool(value)
        if len(path) > (depth or len(path)) or (is_section and len(path) != depth):
            continue
        where, settings = _find_origin(composed, path)
        if settings or value is not None:
            listed.append({"key": ".".join(path), "value": value, "set_by": where})
    return listed


def _add_branches(
    branch: "Tree", composed: ComposedConfig, values: dict[str, Any], parents: tuple[str, ...], depth: int | None
) -> None:
    from rich.text import Text

    for name, value in values.items():
        path = (*parents, name)
        where, settings = _find_origin(composed, path)
        if isinstance(value, dict) and value:
            inner = branch.add(Text.assemble((name, "bold"), "  ", (_strip_lines(where), "dim")))
            if depth is None or len(path) < depth:
                _add_branches(inner, composed, value, path, depth)
        elif settings or value is not None:  # skip keys that are neither set nor have a value
            branch.add(Text.assemble(f"{name}: {to_yaml_text(value)}  ", (where, "dim")))


def _strip_lines(where: str) -> str:
    """Return the files that set a section, without line numbers."""
    return ", ".join(dict.fromkeys(location.rpartition(":")[0] or location for location in where.split(", ")))
