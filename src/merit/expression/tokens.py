"""The tokens of an expression: names, numbers, texts and operators, each with its place."""

import re
from dataclasses import dataclass
from typing import Literal

from merit.errors import MeritError

MOST_CHARACTERS = 20_000
MOST_TOKENS = 4_000
SHOWN = 40
"""Characters of a token that a message shows."""

QUERIES = frozenset({"DISTINCT", "EXISTS", "FROM", "OVER", "SELECT", "UNION", "WITH"})
"""Words of queries and windows, which an expression has none of."""
RESERVED = QUERIES | {"AND", "BETWEEN", "CASE", "CAST", "ELSE", "END", "ESCAPE", "EXTRACT", "FALSE", "ILIKE", "IN",
                      "IS", "LIKE", "NOT", "NULL", "OR", "THEN", "TRUE", "TRY_CAST", "WHEN"}  # fmt: skip
"""Words that name no column unless they stand in quotes."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>--|/\*|\#)
  | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
  | (?P<name>[^\W\d]\w*)
  | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
  | (?P<text>'(?:[^']|'')*')
  | (?P<operator>\|\||::|<=|>=|<>|!=|==|[=<>+\-*/%(),])
    """,
    re.VERBOSE,
)
_REFUSED = {
    ";": "an expression is one condition or value, without ';'",
    ".": "a column is named alone; put its name in double quotes if it holds a dot",
    "'": "a text that doesn't end; close it with ', and write a quote within it twice",
    '"': "a name that doesn't end; close it with \", and write a quote within it twice",
    "`": "a name that doesn't end; close it with `, and write a quote within it twice",
}


class ExpressionError(MeritError):
    """A text is no expression that is allowed, or can't be calculated; it says where in the text."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message if at is None else f"{message}; at character {at}")


@dataclass(frozen=True)
class Token:
    """A token: of names and texts in quotes `text` is what stands between them."""

    kind: Literal["name", "quoted", "number", "text", "operator", "end"]
    text: str
    at: int
    """Its first character, counted from 1."""

    @property
    def word(self) -> str:
        """The token as keywords are compared: in capitals; empty if it can't be one."""
        return self.text.upper() if self.kind in {"name", "operator"} else ""

    def __str__(self) -> str:
        """Return it as a message shows it."""
        if self.kind == "end":
            return "the end"
        return f"'{plain(self.text)}'"


def plain(text: str) -> str:
    """Return a text as a message shows it: on one line, and not too long."""
    line = "".join(character if character.isprintable() else "?" for character in text[:SHOWN])
    return line if len(text) <= SHOWN else f"{line}..."


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a text, and one for its end.

    Raises:
        ExpressionError: it is too long, or holds what is no token.
    """
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(f"found {len(text):,} characters; allowed: {MOST_CHARACTERS:,}")
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup == "comment":
            raise _refused(text, position)
        if (kind := match.lastgroup) != "space":
            found.append(Token(kind, _content(match[0], str(kind)), position + 1))  # type: ignore[arg-type]
        position = match.end()
        if len(found) > MOST_TOKENS:
            raise ExpressionError(f"found more than {MOST_TOKENS:,} terms; allowed: {MOST_TOKENS:,}")
    return [*found, Token("end", "", len(text) + 1)]


def _content(text: str, kind: str) -> str:
    """Return what stands between quotes, each doubled one once; any other token as it is."""
    return text[1:-1].replace(text[0] * 2, text[0]) if kind in {"quoted", "text"} else text


def _refused(text: str, position: int) -> ExpressionError:
    character = text[position]
    if text.startswith(("--", "/*", "#"), position):
        found = text[position : position + 2].strip() if character != "#" else character
        return ExpressionError(f"found '{found}'; an expression has no comments", position + 1)
    shown = f"'{character}'" if character.isprintable() else f"U+{ord(character):04X}"
    return ExpressionError(f"found {shown}; {_REFUSED.get(character, 'no expression holds it')}", position + 1)


def quoted(name: str) -> str:
    """Return a column's name as an expression takes it: in quotes, unless it is a plain word without a meaning."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name.upper() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'
