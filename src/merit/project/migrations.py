"""Migrates conf/ between format versions (the key `form`), by one pure function on the files' texts per step.

A step edits only the lines that it must: comments, order and spelling of all others stay.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from merit import safe_yaml
from merit.errors import MeritError

Texts = dict[str, str]
"""The path of each file, relative to the project's root, and its text."""

CONFIG = "conf/config.yaml"
TIME_SPLIT = ("train_until", "validation_until", "test_until")


@dataclass(frozen=True)
class Migration:
    """A step from one format version to the next.

    Attributes:
        from_form: the version that it starts from; it leads to the next one.
        reason: the change, in one line.
        apply: changes the texts.
    """

    from_form: int
    reason: str
    apply: Callable[[Texts], Texts]


def migrate(texts: Texts, to_form: int) -> tuple[Texts, list[str]]:
    """Migrate texts to a format version; return them with the reason of each step.

    Raises:
        MeritError: the version in conf/config.yaml is invalid or newer than `to_form`; a file is not valid YAML.
    """
    present_form = read_form(texts)
    if present_form > to_form:
        raise MeritError(
            f"{CONFIG}: form: found {present_form}, newer than {to_form}, which this merit reads; install a newer merit"
        )
    steps = [step for step in MIGRATIONS if present_form <= step.from_form < to_form]
    for step in steps:
        texts = _set_form(step.apply(texts), step.from_form + 1)
    return texts, [step.reason for step in steps]


def read_form(texts: Mapping[str, str]) -> int:
    """Return the format version in conf/config.yaml, 1 if it has none."""
    root = _parse_mapping(CONFIG, texts[CONFIG])
    node = None if root is None else _get_value(root, "form")
    if node is None:
        return 1
    if not isinstance(node, yaml.ScalarNode) or not node.value.isdecimal() or int(node.value) < 1:
        raise MeritError(f"{CONFIG}:{node.start_mark.line + 1}: form: must be a whole number of 1 or more; correct it")
    return int(node.value)


def _set_form(texts: Texts, form: int) -> Texts:
    text = texts[CONFIG]
    root = _parse_mapping(CONFIG, text)
    if root is None:
        raise MeritError(f"{CONFIG}: holds no key; it is the table of contents of conf/")
    node = _get_value(root, "form")
    if node is None:
        return {**texts, CONFIG: _insert_first(text, root, f"form: {form}")}
    return {**texts, CONFIG: text[: node.start_mark.index] + str(form) + text[node.end_mark.index :]}


def _declare_time_split(texts: Texts) -> Texts:
    return {path: _add_split_kind(path, text) for path, text in texts.items()}


def _add_split_kind(path: str, text: str) -> str:
    splits = {node.start_mark.index: node for node in _find_splits(path, text) if _lacks_kind(node)}
    for _, node in sorted(splits.items(), reverse=True):  # from the end, so that earlier positions stay valid
        text = _insert_first(text, node, "by: time")
    return text


def _find_splits(path: str, text: str) -> Iterator[yaml.MappingNode]:
    """Yield the mappings of a file that may set data.split: in a data file, or under the key data."""
    root = _parse_mapping(path, text)
    if root is None:
        return
    data = root if path.startswith("conf/data/") else None
    for parent in (data, _get_value(root, "data")):
        if isinstance(parent, yaml.MappingNode) and isinstance(split := _get_value(parent, "split"), yaml.MappingNode):
            yield split


def _lacks_kind(split: yaml.MappingNode) -> bool:
    return any(_get_value(split, key) for key in TIME_SPLIT) and _get_value(split, "by") is None


def _parse_mapping(path: str, text: str) -> yaml.MappingNode | None:
    """Return the root node of a YAML text, with positions; None if it is not a mapping or an empty one."""
    try:
        root = safe_yaml.compose(text)
    except yaml.YAMLError as error:
        raise MeritError(f"{path}: not valid YAML: {' '.join(str(error).split())}; correct it first") from error
    return root if isinstance(root, yaml.MappingNode) and root.value else None


def _get_value(mapping: yaml.MappingNode, key: str) -> Any:
    return next((value for name, value in mapping.value if name.value == key), None)


def _insert_first(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """Insert a `key: value` pair at the start of a mapping, in its style: in braces or on a line of its own."""
    mark = mapping.value[0][0].start_mark
    newline = "\r\n" if "\r\n" in text else "\n"
    separator = ", " if mapping.flow_style else newline + " " * mark.column
    return text[: mark.index] + entry + separator + text[mark.index :]


REFERENCE = {
    "merit.data.sources.Flights": "reference.flights.Flights",
    "merit.data.sources.Digits": "reference.digits.Digits",
}
"""Sources that left the library: `merit upgrade` gives their package to a project that uses one."""
MOVED_PREFIXES = {"merit.training.networks.": "merit.models.networks.", **REFERENCE}
"""Prefixes of `_target_` that named a module or a class by its earlier path."""


def _move_targets(texts: Texts) -> Texts:
    return {path: _replace_targets(text) for path, text in texts.items()}


def _replace_targets(text: str) -> str:
    for old, new in MOVED_PREFIXES.items():
        text = re.sub(rf"(?m)(\b_target_[\"']?\s*:\s*[\"']?){re.escape(old)}", rf"\g<1>{new}", text)
    return text


def names_reference(texts: Texts) -> bool:
    """Return whether a file names one of the sources that left the library."""
    pattern = re.compile(rf"\b_target_[\"']?\s*:\s*[\"']?(?:{'|'.join(map(re.escape, REFERENCE.values()))})\b")
    return any(pattern.search(text) for text in texts.values())


MIGRATIONS = (
    Migration(1, "data.split says by what it splits: by time, or by lot", _declare_time_split),
    Migration(2, "networks are classes of merit.models.networks, and the library knows no table", _move_targets),
)
