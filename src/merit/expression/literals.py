"""Parse the literals of an expression: numbers, dates, times, intervals, parts of a time, literal arguments."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from merit.expression.grammar import FUNCTIONS, LITERAL_ARGUMENTS, MOST_DIGITS, PARTS, UNITS
from merit.expression.tokens import ExpressionError, Token, plain
from merit.expression.tree import Literal, Node

_INTERVAL = re.compile(rf"(?:\s*[0-9]{{1,7}}\s*(?:{'|'.join(UNITS)})s?)+\s*", re.IGNORECASE)
_LENGTH = re.compile(rf"([0-9]+)\s*({'|'.join(UNITS)})", re.IGNORECASE)
MOST_PLACES = 15
LONGEST = 10**11
"""The maximum length of an interval in seconds: some 3,000 years."""


def number(token: Token) -> int | float | Decimal:
    """Return a number: an integer, an exact decimal if it has a point, or a float if it has an exponent.

    Raises:
        ExpressionError: it is too large, or has too many digits.
    """
    text = token.text
    if "e" in text.lower():
        value = float(text)
        if value == float("inf") or (value == 0 and re.match(r"[0.]*[1-9]", text)):
            raise ExpressionError(f"{token} is beyond what a number can hold", token.at)
        return value
    if sum(character.isdigit() for character in text) > MOST_DIGITS:
        raise ExpressionError(f"{token} has more than {MOST_DIGITS} digits", token.at)
    return Decimal(text) if "." in text or int(text) >= 2**63 else int(text)


def time(kind: str, token: Token) -> date | timedelta:
    """Return the value of a DATE, a TIMESTAMP or an INTERVAL.

    Raises:
        ExpressionError: the text is invalid.
    """
    if kind == "INTERVAL":
        return _interval(token)
    try:
        value = datetime.fromisoformat(token.text) if kind == "TIMESTAMP" else date.fromisoformat(token.text)
    except ValueError as error:
        such = "2024-01-31 13:05:00" if kind == "TIMESTAMP" else "2024-01-31"
        raise ExpressionError(f"{kind} {token}; write it like '{such}'", token.at) from error
    if isinstance(value, datetime) and value.tzinfo is not None:
        raise ExpressionError(f"{kind} {token} has a zone; write it in UTC, without one", token.at)
    return value


def _interval(token: Token) -> timedelta:
    """Return the length of an interval such as '2 days 4 hours'."""
    if not _INTERVAL.fullmatch(token.text):
        raise ExpressionError(f"INTERVAL {token}; write it like '2 days'; allowed: {', '.join(UNITS)}", token.at)
    seconds = sum(int(count) * UNITS[unit.lower()] for count, unit in _LENGTH.findall(token.text))
    if seconds > LONGEST:
        raise ExpressionError(f"INTERVAL {token} is longer than {LONGEST:,} seconds", token.at)
    return timedelta(seconds=seconds)


def part(node: Node) -> str:
    """Return the part of a time that a text literal names.

    Raises:
        ExpressionError: there is no such part.
    """
    found = node.value if isinstance(node, Literal) else None
    if not isinstance(found, str) or found.upper() not in PARTS:
        shown = f"'{plain(found)}'" if isinstance(found, str) else "no text"
        raise ExpressionError(f"found {shown}; allowed parts of a time: {', '.join(PARTS)}", node.at)
    return found.upper()


def check_arguments(token: Token, arguments: Sequence[Node]) -> None:
    """Check a function's number of arguments, and that those which must be literals are.

    Raises:
        ExpressionError: they don't fit the function.
    """
    fewest, most = FUNCTIONS[token.word]
    if len(arguments) < fewest or (most is not None and len(arguments) > most):
        allowed = f"{fewest} or more" if most is None else str(fewest) if most == fewest else f"{fewest} to {most}"
        raise ExpressionError(f"{token.word} with {len(arguments)} arguments; allowed: {allowed}", token.at)
    for number in LITERAL_ARGUMENTS.get(token.word, ()):
        if number < len(arguments) and not isinstance(arguments[number], Literal):
            raise ExpressionError(
                f"{token.word}: argument {number + 1} must be a value that stands in the text", arguments[number].at
            )
    if token.word == "ROUND" and len(arguments) == 2:
        _check_places(token, arguments[1])
    if token.word == "REPLACE":
        _check_replacement(token, *(each.value for each in arguments[1:] if isinstance(each, Literal)))


def _check_replacement(token: Token, old: object, new: object) -> None:
    """Refuse a replacement that makes texts longer: nested calls could fill the memory."""
    if not (isinstance(old, str) and isinstance(new, str) and old):
        raise ExpressionError("REPLACE takes two texts, the first of them not empty", token.at)
    if len(new) > len(old):
        raise ExpressionError("REPLACE with a text longer than the one that it replaces", token.at)


def _check_places(token: Token, node: Node) -> None:
    value = node.value if isinstance(node, Literal) else None
    if type(value) is not int or not 0 <= value <= MOST_PLACES:
        raise ExpressionError(f"ROUND: allowed places: 0 to {MOST_PLACES}", token.at)
