"""Parse a text into a tree by recursive descent; from loosest to tightest: OR, AND, NOT, comparisons, +, *, ||, signs.

Where databases disagree on precedence (chained comparisons, || beside arithmetic) parentheses are required.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from merit.expression import literals
from merit.expression.grammar import ARGUMENT_COUNTS, CAST_TYPES, CHARACTER_TYPES, DECIMAL_TYPES, MAX_DIGITS
from merit.expression.literals import check_arguments
from merit.expression.token_cursor import Cursor
from merit.expression.tokens import QUERY_KEYWORDS, RESERVED_KEYWORDS, ExpressionError, Token
from merit.expression.tree import (
    Between,
    Call,
    Case,
    Cast,
    Chain,
    Column,
    Comparison,
    Expression,
    Group,
    Like,
    Literal,
    Membership,
    Negative,
    Node,
    Not,
    Test,
)

MAX_CASTS = 5
MAX_PATTERN_LENGTH = 500
"""The maximum length of a LIKE pattern in characters."""
COMPARISON_OPERATORS = {"=": "=", "==": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
CONSTANT_VALUES = {"TRUE": True, "FALSE": False, "NULL": None}


@lru_cache(maxsize=64)
def parse_expression(text: str) -> Expression:
    """Return the tree of an expression, with the columns that it uses.

    Example:
        >>> parse_expression("arr_delay >= 15 AND carrier = 'DL'").columns
        ('arr_delay', 'carrier')

    Raises:
        ExpressionError: the text is no expression, uses something that is not allowed, is too long or nested too
            deep, or uses no column.
    """
    parser = _Parser(text)
    try:
        root = parser.parse_disjunction()
    except RecursionError as error:  # the caller's own stack is nearly full
        raise ExpressionError("nested too deep") from error
    parser.expect_end()
    if not parser.columns:
        raise ExpressionError("it names no column, so it would say the same of every row")
    return Expression(text, root, tuple(parser.columns))


class _Parser(Cursor):
    """One pass over the tokens; each method parses what its name says, and stops at the token after it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.columns: dict[str, None] = {}

    def parse_disjunction(self) -> Node:
        """Return conditions joined by OR, or a tighter expression."""
        with self.enter_level():
            return self._parse_chain(("OR",), self._parse_conjunction)

    def _parse_conjunction(self) -> Node:
        return self._parse_chain(("AND",), self._parse_negation)

    def _parse_sum(self) -> Node:
        return self._parse_chain(("+", "-"), self._parse_product)

    def _parse_product(self) -> Node:
        return self._parse_chain(("*", "/", "%"), self._parse_concatenation)

    def _parse_chain(self, operators: tuple[str, ...], parse_operand: Callable[[], Node]) -> Node:
        at, first, rest = self.token.at, parse_operand(), []
        while self.token.word in operators:
            operator = self.advance()
            rest.append((operator.word, operator.at, parse_operand()))
        if not rest:
            return first
        if operators[0] in "+*":
            for each in (first, *(right for _, _, right in rest)):
                if isinstance(each, Chain) and each.rest[0][0] == "||":
                    raise ExpressionError("put parentheses around what '||' joins beside arithmetic", each.at)
        return Chain(at, first, tuple(rest))

    def _parse_concatenation(self) -> Node:
        return self._parse_chain(("||",), self._parse_signed)

    def _parse_negation(self) -> Node:
        token = self.token
        if not self.accept_words("NOT"):
            return self._parse_predicate()
        with self.enter_level():
            return Not(token.at, self._parse_negation())

    def _parse_predicate(self) -> Node:
        """Return a value, or a condition about one."""
        at, left = self.token.at, self._parse_sum()
        if (operator := COMPARISON_OPERATORS.get(self.token.word)) is not None:
            token = self.advance()
            left = Comparison(token.at, operator, left, self._parse_sum())
            if self.token.word in COMPARISON_OPERATORS:
                raise ExpressionError("comparisons in a row; put one of them in parentheses", self.token.at)
        else:
            left = self._parse_condition(left)
        return self._parse_is(at, left)

    def _parse_is(self, at: int, left: Node) -> Node:
        if not self.accept_words("IS"):
            return left
        negated = self.accept_words("NOT")
        if self.accept_words("DISTINCT", "FROM"):
            return Comparison(at, "NOT DISTINCT" if negated else "DISTINCT", left, self._parse_sum())
        if (word := self.token.word) not in CONSTANT_VALUES:
            raise self.make_unexpected_error("NULL, TRUE, FALSE or DISTINCT FROM")
        self.advance()
        return Test(at, left, word, negated)  # type: ignore[arg-type]

    def _parse_condition(self, left: Node) -> Node:
        """Return an IN, BETWEEN or LIKE condition about a value; the value itself if none follows."""
        start, at = self._position, self.token.at
        negated = self.accept_words("NOT")
        if self.accept_words("IN"):
            self.expect_word("(")
            options = [self.parse_disjunction()]
            while self.accept_words(","):
                options.append(self.parse_disjunction())
            self.expect_word(")")
            return Membership(at, left, tuple(options), negated)
        if self.accept_words("BETWEEN"):
            low = self._parse_sum()
            self.expect_word("AND")
            return Between(at, left, low, self._parse_sum(), negated)
        if (is_any_case := self.accept_words("ILIKE")) or self.accept_words("LIKE"):
            return self._parse_like(at, left, is_any_case=is_any_case, negated=negated)
        self._position = start
        return left

    def _parse_like(self, at: int, left: Node, *, is_any_case: bool, negated: bool) -> Node:
        pattern = self._parse_text("a pattern as text in single quotes")
        if len(pattern) > MAX_PATTERN_LENGTH:
            raise ExpressionError(f"a pattern of {len(pattern):,} characters; allowed: {MAX_PATTERN_LENGTH}", at)
        escape = self._parse_text("one character in single quotes") if self.accept_words("ESCAPE") else None
        if escape is not None and len(escape) != 1:
            raise ExpressionError(f"ESCAPE takes one character; found {len(escape)}", at)
        return Like(at, left, pattern, escape, is_any_case, negated)

    def _parse_text(self, expected: str) -> str:
        if self.token.kind != "text":
            raise self.make_unexpected_error(expected)
        return self.advance().text

    def _parse_signed(self) -> Node:
        token = self.token
        if token.word not in {"+", "-"}:
            return self._parse_casts()
        self.advance()
        with self.enter_level():
            operand = self._parse_signed()
        if token.word == "+":
            return Group(token.at, operand)
        if isinstance(operand, Literal) and isinstance(operand.value, Decimal):
            return Literal(token.at, operand.value.copy_negate())  # unary minus would round it to 28 digits
        if isinstance(operand, Literal) and type(operand.value) in {int, float}:
            return Literal(token.at, -operand.value)  # type: ignore[operator]
        return Negative(token.at, operand)

    def _parse_casts(self) -> Node:
        at, value = self.token.at, self._parse_primary()
        for _ in range(MAX_CASTS):
            if not self.accept_words("::"):
                return value
            value = Cast(at, value, *self._parse_type(), is_strict=True)
        raise ExpressionError(f"more than {MAX_CASTS - 1} casts in a row", at)

    def _parse_primary(self) -> Node:
        token = self.token
        if token.kind == "number":
            return Literal(self.advance().at, literals.parse_number(token))
        if token.kind == "text":
            return Literal(self.advance().at, token.text)
        if token.kind == "quoted":
            return self._parse_column(self.advance())
        if token.kind == "name":
            return self._parse_named(token)
        if self.accept_words("("):
            inner = self.parse_disjunction()
            self.expect_word(")")
            return Group(token.at, inner)
        raise self.make_unexpected_error("a column or a value")

    def _parse_named(self, token: Token) -> Node:
        """Return the node that begins with a name: a column, a constant, a function, a date, CASE or CAST."""
        word, after = token.word, self._tokens[self._position + 1]
        if word in CONSTANT_VALUES:
            return Literal(self.advance().at, CONSTANT_VALUES[word])
        if word == "CASE":
            return self._parse_case()
        if word in {"CAST", "TRY_CAST", "EXTRACT"} and after.word == "(":
            return self._parse_cast() if word != "EXTRACT" else self._parse_extract()
        if word in {"DATE", "TIMESTAMP", "INTERVAL"} and after.kind == "text":
            return self._parse_time()
        if after.word == "(" and word not in QUERY_KEYWORDS:
            return self._parse_call()
        if word in RESERVED_KEYWORDS:
            raise self.make_unexpected_error("a column or a value")
        return self._parse_column(self.advance())

    def _parse_column(self, token: Token) -> Node:
        if self.token.word == "(":
            raise ExpressionError(f"found '(' after the column {token}, where an operator should stand", self.token.at)
        self.columns.setdefault(token.text)
        return Column(token.at, token.text)

    def _parse_call(self) -> Node:
        token = self.advance()
        if token.word not in ARGUMENT_COUNTS:
            raise ExpressionError(
                f"{token} is not a function that is allowed; allowed: {', '.join(sorted(ARGUMENT_COUNTS))}", token.at
            )
        self.expect_word("(")
        arguments = [] if self.token.word == ")" else [self.parse_disjunction()]
        while arguments and self.accept_words(","):
            arguments.append(self.parse_disjunction())
        self.expect_word(")")
        check_arguments(token, arguments)
        if token.word == "DATE_PART":
            return Call(token.at, literals.parse_time_part(arguments[0]), (arguments[1],))
        return Call(token.at, token.word, tuple(arguments))

    def _parse_extract(self) -> Node:
        token = self.advance()
        self.expect_word("(")
        part = Literal(self.token.at, self.advance().text)
        self.expect_word("FROM")
        value = self.parse_disjunction()
        self.expect_word(")")
        return Call(token.at, literals.parse_time_part(part), (value,))

    def _parse_cast(self) -> Node:
        token = self.advance()
        self.expect_word("(")
        value = self.parse_disjunction()
        if self.token.word != "AS":
            raise self.make_unexpected_error("'AS'")
        self.advance()
        kind, scale = self._parse_type()
        self.expect_word(")")
        return Cast(token.at, value, kind, scale, is_strict=token.word == "CAST")

    def _parse_type(self) -> tuple[str, tuple[int, int] | None]:
        """Return merit's type for a SQL type, and the digits of a decimal: in all, and after the point."""
        token = self.token
        name = token.word if token.kind == "name" else ""
        if name not in CAST_TYPES:
            raise ExpressionError(f"found {token}; allowed types: {', '.join(sorted(CAST_TYPES))}", token.at)
        self.advance()
        if name == "DOUBLE":
            self.accept_words("PRECISION")
        sizes: list[int] = []
        if name in {*DECIMAL_TYPES, *CHARACTER_TYPES} and self.accept_words("("):
            sizes = [self._parse_size()]
            if name in DECIMAL_TYPES and self.accept_words(","):
                sizes.append(self._parse_size())
            self.expect_word(")")
        if name not in DECIMAL_TYPES or not sizes:
            return CAST_TYPES[name], None
        digits, after = sizes[0], sizes[1] if len(sizes) > 1 else 0
        if not (1 <= digits <= MAX_DIGITS and after <= digits):
            raise ExpressionError(f"{name}({digits}, {after}); allowed: 1 to {MAX_DIGITS} digits", token.at)
        return CAST_TYPES[name], (digits, after)

    def _parse_size(self) -> int:
        if self.token.kind != "number" or not re.fullmatch(r"\d{1,5}", self.token.text, re.ASCII):
            raise self.make_unexpected_error("a whole number")
        return int(self.advance().text)

    def _parse_time(self) -> Node:
        token, text = self.advance(), self.advance()
        return Literal(token.at, literals.parse_time(token.word, text))

    def _parse_case(self) -> Node:
        token = self.advance()
        operand = None if self.token.word == "WHEN" else self.parse_disjunction()
        branches = []
        while self.accept_words("WHEN"):
            condition = self.parse_disjunction()
            self.expect_word("THEN")
            branches.append((condition, self.parse_disjunction()))
        if not branches:
            raise self.make_unexpected_error("'WHEN'")
        otherwise = self.parse_disjunction() if self.accept_words("ELSE") else None
        self.expect_word("END")
        return Case(token.at, operand, tuple(branches), otherwise)
