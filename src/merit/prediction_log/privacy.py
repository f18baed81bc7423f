"""Removes columns from the log, or replaces their values by a keyed hash."""

import difflib
import hmac
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from merit.errors import ConfigError
from merit.prediction_log.settings import PredictionLog

if TYPE_CHECKING:
    import polars as pl

KEY = "MERIT_HASH_KEY"
LEAST_BYTES = 16


class Privacy:
    """The columns to leave out or to hash.

    Args:
        told: the settings of the prediction log.
        columns: the input columns of the model.

    Raises:
        ConfigError: a named column is unknown or named twice, or the hash key is missing or too short; lists every
            problem.
    """

    def __init__(self, told: PredictionLog, columns: Sequence[str]) -> None:
        self.left_out, self.hashed = frozenset(told.leave_out), frozenset(told.hashed)
        self._key = os.environ.get(KEY, "").encode() if told.hashed else b""
        if problems := [*_faults(told, columns), *(_key_faults(self._key) if told.hashed else [])]:
            raise ConfigError(problems)

    def hash(self, value: object) -> str:
        """Return the HMAC-SHA-256 of a value as text, in hex: equal for equal values, irreversible without the key."""
        text = repr(value + 0.0) if isinstance(value, float) else str(value)  # -0.0 equals 0.0
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hex()

    def applied(self, table: "pl.DataFrame") -> "pl.DataFrame":
        """Return a table with the values of hashed columns replaced by hashes; nulls stay null."""
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


def _faults(told: PredictionLog, columns: Sequence[str]) -> Iterator[str]:
    for setting, named in (("leave_out", told.leave_out), ("hashed", told.hashed)):
        if unknown := [name for name in named if name not in columns]:
            close = difflib.get_close_matches(unknown[0], columns, n=1)
            meant = f"did you mean '{close[0]}'? " if close else ""
            which = ", ".join(f"'{name}'" for name in unknown)
            plural = "s" if len(unknown) > 1 else ""
            yield f"serve.log.{setting}: unknown column{plural} {which}; {meant}columns: {', '.join(columns)}"
    if both := sorted(set(told.leave_out) & set(told.hashed)):
        which = ", ".join(f"'{name}'" for name in both)
        yield f"serve.log: {which} is under leave_out and under hashed; keep it under one of them"


def _key_faults(key: bytes) -> Iterator[str]:
    if len(key) < LEAST_BYTES:
        found = f"has {len(key)} bytes and needs {LEAST_BYTES}" if key else f"is not set and needs {LEAST_BYTES} bytes"
        yield (
            f"{KEY}: {found}, for serve.log.hashed names columns; set it to what nobody guesses, such as "
            "'openssl rand -hex 32' prints, and keep it: another key gives other hashes"
        )
