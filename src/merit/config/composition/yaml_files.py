"""Read the YAML of conf/ with the line of every key: bounded in size, without tags, and with all problems at once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from merit import safe_yaml
from merit.console.logging import logger
from merit.errors import Problem

MAX_BYTES = 2_000_000
MAX_NODES = 100_000
"""The maximum number of values in a file with its aliases expanded: a few lines of YAML can otherwise mean billions."""
MAX_DEPTH = 40
MAX_REPARSE_LENGTH = 100_000
"""The longest text that Python's parser reads again after an error: its messages are better than libyaml's, but it is
far slower."""
HEAD_LENGTH = 512
"""The number of characters in which Hydra looks for a file's `@package`."""


@dataclass(frozen=True)
class Node:
    """A value in a YAML file with the line of its key: a scalar, a list of nodes, or a mapping of nodes by name."""

    value: Any
    line: int

    def to_plain(self) -> Any:
        """Return the value without line numbers."""
        if isinstance(self.value, dict):
            return {name: inner.to_plain() for name, inner in self.value.items()}
        if isinstance(self.value, list):
            return [inner.to_plain() for inner in self.value]
        return self.value

    def get_node(self, path: tuple[str, ...]) -> "Node | None":
        """Return the node at a path; None if there is none."""
        node = self
        for part in path:
            if isinstance(node.value, dict) and part in node.value:
                node = node.value[part]
            elif isinstance(node.value, list) and part.isdecimal() and int(part) < len(node.value):
                node = node.value[int(part)]
            else:
                return None
        return node

    def iterate_scalars(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], "Node"]]:
        """Yield every scalar with its path."""
        if isinstance(self.value, dict):
            inner = [(str(name), node) for name, node in self.value.items()]
        elif isinstance(self.value, list):
            inner = [(str(index), node) for index, node in enumerate(self.value)]
        else:
            yield path, self
            return
        for name, node in inner:
            yield from node.iterate_scalars((*path, name))


@dataclass
class YamlFile:
    """A file of conf/: its content, and its problems as YAML.

    Attributes:
        path: the file's path.
        head: the beginning of its text, where comments may be instructions to Hydra.
        package: the part of the lock that it sets, by its `# @package` comment or its folder.
        root: its mapping, without `defaults`; empty if it can't be read.
        defaults: its defaults list.
    """

    path: Path
    package: tuple[str, ...] = ()
    head: str = ""
    root: Node = field(default_factory=lambda: Node({}, 1))
    defaults: Node = field(default_factory=lambda: Node([], 1))
    problems: list[Problem] = field(default_factory=list)

    def add_problem(self, line: int, key: str, found: str, allowed: str = "", hint: str = "") -> None:
        """Add a problem."""
        full_key = ".".join([*self.package, key]) if key else ""
        self.problems.append(Problem(f"{self.path}:{line}", full_key, found, allowed, hint))


def read_all_files(conf: Path) -> dict[str, YamlFile]:
    """Read every YAML file below conf/, by its path without suffix; hidden files and folders are ignored."""
    paths = sorted(file for ending in ("yaml", "yml") for file in conf.rglob(f"*.{ending}"))
    names = [file.relative_to(conf) for file in paths]
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return {name.with_suffix("").as_posix(): _read_inside_conf(conf, name) for name in visible}


def _read_inside_conf(conf: Path, name: Path) -> YamlFile:
    if (conf / name).resolve().is_relative_to(conf.resolve()):
        return read_file(conf / name, name.parent.parts)
    file = YamlFile(conf / name, name.parent.parts)
    file.add_problem(1, "", "a link that leads out of conf/", "files in conf/", "copy what it leads to")
    return file


