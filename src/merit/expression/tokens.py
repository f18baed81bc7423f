"""The tokens of an expression: names, numbers, texts and operators, each with its position."""

import re
from dataclasses import dataclass
from typing import Literal

from merit.errors import MeritError

MAX_CHARACTERS = 20_000
MAX_TOKENS = 4_000
MAX_SHOWN_CHARACTERS = 40
"""The maximum number of characters of a token in a message."""

QUERY_KEYWORDS = frozenset({"DISTINCT", "EXISTS", "FROM", "OVER", "SELECT", "UNION", "WITH"})
"""Keywords of queries and windows, which an expression doesn't have."""
RESERVED_KEYWORDS = QUERY_KEYWORDS | {
    "AND",
    "BETWEEN",
    "CASE",
    "CAST",
    "ELSE",
    "END",
    "ESCAPE",
    "EXTRACT",
    "FALSE",
    "ILIKE",
    "IN",
    "IS",
    "LIKE",
    "NOT",
    "NULL",
    "OR",
    "THEN",
    "TRUE",
    "TRY_CAST",
    "WHEN",
}
"""Keywords, which name a column only in quotes."""

_TOKEN_PATTERN = re.compile(
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
_REFUSAL_REASONS = {
    ";": "an expression is one condition or value, without ';'",
    ".": "a column is named alone; put its name in double quotes if it holds a dot",
    "'": "a text that doesn't end; close it with ', and write a quote within it twice",
    '"': "a name that doesn't end; close it with \", and write a quote within it twice",
    "`": "a name that doesn't end; close it with `, and write a quote within it twice",
}


class ExpressionError(MeritError):
    """A text is not an allowed expression, or can't be evaluated; the message has the position in the text."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message if at is None else f"{message}; at character {at}")


@dataclass(frozen=True)
class Token:
    """A token; the `text` of a quoted name or text is without its quotes."""

    kind: Literal["name", "quoted", "number", "text", "operator", "end"]
    text: str
    at: int
    """The position of its first character, counted from 1."""

    @property
    def word(self) -> str:
        """The token in upper case, for comparison with keywords; empty if it can't be one."""
        return self.text.upper() if self.kind in {"name", "operator"} else ""

    def __str__(self) -> str:
        """Return the token for messages."""
        if self.kind == "end":
            return "the end"
        return f"'{shorten_text(self.text)}'"


def shorten_text(text: str) -> str:
    """Return a text for messages: on one line and truncated."""
    line = "".join(character if character.isprintable() else "?" for character in text[:MAX_SHOWN_CHARACTERS])
    return line if len(text) <= MAX_SHOWN_CHARACTERS else f"{line}..."


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a text, with an end token.

    Raises:
        ExpressionError: it is too long, or has a character that begins no token.
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"found {len(text):,} characters; allowed: {MAX_CHARACTERS:,}")
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN_PATTERN.match(text, position)
        if match is None or match.lastgroup == "comment":
            raise _make_character_error(text, position)
        if (kind := match.lastgroup) != "space":
            tokens.append(Token(kind, _unquote_token(match[0], str(kind)), position + 1))  # type: ignore[arg-type]
        position = match.end()
        if len(tokens) > MAX_TOKENS:
            raise ExpressionError(f"found more than {MAX_TOKENS:,} terms; allowed: {MAX_TOKENS:,}")
    return [*tokens, Token("end", "", len(text) + 1)]


def _unquote_token(text: str, kind: str) -> str:
    """Return the text between quotes with doubled quotes undone; any other token unchanged."""
    return text[1:-1].replace(text[0] * 2, text[0]) if kind in {"quoted", "text"} else text


def _make_character_error(text: str, position: int) -> ExpressionError:
    character = text[position]
    if text.startswith(("--", "/*", "#"), position):
        comment = text[position : position + 2].strip() if character != "#" else character
        return ExpressionError(f"found '{comment}'; an expression has no comments", position + 1)
    shown_character = f"'{character}'" if character.isprintable() else f"U+{ord(character):04X}"
    return ExpressionError(
        f"found {shown_character}; {_REFUSAL_REASONS.get(character, 'no expression holds it')}", position + 1
    )


def quote_name(name: str) -> str:
    """Return a column's name for use in an expression: quoted, unless it is a plain name and no keyword."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name.upper() not in RESERVED_KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'
