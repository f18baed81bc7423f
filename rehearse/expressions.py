"""GitHub's expressions: what stands in `${{ }}` and in `if`."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rehearse import UnknownError

TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:0x[0-9a-fA-F]+|0o[0-7]+|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+))(?![\w.])
    | (?P<string>'(?:[^']|'')*')
    | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
    | (?P<operator>&&|\|\||==|!=|<=|>=|[<>!().\[\],*])
    )""",
    re.VERBOSE,
)
EMBEDDED = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
LITERALS = {"true": True, "false": False, "null": None, "nan": math.nan, "infinity": math.inf}
STATUS = {"success", "failure", "always", "cancelled"}


@dataclass(frozen=True)
class Scope:
    """What an expression may see.

    Attributes:
        contexts: by name, such as `github`.
        status: what success(), failure(), always() and cancelled() say here; empty where they may not be asked.
        folder: where hashFiles() looks.
    """

    contexts: Mapping[str, Any]
    status: Mapping[str, bool] = field(default_factory=dict)
    folder: Path = Path()


def evaluate(text: str, scope: Scope) -> Any:
    """Return the value of an expression.

    Raises:
        UnknownError: it can't be read, or names what isn't there.
    """
    parser = _Parser(_tokens(text), scope)
    value = parser.either()
    if not parser.at_end():
        raise UnknownError(f"expression {text!r}: what is {parser.peek()[1]!r}?")
    return value


def fill(text: str, scope: Scope) -> str:
    """Return a text with its expressions replaced by their values."""
    return EMBEDDED.sub(lambda found: as_text(evaluate(found[1], scope)), text)


def value_of(text: Any, scope: Scope) -> Any:
    """Return a value of YAML: one that is wholly an expression keeps its type."""
    if not isinstance(text, str):
        return text
    whole = EMBEDDED.fullmatch(text.strip())
    return evaluate(whole[1], scope) if whole else fill(text, scope)


def holds(text: Any, scope: Scope) -> bool:
    """Say whether an `if` holds; one that asks for no status means success() as well."""
    condition = str(text).strip() if not isinstance(text, bool) else as_text(text)
    whole = EMBEDDED.fullmatch(condition)
    condition = whole[1] if whole else condition
    if "${{" in condition:
        raise UnknownError(f"if {text!r}: GitHub would take the text around the expression for true")
    asks = {token.casefold() for kind, token in _tokens(condition) if kind == "name"} & STATUS
    return truth(evaluate(condition, scope)) and (bool(asks) or scope.status["success"])


def truth(value: Any) -> bool:
    """Say whether a value counts as true."""
    return (bool(value) and not (isinstance(value, float) and math.isnan(value))) or isinstance(value, dict | list)


