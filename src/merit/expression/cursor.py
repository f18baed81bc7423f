"""The parser's position in the tokens."""

from collections.abc import Iterator
from contextlib import contextmanager

from merit.expression.tokens import QUERIES, ExpressionError, Token, tokens_of

MOST_DEPTH = 24
"""The maximum nesting of parentheses, calls and signs."""


class Cursor:
    """A position in the tokens of a text, with the depth of nesting."""

    def __init__(self, text: str) -> None:
        self._tokens = tokens_of(text)
        self._position = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        """The current token."""
        return self._tokens[self._position]

    def next(self) -> Token:
        """Return the current token and advance."""
        token = self.token
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token

    def takes(self, *words: str) -> bool:
        """Advance past these words if they follow; return whether they do."""
        found = [token.word for token in self._tokens[self._position : self._position + len(words)]]
        if found != list(words):
            return False
        self._position += len(words)
        return True

    def expect(self, word: str) -> Token:
        """Return the required word and advance."""
        if self.token.word != word:
            raise self.unexpected(f"'{word}'")
        return self.next()

    def expect_end(self) -> None:
        """Check that no token follows."""
        if self.token.kind != "end":
            raise self.unexpected("an operator or the end")

    def unexpected(self, wanted: str) -> ExpressionError:
        """Return the error for the current token."""
        token = self.token
        if token.kind == "name" and token.word in QUERIES:
            return ExpressionError(f"found {token}; an expression has no queries and windows", token.at)
        return ExpressionError(f"found {token}, where {wanted} should stand", token.at)

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """Count a level of nesting."""
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ExpressionError(f"nested more than {MOST_DEPTH} levels deep", self.token.at)
        yield
        self._depth -= 1