def read_file(path: Path, package: tuple[str, ...] = ()) -> YamlFile:
    """Read one file; its problems are part of the result."""
    file = YamlFile(path, package)
    try:
        raw = path.read_bytes()
        logger.debug("reads %s", path)
        if len(raw) > MAX_BYTES:
            file.add_problem(
                1, "", f"{len(raw):,} bytes", f"at most {MAX_BYTES:,}", "conf/ is for settings, not for data"
            )
            return file
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        file.add_problem(
            raw.count(b"\n", 0, error.start) + 1, "", "a byte that is not UTF-8", "UTF-8", "save it as UTF-8"
        )
        return file
    file.package, file.head = _find_package(text, package), text[:HEAD_LENGTH]
    try:
        root = _parse_document(text, file)
    except _RefusedContentError as error:
        file.add_problem(error.line, "", str(error), error.allowed, "write out what is needed")
    except yaml.YAMLError as error:
        _add_yaml_problem(file, text, error)
    else:
        file.defaults = root.value.pop("defaults", file.defaults)
        file.root = root
    return file


def _parse_document(text: str, file: YamlFile) -> Node:
    """Return the root node, parsed by the fast libyaml; after an error Python's parser gives the message."""
    if fast_loader := getattr(yaml, "CSafeLoader", None):
        try:
            return _NodeBuilder(text, file, fast_loader).build_document()
        except yaml.YAMLError:
            if len(text) > MAX_REPARSE_LENGTH:
                raise
            file.problems.clear()
    return _NodeBuilder(text, file, yaml.SafeLoader).build_document()


_PACKAGE_COMMENT = re.compile(r"#\s*@package\s+(\S+)\s*$")


