r"""Interpolations: `${name}` takes the value of another key. Resolvers and environment variables are refused.

Text that only looks like an interpolation is written `\${name}`, and a text of three question marks `\???`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from merit.config.problems import Fault, suggest_name

INTERPOLATION = re.compile(r"(?<!\\)\$\{(\.*)([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}")
ESCAPED_PREFIX = r"\${"
_QUESTION_MARKS = re.compile(r"\\*\?\?\?")
MAX_VALUES = 20_000
"""The maximum number of values copied by interpolations: thirty keys that each use the one before twice are 2**30."""
MAX_TEXT_LENGTH = 100_000
UNSET_MESSAGE = "found ???, which says that it must be set"

Key = tuple[str, ...]


def is_unresolved(value: Any) -> bool:
    """Return whether a value is known only after composing: an interpolation, or `???` for one that must be set."""
    return isinstance(value, str) and ("${" in value.replace(ESCAPED_PREFIX, "") or value == "???")


def escape_text(text: str) -> str:
    """Return a text escaped so that it stands for itself."""
    return f"\\{text}" if _QUESTION_MARKS.fullmatch(text) else text.replace("${", ESCAPED_PREFIX)


def _unescape_text(text: str) -> str:
    return text[1:] if text.startswith("\\") and _QUESTION_MARKS.fullmatch(text) else text.replace(ESCAPED_PREFIX, "${")


def find_syntax_fault(value: Any) -> Fault | None:
    """Return the fault of a text with unsupported interpolation syntax, with an empty key; None if there is none."""
    if not isinstance(value, str) or "${" not in value:
        return None
    rest = INTERPOLATION.sub(
        lambda found: "\0" if found[2].split(".")[0] == "hydra" else "", value.replace(ESCAPED_PREFIX, "")
    )
    if "${" not in rest and "\0" not in rest:
        return None
    hint = "resolvers would put what is outside of conf/, such as secrets, into params.yaml"
    return Fault((), f"the interpolation {value!r}", "${key} of another key", hint)


class _UnresolvableError(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.text)


def resolve_interpolations(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault], set[Key]]:
    """Return the values with interpolations resolved, the faults, and the keys left without a value."""
    resolver = _Resolver(values)
    return resolver.resolve_value(values, ()), resolver.faults, resolver.unresolved_keys


class _Resolver:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root, self.faults, self.unresolved_keys = root, list[Fault](), set[Key]()
        self.visited_count = 0

    def resolve_value(self, value: Any, key: Key) -> Any:
        """Return a value with its interpolations resolved; one that can't be is None, and its fault is recorded."""
        if isinstance(value, Mapping):
            return {name: self.resolve_value(inner, (*key, str(name))) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.resolve_value(inner, (*key, str(index))) for index, inner in enumerate(value)]
        if value == "???":
            return self._record_fault(Fault(key, UNSET_MESSAGE, hint="set it"), key)
        try:
            return self._resolve_text(value, key, ())
        except _UnresolvableError as broken:
            return self._record_fault(broken.fault, key)

    def _record_fault(self, fault: Fault, key: Key) -> None:
        self.unresolved_keys.add(key)
        self.faults.append(fault)

    def _resolve_text(self, value: Any, key: Key, trail: tuple[Key, ...]) -> Any:
        if not isinstance(value, str) or not is_unresolved(value):
            return _unescape_text(value) if isinstance(value, str) else value
        if fault := find_syntax_fault(value):
            raise _UnresolvableError(Fault(key, fault.found, fault.allowed, fault.hint))
        if full_match := INTERPOLATION.fullmatch(value):
            return self._resolve_reference(full_match, key, trail)
        text = INTERPOLATION.sub(lambda found: str(self._resolve_reference(found, key, trail)), value)
        text = _unescape_text(text)
        if len(text) > MAX_TEXT_LENGTH:
            raise _UnresolvableError(
                Fault(key, f"an interpolation of {len(text):,} characters", f"at most {MAX_TEXT_LENGTH:,}")
            )
        return text

    def _resolve_reference(self, match: re.Match[str], key: Key, trail: tuple[Key, ...]) -> Any:
        levels_up, path = len(match[1]), tuple(match[2].split("."))
        target = (*key[: len(key) - levels_up], *path) if levels_up else path
        if target in trail or target == key[: len(target)]:
            raise _UnresolvableError(Fault(key, f"{match[0]!r} leads back to itself", "a key with a value of its own"))
        resolved = self._copy_resolved(self._find_node(target, match[0], key), target, (*trail, target))
        if resolved == "???":
            raise _UnresolvableError(Fault(target, UNSET_MESSAGE, hint="set it"))
        return resolved

    def _find_node(self, target: Key, text: str, key: Key) -> Any:
        node: Any = self.root
        for step, part in enumerate(target):
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                names = [str(name) for name in node] if isinstance(node, Mapping) else []
                hint = suggest_name(part, names)
                if hint:
                    hint = f"did you mean '{'.'.join((*target[:step], hint.split(chr(39))[1]))}'?"
                raise _UnresolvableError(Fault(key, f"{text!r} names nothing", "the key of another value", hint))
        return node

    def _copy_resolved(self, value: Any, key: Key, trail: tuple[Key, ...]) -> Any:
        self.visited_count += 1
        if self.visited_count > MAX_VALUES:
            raise _UnresolvableError(
                Fault(key, f"interpolations that lead to more than {MAX_VALUES:,} values", "fewer")
            )
        if isinstance(value, Mapping):
            return {name: self._copy_resolved(inner, (*key, str(name)), trail) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._copy_resolved(inner, (*key, str(index)), trail) for index, inner in enumerate(value)]
        return self._resolve_text(value, key, trail)


def iterate_leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield every scalar of nested values with its key."""
    if isinstance(value, Mapping | list):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, inner in pairs:
            yield from iterate_leaves(inner, (*key, str(name)))
    else:
        yield key, value
