"""Parse a text into a tree by recursive descent; from loosest to tightest: OR, AND, NOT, comparisons, +, *, ||, signs.

Where databases disagree on precedence (chained comparisons, || beside arithmetic) parentheses are required.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from merit.expression import literals
from merit.expression.cursor import Cursor
from merit.expression.grammar import FUNCTIONS, MOST_DIGITS, SCALED, SIZED, TYPES
from merit.expression.literals import check_arguments
from merit.expression.tokens import QUERIES, RESERVED, ExpressionError, Token
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

MOST_CASTS = 5
MOST_PATTERN = 500
"""The maximum length of a LIKE pattern in characters."""
COMPARISONS = {"=": "=", "==": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None}


@lru_cache(maxsize=64)
def parse(text: str) -> Expression:
    """Return the tree of an expression, with the columns that it uses.

    Example:
        >>> parse("arr_delay >= 15 AND carrier = 'DL'").columns
        ('arr_delay', 'carrier')

    Raises:
        ExpressionError: the text is no expression, uses something that is not allowed, is too long or nested too
            deep, or uses no column.
    """
    parser = _Parser(text)
    try:
        root = parser.expression()
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

    def expression(self) -> Node:
        """Return conditions joined by OR, or a tighter expression."""
        with self.deeper():
            return self._chain(("OR",), self._conjunction)

    def _conjunction(self) -> Node:
        return self._chain(("AND",), self._negation)

    def _sum(self) -> Node:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain(("*", "/", "%"), self._concatenation)

    def _chain(self, operators: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        at, first, rest = self.token.at, operand(), []
        while self.token.word in operators:
            operator = self.next()
            rest.append((operator.word, operator.at, operand()))
        if not rest:
            return first
        if operators[0] in "+*":
            for each in (first, *(right for _, _, right in rest)):
                if isinstance(each, Chain) and each.rest[0][0] == "||":
                    raise ExpressionError("put parentheses around what '||' joins beside arithmetic", each.at)
        return Chain(at, first, tuple(rest))

    def _concatenation(self) -> Node:
        return self._chain(("||",), self._signed)

    def _negation(self) -> Node:
        token = self.token
        if not self.takes("NOT"):
            return self._predicate()
        with self.deeper():
            return Not(token.at, self._negation())

    def _predicate(self) -> Node:
        """Return a value, or a condition about one."""
        at, left = self.token.at, self._sum()
        if (operator := COMPARISONS.get(self.token.word)) is not None:
            token = self.next()
            left = Comparison(token.at, operator, left, self._sum())
            if self.token.word in COMPARISONS:
                raise ExpressionError("comparisons in a row; put one of them in parentheses", self.token.at)
        else:
            left = self._asked(left)
        return self._is(at, left)

    def _is(self, at: int, left: Node) -> Node:
        if not self.takes("IS"):
            return left
        negated = self.takes("NOT")
        if self.takes("DISTINCT", "FROM"):
            return Comparison(at, "NOT DISTINCT" if negated else "DISTINCT", left, self._sum())
        if (word := self.token.word) not in CONSTANTS:
            raise self.unexpected("NULL, TRUE, FALSE or DISTINCT FROM")
        self.next()
        return Test(at, left, word, negated)  # type: ignore[arg-type]

    def _asked(self, left: Node) -> Node:
        """Return an IN, BETWEEN or LIKE condition about a value; the value itself if none follows."""
        start, at = self._position, self.token.at
        negated = self.takes("NOT")
        if self.takes("IN"):
            self.expect("(")
            options = [self.expression()]
            while self.takes(","):
                options.append(self.expression())
            self.expect(")")
            return Membership(at, left, tuple(options), negated)
        if self.takes("BETWEEN"):
            low = self._sum()
            self.expect("AND")
            return Between(at, left, low, self._sum(), negated)
        if (is_any_case := self.takes("ILIKE")) or self.takes("LIKE"):
            return self._like(at, left, is_any_case=is_any_case, negated=negated)
        self._position = start
        return left

    def _like(self, at: int, left: Node, *, is_any_case: bool, negated: bool) -> Node:
        pattern = self._text("a pattern as text in single quotes")
        if len(pattern) > MOST_PATTERN:
            raise ExpressionError(f"a pattern of {len(pattern):,} characters; allowed: {MOST_PATTERN}", at)
        escape = self._text("one character in single quotes") if self.takes("ESCAPE") else None
        if escape is not None and len(escape) != 1:
            raise ExpressionError(f"ESCAPE takes one character; found {len(escape)}", at)
        return Like(at, left, pattern, escape, is_any_case, negated)

    def _text(self, wanted: str) -> str:
        if self.token.kind != "text":
            raise self.unexpected(wanted)
        return self.next().text

    def _signed(self) -> Node:
        token = self.token
        if token.word not in {"+", "-"}:
            return self._casted()
        self.next()
        with self.deeper():
            operand = self._signed()
        if token.word == "+":
            return Group(token.at, operand)
        if isinstance(operand, Literal) and isinstance(operand.value, Decimal):
            return Literal(token.at, operand.value.copy_negate())  # unary minus would round it to 28 digits
        if isinstance(operand, Literal) and type(operand.value) in {int, float}:
            return Literal(token.at, -operand.value)  # type: ignore[operator]
        return Negative(token.at, operand)

    def _casted(self) -> Node:
        at, value = self.token.at, self._primary()
        for _ in range(MOST_CASTS):
            if not self.takes("::"):
                return value
            value = Cast(at, value, *self._type(), is_strict=True)
        raise ExpressionError(f"more than {MOST_CASTS - 1} casts in a row", at)

    def _primary(self) -> Node:
        token = self.token
        if token.kind == "number":
            return Literal(self.next().at, literals.number(token))
        if token.kind == "text":
            return Literal(self.next().at, token.text)
        if token.kind == "quoted":
            return self._column(self.next())
        if token.kind == "name":
            return self._named(token)
        if self.takes("("):
            inner = self.expression()
            self.expect(")")
            return Group(token.at, inner)
        raise self.unexpected("a column or a value")

    def _named(self, token: Token) -> Node:
        """Return the node that begins with a name: a column, a constant, a function, a date, CASE or CAST."""
        word, after = token.word, self._tokens[self._position + 1]
        if word in CONSTANTS:
            return Literal(self.next().at, CONSTANTS[word])
        if word == "CASE":
            return self._case()
        if word in {"CAST", "TRY_CAST", "EXTRACT"} and after.word == "(":
            return self._cast() if word != "EXTRACT" else self._extract()
        if word in {"DATE", "TIMESTAMP", "INTERVAL"} and after.kind == "text":
            return self._time()
        if after.word == "(" and word not in QUERIES:
            return self._call()
        if word in RESERVED:
            raise self.unexpected("a column or a value")
        return self._column(self.next())

    def _column(self, token: Token) -> Node:
        if self.token.word == "(":
            raise ExpressionError(f"found '(' after the column {token}, where an operator should stand", self.token.at)
        self.columns.setdefault(token.text)
        return Column(token.at, token.text)

    def _call(self) -> Node:
        token = self.next()
        if token.word not in FUNCTIONS:
            raise ExpressionError(
                f"{token} is not a function that is allowed; allowed: {', '.join(sorted(FUNCTIONS))}", token.at
            )
        self.expect("(")
        arguments = [] if self.token.word == ")" else [self.expression()]
        while arguments and self.takes(","):
            arguments.append(self.expression())
        self.expect(")")
        check_arguments(token, arguments)
        if token.word == "DATE_PART":
            return Call(token.at, literals.part(arguments[0]), (arguments[1],))
        return Call(token.at, token.word, tuple(arguments))

    def _extract(self) -> Node:
        token = self.next()
        self.expect("(")
        part = Literal(self.token.at, self.next().text)
        self.expect("FROM")
        value = self.expression()
        self.expect(")")
        return Call(token.at, literals.part(part), (value,))

    def _cast(self) -> Node:
        token = self.next()
        self.expect("(")
        value = self.expression()
        if self.token.word != "AS":
            raise self.unexpected("'AS'")
        self.next()
        kind, scale = self._type()
        self.expect(")")
        return Cast(token.at, value, kind, scale, is_strict=token.word == "CAST")

    def _type(self) -> tuple[str, tuple[int, int] | None]:
        """Return merit's type for a SQL type, and the digits of a decimal: in all, and after the point."""
        token = self.token
        name = token.word if token.kind == "name" else ""
        if name not in TYPES:
            raise ExpressionError(f"found {token}; allowed types: {', '.join(sorted(TYPES))}", token.at)
        self.next()
        if name == "DOUBLE":
            self.takes("PRECISION")
        sizes: list[int] = []
        if name in {*SCALED, *SIZED} and self.takes("("):
            sizes = [self._size()]
            if name in SCALED and self.takes(","):
                sizes.append(self._size())
            self.expect(")")
        if name not in SCALED or not sizes:
            return TYPES[name], None
        digits, after = sizes[0], sizes[1] if len(sizes) > 1 else 0
        if not (1 <= digits <= MOST_DIGITS and after <= digits):
            raise ExpressionError(f"{name}({digits}, {after}); allowed: 1 to {MOST_DIGITS} digits", token.at)
        return TYPES[name], (digits, after)

    def _size(self) -> int:
        if self.token.kind != "number" or not re.fullmatch(r"\d{1,5}", self.token.text, re.ASCII):
            raise self.unexpected("a whole number")
        return int(self.next().text)

    def _time(self) -> Node:
        token, text = self.next(), self.next()
        return Literal(token.at, literals.time(token.word, text))

    def _case(self) -> Node:
        token = self.next()
        operand = None if self.token.word == "WHEN" else self.expression()
        branches = []
        while self.takes("WHEN"):
            condition = self.expression()
            self.expect("THEN")
            branches.append((condition, self.expression()))
        if not branches:
            raise self.unexpected("'WHEN'")
        otherwise = self.expression() if self.takes("ELSE") else None
        self.expect("END")
        return Case(token.at, operand, tuple(branches), otherwise)