def _find_package(text: str, folder: tuple[str, ...]) -> tuple[str, ...]:
    """Return the package that a `# @package` comment in the head names in Hydra's syntax; by default the folder."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            break
        if match := _PACKAGE_COMMENT.match(line.strip()):
            parts = match[1].replace("_group_", ".".join(folder)).removeprefix("_global_").split(".")
            return tuple(part for part in parts if part)
    return folder


def _add_yaml_problem(file: YamlFile, text: str, error: yaml.YAMLError) -> None:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        position = getattr(error, "position", 0)
        file.add_problem(text.count("\n", 0, position) + 1, "", f"not valid YAML: {getattr(error, 'reason', error)}")
        return
    mark, context = error.problem_mark, error.context or ""
    # Report an unclosed quote or bracket where it was opened, not where the parser noticed it.
    if error.context_mark is not None and ("flow" in context or "quoted" in context):
        mark = error.context_mark
    lines = text.splitlines()
    problem_line = lines[error.problem_mark.line] if error.problem_mark.line < len(lines) else ""
    if "\t" in problem_line[: max(error.problem_mark.column + 1, len(problem_line) - len(problem_line.lstrip()))]:
        file.add_problem(error.problem_mark.line + 1, "", "a tab", "spaces", "indent with spaces")
        return
    reason = " ".join(filter(None, [context, error.problem]))
    file.add_problem(mark.line + 1, "", f"not valid YAML: {reason}")


class _RefusedContentError(Exception):
    def __init__(self, line: int, found: str, allowed: str) -> None:
        self.line, self.allowed = line, allowed
        super().__init__(found)


class _ScalarLoader(yaml.SafeLoader):
    """Resolves plain scalars as OmegaConf does: a date stays a string, and 1e-5 is a number."""


_ScalarLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in rules if not tag.endswith(":timestamp")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_ScalarLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _get_line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _NodeBuilder:
    """Builds nodes from the parser's events, so that aliases are counted before they are expanded."""

    def __init__(self, text: str, file: YamlFile, loader: Any) -> None:
        self.events: Iterator[Any] = yaml.parse(text, Loader=loader)
        self.file = file
        self.scalars: Any = _ScalarLoader("")
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.count = 0

    def build_document(self) -> Node:
        """Return the root of the file's only document."""
        start_events = [next(self.events), next(self.events)]
        if isinstance(start_events[1], yaml.StreamEndEvent):
            return Node({}, 1)
        root = self._build_node(next(self.events), (), 1)
        next(self.events)
        if not isinstance(following := next(self.events), yaml.StreamEndEvent):
            self.file.add_problem(_get_line(following), "", "a second document", "one per file", "remove the '---'")
        if root.value is None:
            return Node({}, 1)
        if not isinstance(root.value, dict):
            self.file.add_problem(root.line, "", f"a {type(root.value).__name__}", "keys with values")
            return Node({}, 1)
        return root

    def _build_node(self, event: Any, path: tuple[str, ...], line: int) -> Node:
        self._add_to_count(event, 1)
        if len(path) > MAX_DEPTH:
            raise _RefusedContentError(_get_line(event), "values nested too deeply", f"{MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._resolve_alias(event, line)
        self._refuse_tag(event, path)
        before = self.count
        if isinstance(event, yaml.MappingStartEvent):
            node = Node(self._build_mapping(path), line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(self._build_sequence(path), line)
        else:
            node = Node(self._build_scalar(event, path), line)
        if event.anchor:
            self.anchors[event.anchor] = (node, self.count - before + 1)
        return node

    def _add_to_count(self, event: Any, added: int) -> None:
        self.count += added
        if self.count > MAX_NODES:
            line = _get_line(event)
            raise _RefusedContentError(
                line, f"more than {MAX_NODES:,} values once aliases are written out", f"{MAX_NODES:,} values"
            )

    def _resolve_alias(self, event: Any, line: int) -> Node:
        if event.anchor not in self.anchors:
            raise _RefusedContentError(
                _get_line(event), f"alias '*{event.anchor}' without an anchor before it", "its anchor first"
            )
        node, size = self.anchors[event.anchor]
        self._add_to_count(event, size)
        return Node(node.value, line)

    def _refuse_tag(self, event: Any, path: tuple[str, ...]) -> None:
        # The parser gives every quoted text the tag '!'.
        if event.tag is not None and event.tag != "!":
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.file.add_problem(
                _get_line(event), ".".join(path), f"the YAML tag '{tag}'", "plain values", "remove it"
            )

    def _build_scalar(self, event: Any, path: tuple[str, ...]) -> Any:
        tag = self.scalars.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag.endswith((":merge", ":value")):  # << and =, which are used as keys
            return event.value
        if tag.endswith((":int", ":float")) and (found := safe_yaml.explain_odd_number(event.value)):
            self.file.add_problem(
                _get_line(event), ".".join(path), found, "a number as it reads, or a text", "quote a text"
            )
            return event.value
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            return self.scalars.construct_object(node)
        except ValueError:
            return event.value

    def _build_sequence(self, path: tuple[str, ...]) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._build_node(event, (*path, str(len(items))), _get_line(event)))
        return items

    def _build_mapping(self, path: tuple[str, ...]) -> dict[str, Node]:
        own_nodes: dict[str, Node] = {}
        merged_nodes: dict[str, Node] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line, name = _get_line(event), self._read_key(event, path)
            node = self._build_node(next(self.events), (*path, name), line)
            if name == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
                for part in node.value if isinstance(node.value, list) else [node]:
                    merged_nodes = {**part.value, **merged_nodes} if isinstance(part.value, dict) else merged_nodes
            elif name in own_nodes:
                first_line = own_nodes[name].line
                key = ".".join((*path, name))
                self.file.add_problem(
                    line, key, f"duplicate key, set on line {first_line} too", "each key once", "remove one"
                )
            else:
                own_nodes[name] = node
        return {**merged_nodes, **own_nodes}

    def _read_key(self, event: Any, path: tuple[str, ...]) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise _RefusedContentError(_get_line(event), "a key that is not a word", "words as keys")
        self._refuse_tag(event, path)
        value = self._build_scalar(event, (*path, event.value[:40]))
        if event.implicit[0] and not isinstance(value, str):
            key, hint = ".".join((*path, event.value)), f"write '{event.value}' in quotes"
            self.file.add_problem(_get_line(event), key, f"a key that YAML reads as {value!r}", "words as keys", hint)
        return str(event.value)
