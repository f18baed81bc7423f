"""Explain a key: its value, what set it, what that replaced, and what the key means."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from merit import artifacts
from merit.config import documentation, signatures
from merit.config.compose import Composed, composition
from merit.config.layers import Setting, history
from merit.config.lock import NOT_READ, UNREAD
from merit.config.problems import FILLED_IN
from merit.config.schema import Lock
from merit.errors import ConfigError, Problem

if TYPE_CHECKING:
    from rich.tree import Tree

COMPOSED = "merit compose"
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

    def __str__(self) -> str:
        """Return it as lines of text."""
        given = f" ({self.written})" if self.written is not None else ""
        lines = [f"{self.key} = {text(self.value)}{given}", f"  set by:   {self.where}"]
        lines += [f"  overrode: {text(former.value)} from {former.where}" for former in self.overrode]
        return "\n".join([*lines, f"  meaning:  {self.meaning}"] if self.meaning else lines)


def explain(key: str, overrides: Sequence[str] = (), conf: Path = artifacts.CONF) -> Explanation:
    """Explain a dotted key of the lock.

    Raises:
        ConfigError: there is no such key, or conf/ or the overrides are wrong.
    """
    return explained(composition(overrides, conf, touch="nothing"), key)


def explained(composed: Composed, key: str) -> Explanation:
    """Explain a key of a composed configuration; a longer or shorter name is accepted if it is unambiguous.

    Raises:
        ConfigError: there is no such key.
    """
    values = _values(composed.lock)
    path = _meant(key, values)
    key = ".".join(path)
    found, value = _at(values, path)
    if not found:
        return _of_argument(composed, path) or _refuse(composed.lock, path, values)
    where, settings = _origin(composed, path)
    written = settings[-1].value if settings else None
    is_written = isinstance(written, str) and "${" in written
    meaning = documentation.of_key(composed.lock, path)
    return Explanation(key, value, where, written if is_written else None, tuple(settings[-2::-1]), meaning)


def text(value: Any) -> str:
    """Return a value as YAML on one line."""
    import yaml

    if isinstance(value, _Source):
        return str(value)
    # YAML ends a document that is only a scalar with '...'.
    dumped = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return dumped.removesuffix("...\n").strip()


def _values(lock: Lock) -> dict[str, Any]:
    """Return all values of a lock by key, including those that params.yaml omits."""
    found = {name: _plain(value) for name, value in _named(lock).items()}
    if lock.data.fingerprint == UNREAD:
        found["data"]["fingerprint"] = _Source(NOT_READ)
    return found


def _named(model: BaseModel) -> dict[str, Any]:
    own = {field.alias or name: getattr(model, name) for name, field in type(model).model_fields.items()}
    return {**own, **(model.model_extra or {})}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(inner) for name, inner in _named(value).items()}
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _at(values: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    for part in path:
        if isinstance(values, dict) and part in values:
            values = values[part]
        elif isinstance(values, list) and part.isdecimal() and int(part) < len(values):
            values = values[int(part)]
        else:
            return False, None
    return True, values


def _meant(key: str, values: dict[str, Any]) -> tuple[str, ...]:
    """Return the key that a name means: itself, its end (`training.optimizer.lr`), or the only key that ends so.

    Column names may contain dots, so names are compared as strings, not part by part.
    """
    known = {".".join(path): path for path in _paths(values)}
    parts = key.split(".")
    if key in known or parts[0] in values:
        return known.get(key, tuple(parts))
    for start in range(1, len(parts)):
        if (end := ".".join(parts[start:])) in known:
            return known[end]
    ending = [path for name, path in known.items() if name.endswith(f".{key}")]
    return ending[0] if len(ending) == 1 else tuple(parts)


def _origin(composed: Composed, path: tuple[str, ...]) -> tuple[str, list[Setting]]:
    """Return what set a key, and all its settings; a section is set by every file that sets part of it."""
    settings = history(composed.layers, path)
    if path[-1] in FILLED_IN:
        return COMPOSED, []
    if not settings:
        return documentation.default_of(path), []
    if isinstance(settings[-1].value, dict):
        return ", ".join(dict.fromkeys(each.where for each in settings)), settings[-1:]
    return settings[-1].where, settings


def _of_argument(composed: Composed, path: tuple[str, ...]) -> Explanation | None:
    """Explain an argument of a target that no file sets."""
    _, component = _at(_values(composed.lock), path[:-1])
    default = _defaults(component).get(path[-1])
    if default is None:
        return None
    target = component["_target_"]
    meaning = documentation.of_argument(target, path[-1])
    return Explanation(".".join(path), _Source(default), f"the default of {target}", None, (), meaning)


def _defaults(component: Any) -> dict[str, str]:
    """Return the arguments of a component's class that have a default, as source text."""
    target = component.get("_target_") if isinstance(component, dict) else None
    arguments = signatures.trusted_arguments(target) or {}
    return {name: each.default for name, each in arguments.items() if each.default is not None}


class _Source(str):
    """A text to print verbatim: the source text of a default, or a note in place of a value."""


def _refuse(lock: Lock, path: tuple[str, ...], values: dict[str, Any]) -> Explanation:
    key = ".".join(path)
    if (own := _named_freely(lock, path[:-1])) is not None:
        hint = f"'{'.'.join(path[:-1])}' has no '{path[-1]}'; a file of conf/ may set it"
        raise ConfigError([Problem("", key, "not set", ", ".join(own) or "none, for none is set", hint)])
    known = [".".join(path) for path in _paths(values)]
    *above, _ = key.split(".")
    found, beside = _at(values, tuple(above))
    names = list(beside) if found and isinstance(beside, dict) else list(values)
    names += [name for name in _defaults(beside) if name not in names]
    known += [".".join((*above, name)) for name in names if found]
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else ""
    raise ConfigError([Problem("", key, "unknown key", ", ".join(names), hint)])


def _named_freely(lock: Lock, path: tuple[str, ...]) -> list[str] | None:
    """Return the keys set in a mapping with free names, such as gate.waivers; None for any other path."""
    place: Any = lock
    for part in path:
        inner = _named(place) if isinstance(place, BaseModel) else place
        place = inner.get(part) if isinstance(inner, dict) else None
    return list(place) if isinstance(place, dict) else None


def _paths(values: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in values.items() if isinstance(values, dict) else ():
        yield (*above, name)
        yield from _paths(inner, (*above, name))


def tree(overrides: Sequence[str] = (), depth: int | None = None, conf: Path = artifacts.CONF) -> "Tree":
    """Return the composition as a tree of sections, keys, values and what set each, down to a depth."""
    from rich.text import Text
    from rich.tree import Tree

    composed = composition(overrides, conf, touch="nothing")
    values = _values(composed.lock)
    root = Tree(Text(str(conf)))
    _grow(root, composed, values, (), depth)
    return root


def _grow(
    branch: "Tree", composed: Composed, values: dict[str, Any], above: tuple[str, ...], depth: int | None
) -> None:
    from rich.text import Text

    for name, value in values.items():
        path = (*above, name)
        where, settings = _origin(composed, path)
        if isinstance(value, dict) and value:
            inner = branch.add(Text.assemble((name, "bold"), "  ", (_files(where), "dim")))
            if depth is None or len(path) < depth:
                _grow(inner, composed, value, path, depth)
        elif settings or value is not None:  # skip keys that are neither set nor have a value
            branch.add(Text.assemble(f"{name}: {text(value)}  ", (where, "dim")))


def _files(where: str) -> str:
    """Return the files that set a section, without line numbers."""
    return ", ".join(dict.fromkeys(place.rpartition(":")[0] or place for place in where.split(", ")))
