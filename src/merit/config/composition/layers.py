"""Layers: the values of each file and each override, in the order in which they are merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from merit.config.composition.yaml_files import Node, YamlFile
from merit.config.problems import Fault
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
    def from_file(cls, file: YamlFile, package: tuple[str, ...] | None = None) -> "Layer":
        """Return the layer of a file, below its own package or the one that a defaults list gives it."""
        return cls(str(file.path), file.package if package is None else package, file.root)

    def locate_node(self, node: Node) -> str:
        """Return the location of a node of this layer."""
        return self.where if self.where == COMMAND_LINE else f"{self.where}:{node.line}"

    def find_deepest_node(self, key: tuple[str, ...]) -> tuple[int, Node]:
        """Return how many parts of a key this layer sets (-1: outside its package), and the deepest node for it."""
        if key[: len(self.package)] != self.package:
            return -1, self.root
        depth, node = len(self.package), self.root
        while depth < len(key) and (inner := node.get_node((key[depth],))) is not None:
            depth, node = depth + 1, inner
        return depth, node

    def to_values(self) -> dict[str, Any]:
        """Return its values, nested from the root of the lock."""
        nested: Any = self.root.to_plain()
        for part in reversed(self.package):
            nested = {part: nested}
        return nested  # type: ignore[no-any-return]


def merge_layers(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the merged values of all layers: mappings are merged, anything else is replaced."""
    values: dict[str, Any] = {}
    for layer in layers:
        if layer.root.value is REMOVED:
            _remove_key(values, layer.package)
            continue
        root = layer.root
        for part in reversed(layer.package):
            root = Node({part: root}, root.line)
        _merge_nodes(values, root.value)
    return values


def _remove_key(values: Any, path: tuple[str, ...]) -> None:
    for part in path[:-1]:
        values = values.get(part) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values.pop(path[-1], None)


def _merge_nodes(values: dict[str, Any], nodes: dict[str, Node]) -> None:
    for name, node in nodes.items():
        if isinstance(node.value, dict):
            inner = values.get(name)
            values[name] = inner if isinstance(inner, dict) else {}
            _merge_nodes(values[name], node.value)
        else:
            values[name] = node.to_plain()


def find_idle_removals(layers: Sequence[Layer]) -> list[Problem]:
    """Return the problems of command-line removals that have nothing to remove."""
    return [
        Fault(layer.package, "nothing to remove", "a key that is set").to_problem(layer.where)
        for index, layer in enumerate(layers)
        if layer.root.value is REMOVED and not list_settings(layers[:index], layer.package)
    ]


def list_settings(layers: Sequence[Layer], key: tuple[str, ...]) -> list[Setting]:
    """Return the settings of a key, the effective one last; a layer that replaces a parent of the key clears them."""
    settings: list[Setting] = []
    for layer in layers:
        depth, node = layer.find_deepest_node(key)
        if depth == len(key) and node.value is not REMOVED:
            settings.append(Setting(node.to_plain(), layer.locate_node(node)))
        elif depth >= 0 and not isinstance(node.value, dict):
            settings = []
    return settings


def locate_fault(layers: Sequence[Layer], fault: Fault) -> Problem:
    """Return a fault with the location that set its key last, or that set the nearest parent of it."""
    where, best_depth = "conf", -1
    for layer in layers:
        depth, node = layer.find_deepest_node(fault.key)
        if depth >= best_depth and fault.key:
            where, best_depth = layer.locate_node(node), depth
    return fault.to_problem(where)
