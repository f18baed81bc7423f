"""Layers: the values of each file and each override, in the order in which they are merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from merit.config.problems import Fault
from merit.config.yamlfiles import Node, YamlFile
from merit.errors import Problem

COMMAND_LINE = "command line"
REMOVED = object()
"""The value of a key that the command line removes."""


@dataclass(frozen=True)
class Setting:
    """A value that a layer gives to a key, and its location."""

    value: Any
    where: str


@dataclass(frozen=True)
class Layer:
    """The values that one file, or one override, sets below a package."""

    where: str
    package: tuple[str, ...]
    root: Node

    @classmethod
    def of(cls, file: YamlFile, package: tuple[str, ...] | None = None) -> "Layer":
        """Return the layer of a file, below its own package or the one that a defaults list gives it."""
        return cls(str(file.path), file.package if package is None else package, file.root)

    def place(self, node: Node) -> str:
        """Return the location of a node of this layer."""
        return self.where if self.where == COMMAND_LINE else f"{self.where}:{node.line}"

    def reach(self, key: tuple[str, ...]) -> tuple[int, Node]:
        """Return how many parts of a key this layer sets (-1: outside its package), and the deepest node for it."""
        if key[: len(self.package)] != self.package:
            return -1, self.root
        depth, node = len(self.package), self.root
        while depth < len(key) and (inner := node.at((key[depth],))) is not None:
            depth, node = depth + 1, inner
        return depth, node

    def values(self) -> dict[str, Any]:
        """Return its values, nested from the root of the lock."""
        nested: Any = self.root.plain()
        for part in reversed(self.package):
            nested = {part: nested}
        return nested  # type: ignore[no-any-return]


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the merged values of all layers: mappings are merged, anything else is replaced."""
    whole: dict[str, Any] = {}
    for layer in layers:
        if layer.root.value is REMOVED:
            _remove(whole, layer.package)
            continue
        root = layer.root
        for part in reversed(layer.package):
            root = Node({part: root}, root.line)
        _lay(whole, root.value)
    return whole


def _remove(place: Any, path: tuple[str, ...]) -> None:
    for part in path[:-1]:
        place = place.get(part) if isinstance(place, dict) else None
    if isinstance(place, dict):
        place.pop(path[-1], None)


def _lay(place: dict[str, Any], nodes: dict[str, Node]) -> None:
    for name, node in nodes.items():
        if isinstance(node.value, dict):
            inner = place.get(name)
            place[name] = inner if isinstance(inner, dict) else {}
            _lay(place[name], node.value)
        else:
            place[name] = node.plain()


def idle_removals(layers: Sequence[Layer]) -> list[Problem]:
    """Return the problems of command-line removals that have nothing to remove."""
    return [
        Fault(layer.package, "nothing to remove", "a key that is set").at(layer.where)
        for place, layer in enumerate(layers)
        if layer.root.value is REMOVED and not history(layers[:place], layer.package)
    ]


def history(layers: Sequence[Layer], key: tuple[str, ...]) -> list[Setting]:
    """Return the settings of a key, the effective one last; a layer that replaces a parent of the key clears them."""
    found: list[Setting] = []
    for layer in layers:
        depth, node = layer.reach(key)
        if depth == len(key) and node.value is not REMOVED:
            found.append(Setting(node.plain(), layer.place(node)))
        elif depth >= 0 and not isinstance(node.value, dict):
            found = []
    return found


def located(layers: Sequence[Layer], fault: Fault) -> Problem:
    """Return a fault with the location that set its key last, or that set the nearest parent of it."""
    where, best = "conf", -1
    for layer in layers:
        depth, node = layer.reach(fault.key)
        if depth >= best and fault.key:
            where, best = layer.place(node), depth
    return fault.at(where)
