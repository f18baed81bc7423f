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

KEY_VARIABLE = "MERIT_HASH_KEY"
MIN_KEY_BYTES = 16


class PrivacyFilter:
    """The columns to leave out or to hash.

    Args:
        log_settings: the settings of the prediction log.
        columns: the input columns of the model.

    Raises:
        ConfigError: a named column is unknown or named twice, or the hash key is missing or too short; lists every
            problem.
    """

    def __init__(self, log_settings: PredictionLog, columns: Sequence[str]) -> None:
        self.excluded, self.hashed = frozenset(log_settings.leave_out), frozenset(log_settings.hashed)
        self._key = os.environ.get(KEY_VARIABLE, "").encode() if log_settings.hashed else b""
        if problems := [
            *_find_problems(log_settings, columns),
            *(_find_key_problems(self._key) if log_settings.hashed else []),
        ]:
            raise ConfigError(problems)

    def hash_value(self, value: object) -> str:
        """Return the HMAC-SHA-256 of a value as text, in hex: equal for equal values, irreversible without the key."""
        text = repr(value + 0.0) if isinstance(value, float) else str(value)  # -0.0 equals 0.0
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256").hex()

    def apply(self, table: "pl.DataFrame") -> "pl.DataFrame":
        """Return a table with the values of hashed columns replaced by hashes; nulls stay null."""
        import polars as pl

        for name in self.hashed:
            values = table[name]
            hashes_by_value: dict[Any, str] = {}
            for value in values.unique().to_list() if values.dtype.is_nested() is False else []:
                if value is not None:
                    hashes_by_value[value] = self.hash_value(value)
            hashes = [
                None if value is None else hashes_by_value.get(value) or self.hash_value(value)
                for value in values.to_list()
            ]
            table = table.with_columns(pl.Series(name, hashes, pl.String))
        return table


def _find_problems(log_settings: PredictionLog, columns: Sequence[str]) -> Iterator[str]:
    for setting, names in (("leave_out", log_settings.leave_out), ("hashed", log_settings.hashed)):
        if unknown := [name for name in names if name not in columns]:
            suggestions = difflib.get_close_matches(unknown[0], columns, n=1)
            hint = f"did you mean '{suggestions[0]}'? " if suggestions else ""
            quoted = ", ".join(f"'{name}'" for name in unknown)
            plural = "s" if len(unknown) > 1 else ""
            yield f"serve.log.{setting}: unknown column{plural} {quoted}; {hint}columns: {', '.join(columns)}"
    if in_both := sorted(set(log_settings.leave_out) & set(log_settings.hashed)):
        quoted = ", ".join(f"'{name}'" for name in in_both)
        yield f"serve.log: {quoted} is under leave_out and under hashed; keep it under one of them"


def _find_key_problems(key: bytes) -> Iterator[str]:
    if len(key) < MIN_KEY_BYTES:
        problem = (
            f"has {len(key)} bytes and needs {MIN_KEY_BYTES}" if key else f"is not set and needs {MIN_KEY_BYTES} bytes"
        )
        yield (
            f"{KEY_VARIABLE}: {problem}, for serve.log.hashed names columns; set it to what nobody guesses, such as "
            "'openssl rand -hex 32' prints, and keep it: another key gives other hashes"
        )
