"""Which columns are kept, and which only as a keyed hash."""

import difflib
import hmac
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from merit.errors import MeritError
from merit.serving import settings

if TYPE_CHECKING:
    import polars as pl

KEY = "MERIT_HASH_KEY"
LEAST_BYTES = 16


class Privacy:
    """What of a row may be kept.

    Args:
        told: the settings.
        columns: the input columns that there are.

    Raises:
        MeritError: a column that is named is unknown or named twice, or the key of the hashes is not there or too
            short.
    """

    def __init__(self, told: settings.PredictionLog, columns: Sequence[str]) -> None:
        _check(told, columns)
        self.left_out, self.hashed = frozenset(told.leave_out), frozenset(told.hashed)
        self._key = _key() if told.hashed else b""

    def hash(self, value: object) -> str:
        """Return the HMAC-SHA-256 of a value as text, in hex: equal for equal values, and of no use without the key."""
        text = repr(value) if isinstance(value, float) else str(value)
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hex()

    def applied(self, table: "pl.DataFrame") -> "pl.DataFrame":
        """Return a table with hashes in place of the values that are to be hashed; what is missing stays missing."""
        import polars as pl

        for name in self.hashed:
            values = table[name]
            once: dict[Any, str] = {}
            for value in values.unique().to_list() if values.dtype.is_nested() is False else []:
                if value is not None:
                    once[value] = self.hash(value)
            hashes = [None if value is None else once.get(value) or self.hash(value) for value in values.to_list()]
            table = table.with_columns(pl.Series(name, hashes, pl.String))
        return table


def _check(told: settings.PredictionLog, columns: Sequence[str]) -> None:
    for setting, named in (("leave_out", told.leave_out), ("hashed", told.hashed)):
        for name in named:
            if name not in columns:
                close = difflib.get_close_matches(name, columns, n=1)
                meant = f"did you mean '{close[0]}'? " if close else ""
                raise MeritError(f"serve.log.{setting}: unknown column '{name}'; {meant}columns: {', '.join(columns)}")
    if both := sorted(set(told.leave_out) & set(told.hashed)):
        raise MeritError(f"serve.log: '{both[0]}' is under leave_out and under hashed; keep it under one of them")


def _key() -> bytes:
    key = os.environ.get(KEY, "").encode()
    if len(key) < LEAST_BYTES:
        found = f"has {len(key)} bytes" if key else "is not set"
        raise MeritError(
            f"{KEY}: {found}, but serve.log.hashed names columns; set it to {LEAST_BYTES} bytes or more that nobody "
            "guesses, such as 'openssl rand -hex 32' prints, and keep it: another key gives other hashes"
        )
    return key
