"""The parser's position in the tokens."""

from collections.abc import Iterator
from contextlib import contextmanager

from merit.expression.tokens import QUERY_KEYWORDS, ExpressionError, Token, tokenize

MAX_DEPTH = 24
"""The maximum nesting of parentheses, calls and signs."""


class Cursor:
    """A position in the tokens of a text, with the depth of nesting."""

    def __init__(self, text: str) -> None:
        self._tokens = tokenize(text)
        self._position = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        """The current token."""
        return self._tokens[self._position]

    def advance(self) -> Token:
        """Return the current token and advance."""
        token = self.token
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token

    def accept_words(self, *words: str) -> bool:
        """Advance past these words if they follow; return whether they do."""
        next_words = [token.word for token in self._tokens[self._position : self._position + len(words)]]
        if next_words != list(words):
            return False
        self._position += len(words)
        return True

    def expect_word(self, word: str) -> Token:
        """Return the required word and advance."""
        if self.token.word != word:
            raise self.make_unexpected_error(f"'{word}'")
        return self.advance()

    def expect_end(self) -> None:
        """Check that no token follows."""
        if self.token.kind != "end":
            raise self.make_unexpected_error("an operator or the end")

    def make_unexpected_error(self, expected: str) -> ExpressionError:
        """Return the error for the current token."""
        token = self.token
        if token.kind == "name" and token.word in QUERY_KEYWORDS:
            return ExpressionError(f"found {token}; an expression has no queries and windows", token.at)
        return ExpressionError(f"found {token}, where {expected} should stand", token.at)

    @contextmanager
    def enter_level(self) -> Iterator[None]:
        """Count a level of nesting."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"nested more than {MAX_DEPTH} levels deep", self.token.at)
        yield
        self._depth -= 1
