r"""Interpolations: `${name}` takes the value of another key. Resolvers and environment variables are refused.

Text that only looks like an interpolation is written `\${name}`, and a text of three question marks `\???`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from merit.config.problems import Fault, meant

PLAIN = re.compile(r"(?<!\\)\$\{(\.*)([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}")
ESCAPED = r"\${"
_MARKS = re.compile(r"\\*\?\?\?")
STEPS = 20_000
"""The maximum number of values copied by interpolations: thirty keys that each use the one before twice are 2**30."""
LENGTH = 100_000
LEFT_OPEN = "found ???, which says that it must be set"

Key = tuple[str, ...]


def is_open(value: Any) -> bool:
    """Return whether a value is known only after composing: an interpolation, or `???` for one that must be set."""
    return isinstance(value, str) and ("${" in value.replace(ESCAPED, "") or value == "???")


def literal(text: str) -> str:
    """Return a text escaped so that it stands for itself."""
    return f"\\{text}" if _MARKS.fullmatch(text) else text.replace("${", ESCAPED)


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("\\") and _MARKS.fullmatch(text) else text.replace(ESCAPED, "${")


def refusal(value: Any) -> Fault | None:
    """Return the fault of a text with unsupported interpolation syntax, with an empty key; None if there is none."""
    if not isinstance(value, str) or "${" not in value:
        return None
    rest = PLAIN.sub(lambda found: "\0" if found[2].split(".")[0] == "hydra" else "", value.replace(ESCAPED, ""))
    if "${" not in rest and "\0" not in rest:
        return None
    why = "resolvers would put what is outside of conf/, such as secrets, into params.yaml"
    return Fault((), f"the interpolation {value!r}", "${key} of another key", why)


class _Broken(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.text)


def resolve(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault], set[Key]]:
    """Return the values with interpolations resolved, the faults, and the keys left without a value."""
    resolver = _Resolver(values)
    return resolver.value(values, ()), resolver.faults, resolver.open


class _Resolver:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root, self.faults, self.open = root, list[Fault](), set[Key]()
        self.steps = 0

    def value(self, value: Any, key: Key) -> Any:
        """Return a value with its interpolations resolved; one that can't be is None, and its fault is recorded."""
        if isinstance(value, Mapping):
            return {name: self.value(inner, (*key, str(name))) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, (*key, str(place))) for place, inner in enumerate(value)]
        if value == "???":
            return self._unresolved(Fault(key, LEFT_OPEN, hint="set it"), key)
        try:
            return self._text(value, key, ())
        except _Broken as broken:
            return self._unresolved(broken.fault, key)

    def _unresolved(self, fault: Fault, key: Key) -> None:
        self.open.add(key)
        self.faults.append(fault)

    def _text(self, value: Any, key: Key, trail: tuple[Key, ...]) -> Any:
        if not isinstance(value, str) or not is_open(value):
            return _unescaped(value) if isinstance(value, str) else value
        if fault := refusal(value):
            raise _Broken(Fault(key, fault.found, fault.allowed, fault.hint))
        if whole := PLAIN.fullmatch(value):
            return self._led_to(whole, key, trail)
        text = PLAIN.sub(lambda found: str(self._led_to(found, key, trail)), value)
        text = _unescaped(text)
        if len(text) > LENGTH:
            raise _Broken(Fault(key, f"an interpolation of {len(text):,} characters", f"at most {LENGTH:,}"))
        return text

    def _led_to(self, found: re.Match[str], key: Key, trail: tuple[Key, ...]) -> Any:
        up, path = len(found[1]), tuple(found[2].split("."))
        goal = (*key[: len(key) - up], *path) if up else path
        if goal in trail or goal == key[: len(goal)]:
            raise _Broken(Fault(key, f"{found[0]!r} leads back to itself", "a key with a value of its own"))
        copied = self._copied(self._find(goal, found[0], key), goal, (*trail, goal))
        if copied == "???":
            raise _Broken(Fault(goal, LEFT_OPEN, hint="set it"))
        return copied

    def _find(self, goal: Key, text: str, key: Key) -> Any:
        node: Any = self.root
        for step, part in enumerate(goal):
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                names = [str(name) for name in node] if isinstance(node, Mapping) else []
                near = meant(part, names)
                if near:
                    near = f"did you mean '{'.'.join((*goal[:step], near.split(chr(39))[1]))}'?"
                raise _Broken(Fault(key, f"{text!r} names nothing", "the key of another value", near))
        return node

    def _copied(self, value: Any, key: Key, trail: tuple[Key, ...]) -> Any:
        self.steps += 1
        if self.steps > STEPS:
            raise _Broken(Fault(key, f"interpolations that lead to more than {STEPS:,} values", "fewer"))
        if isinstance(value, Mapping):
            return {name: self._copied(inner, (*key, str(name)), trail) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._copied(inner, (*key, str(place)), trail) for place, inner in enumerate(value)]
        return self._text(value, key, trail)


def leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield every scalar of nested values with its key."""
    if isinstance(value, Mapping | list):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, inner in pairs:
            yield from leaves(inner, (*key, str(name)))
    else:
        yield key, value