def as_text(value: Any) -> str:
    """Return a value as GitHub writes it into a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.15g}"
    return value if isinstance(value, str) else "Array" if isinstance(value, list) else "Object"


def _tokens(text: str) -> list[tuple[str, str]]:
    found, place = [], 0
    while text[place:].strip():
        match = TOKEN.match(text, place)
        if match is None:
            raise UnknownError(f"expression {text!r}: can't be read from {text[place:].strip()[:20]!r} on")
        found.append((str(match.lastgroup), match[str(match.lastgroup)]))
        place = match.end()
    return found


class _Parser:
    """Reads by precedence: `||`, `&&`, equality, order, `!`, then what a value is made of."""

    def __init__(self, tokens: list[tuple[str, str]], scope: Scope) -> None:
        self._tokens, self._place, self._scope = tokens, 0, scope

    def at_end(self) -> bool:
        return self._place == len(self._tokens)

    def peek(self) -> tuple[str, str]:
        return ("end", "the end") if self.at_end() else self._tokens[self._place]

    def _take(self, *operators: str) -> str:
        kind, token = self.peek()
        if kind != "operator" or token not in operators:
            return ""
        self._place += 1
        return token

    def _expect(self, operator: str) -> None:
        if not self._take(operator):
            raise UnknownError(f"expression: found {self.peek()[1]!r} where {operator!r} belongs")

    def either(self) -> Any:
        value = self._both()
        while self._take("||"):
            other = self._both()
            value = value if truth(value) else other
        return value

    def _both(self) -> Any:
        value = self._equal()
        while self._take("&&"):
            other = self._equal()
            value = other if truth(value) else value
        return value

    def _equal(self) -> Any:
        value = self._ordered()
        while operator := self._take("==", "!="):
            value = is_equal(value, self._ordered()) is (operator == "==")
        return value

    def _ordered(self) -> Any:
        value = self._negated()
        while operator := self._take("<", ">", "<=", ">="):
            value = _is_ordered(operator, value, self._negated())
        return value

    def _negated(self) -> Any:
        if self._take("!"):
            return not truth(self._negated())
        return self._reached()

    def _reached(self) -> Any:
        value, is_star = self._first(), False
        while operator := self._take(".", "["):
            if operator == "[":
                key = self.either()
                self._expect("]")
            elif self._take("*"):
                value, is_star = (list(value.values()) if isinstance(value, dict) else value or []), True
                continue
            else:
                kind, key = self.peek()
                if kind != "name":
                    raise UnknownError(f"expression: found {key!r} where a name belongs")
                self._place += 1
            value = [_member(each, key) for each in value] if is_star else _member(value, key)
        return value

    def _first(self) -> Any:
        kind, token = self.peek()
        self._place += 1
        if kind == "number":
            return float(int(token, 0)) if token[:2].lower() in {"0x", "0o"} else float(token)
        if kind == "string":
            return token[1:-1].replace("''", "'")
        if kind == "name":
            return self._named(token)
        if token == "(":  # noqa: S105  # a token of an expression, not a secret
            value = self.either()
            self._expect(")")
            return value
        raise UnknownError(f"expression: found {token!r} where a value belongs")

    def _named(self, name: str) -> Any:
        if self._take("("):
            return self._called(name.casefold(), self._arguments())
        if name.casefold() in LITERALS:
            return LITERALS[name.casefold()]
        if name.casefold() not in self._scope.contexts:
            known = ", ".join(sorted(self._scope.contexts))
            raise UnknownError(f"expression: no context {name!r} here; there are {known}")
        return self._scope.contexts[name.casefold()]

    def _arguments(self) -> list[Any]:
        if self._take(")"):
            return []
        found = [self.either()]
        while self._take(","):
            found.append(self.either())
        self._expect(")")
        return found

    def _called(self, name: str, arguments: list[Any]) -> Any:
        if name in STATUS and not arguments:
            if name not in self._scope.status:
                raise UnknownError(f"expression: {name}() can be asked in an if alone")
            return self._scope.status[name]
        if name == "hashfiles":
            return _hash_files(self._scope.folder, [as_text(pattern) for pattern in arguments])
        if name not in FUNCTIONS:
            raise UnknownError(f"expression: no function {name!r}")
        try:
            return FUNCTIONS[name](*arguments)
        except (TypeError, ValueError, IndexError) as error:
            raise UnknownError(f"expression: {name}(): {error}") from error


def _member(value: Any, key: Any) -> Any:
    """Return a property or an item; GitHub gives null for one that isn't there."""
    if isinstance(value, Mapping):
        return next((found for name, found in value.items() if name.casefold() == as_text(key).casefold()), None)
    if isinstance(value, list) and isinstance(key, float) and 0 <= key < len(value):
        return value[int(key)]
    return None


def is_equal(left: Any, right: Any) -> bool:
    """Say whether two values are equal: texts without case, others of different kinds as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return left.casefold() == right.casefold()
    if isinstance(left, dict | list) or isinstance(right, dict | list):
        return left is right
    return _number(left) == _number(right)


def _is_ordered(operator: str, left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        first, second = left.casefold(), right.casefold()
        return {"<": first < second, ">": first > second, "<=": first <= second, ">=": first >= second}[operator]
    low, high = _number(left), _number(right)
    return {"<": low < high, ">": low > high, "<=": low <= high, ">=": low >= high}[operator]


def _number(value: Any) -> float:
    if value is None or value == "":
        return 0.0
    if isinstance(value, bool | int | float):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _contains(where: Any, what: Any) -> bool:
    if isinstance(where, list):
        return any(is_equal(each, what) for each in where)
    return as_text(what).casefold() in as_text(where).casefold()


def _format(pattern: Any, *values: Any) -> str:
    def part(found: re.Match[str]) -> str:
        return found[0][0] if found[0] in {"{{", "}}"} else as_text(values[int(found[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}", part, as_text(pattern))


def _join(values: Any, separator: Any = ",") -> str:
    return as_text(separator).join(map(as_text, values)) if isinstance(values, list) else as_text(values)


def _hash_files(folder: Path, patterns: list[str]) -> str:
    """Return one hash over the files that match; empty if there are none."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and any(fnmatchcase(str(file.relative_to(folder)), pattern) for pattern in patterns)
    )
    whole = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
    return hashlib.sha256(whole).hexdigest() if files else ""


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "contains": _contains,
    "startswith": lambda text, start: as_text(text).casefold().startswith(as_text(start).casefold()),
    "endswith": lambda text, end: as_text(text).casefold().endswith(as_text(end).casefold()),
    "format": _format,
    "join": _join,
    "tojson": lambda value: json.dumps(value, indent=2),
    "fromjson": lambda text: json.loads(as_text(text), parse_int=float),
}
