"""Parse the literals of an expression: numbers, dates, times, intervals, parts of a time, literal arguments."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from merit.expression.grammar import ARGUMENT_COUNTS, LITERAL_ARGUMENTS, MAX_DIGITS, SECONDS_BY_UNIT, TIME_PARTS
from merit.expression.tokens import ExpressionError, Token, shorten_text
from merit.expression.tree import Literal, Node

_INTERVAL_PATTERN = re.compile(rf"(?:\s*[0-9]{{1,7}}\s*(?:{'|'.join(SECONDS_BY_UNIT)})s?)+\s*", re.IGNORECASE)
_INTERVAL_PART = re.compile(rf"([0-9]+)\s*({'|'.join(SECONDS_BY_UNIT)})", re.IGNORECASE)
MAX_DECIMAL_PLACES = 15
MAX_INTERVAL_S = 10**11
"""The maximum length of an interval in seconds: some 3,000 years."""


def parse_number(token: Token) -> int | float | Decimal:
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
    if sum(character.isdigit() for character in text) > MAX_DIGITS:
        raise ExpressionError(f"{token} has more than {MAX_DIGITS} digits", token.at)
    return Decimal(text) if "." in text or int(text) >= 2**63 else int(text)


def parse_time(kind: str, token: Token) -> date | timedelta:
    """Return the value of a DATE, a TIMESTAMP or an INTERVAL.

    Raises:
        ExpressionError: the text is invalid.
    """
    if kind == "INTERVAL":
        return _parse_interval(token)
    try:
        value = datetime.fromisoformat(token.text) if kind == "TIMESTAMP" else date.fromisoformat(token.text)
    except ValueError as error:
        example = "2024-01-31 13:05:00" if kind == "TIMESTAMP" else "2024-01-31"
        raise ExpressionError(f"{kind} {token}; write it like '{example}'", token.at) from error
    if isinstance(value, datetime) and value.tzinfo is not None:
        raise ExpressionError(f"{kind} {token} has a zone; write it in UTC, without one", token.at)
    return value


def _parse_interval(token: Token) -> timedelta:
    """Return the length of an interval such as '2 days 4 hours'."""
    if not _INTERVAL_PATTERN.fullmatch(token.text):
        raise ExpressionError(
            f"INTERVAL {token}; write it like '2 days'; allowed: {', '.join(SECONDS_BY_UNIT)}", token.at
        )
    seconds = sum(int(count) * SECONDS_BY_UNIT[unit.lower()] for count, unit in _INTERVAL_PART.findall(token.text))
    if seconds > MAX_INTERVAL_S:
        raise ExpressionError(f"INTERVAL {token} is longer than {MAX_INTERVAL_S:,} seconds", token.at)
    return timedelta(seconds=seconds)


def parse_time_part(node: Node) -> str:
    """Return the part of a time that a text literal names.

    Raises:
        ExpressionError: there is no such part.
    """
    name = node.value if isinstance(node, Literal) else None
    if not isinstance(name, str) or name.upper() not in TIME_PARTS:
        shown_text = f"'{shorten_text(name)}'" if isinstance(name, str) else "no text"
        raise ExpressionError(f"found {shown_text}; allowed parts of a time: {', '.join(TIME_PARTS)}", node.at)
    return name.upper()


def check_arguments(token: Token, arguments: Sequence[Node]) -> None:
    """Check a function's number of arguments, and that those which must be literals are.

    Raises:
        ExpressionError: they don't fit the function.
    """
    min_count, max_count = ARGUMENT_COUNTS[token.word]
    if len(arguments) < min_count or (max_count is not None and len(arguments) > max_count):
        allowed = (
            f"{min_count} or more"
            if max_count is None
            else str(min_count)
            if max_count == min_count
            else f"{min_count} to {max_count}"
        )
        raise ExpressionError(f"{token.word} with {len(arguments)} arguments; allowed: {allowed}", token.at)
    for number in LITERAL_ARGUMENTS.get(token.word, ()):
        if number < len(arguments) and not isinstance(arguments[number], Literal):
            raise ExpressionError(
                f"{token.word}: argument {number + 1} must be a value that stands in the text", arguments[number].at
            )
    if token.word == "ROUND" and len(arguments) == 2:
        _check_decimal_places(token, arguments[1])
    if token.word == "REPLACE":
        _check_replacement(token, *(each.value for each in arguments[1:] if isinstance(each, Literal)))


def _check_replacement(token: Token, old: object, new: object) -> None:
    """Refuse a replacement that makes texts longer: nested calls could fill the memory."""
    if not (isinstance(old, str) and isinstance(new, str) and old):
        raise ExpressionError("REPLACE takes two texts, the first of them not empty", token.at)
    if len(new) > len(old):
        raise ExpressionError("REPLACE with a text longer than the one that it replaces", token.at)


def _check_decimal_places(token: Token, node: Node) -> None:
    value = node.value if isinstance(node, Literal) else None
    if type(value) is not int or not 0 <= value <= MAX_DECIMAL_PLACES:
        raise ExpressionError(f"ROUND: allowed places: 0 to {MAX_DECIMAL_PLACES}", token.at)
