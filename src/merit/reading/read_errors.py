"""Explain why a file can't be read as a table, without quoting its content."""

import polars as pl

REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (pl.exceptions.NoDataError, "it is empty"),
    (pl.exceptions.DuplicateError, "a column's name appears more than once"),
    (pl.exceptions.PolarsError, "its content is not of that form: a line of other fields than the header, or a damaged "
     "or cut file"),
    (UnicodeDecodeError, "it is not text in UTF-8"),
)  # fmt: skip
"""The reason for each kind of error. Polars' own messages quote cells, so they are not shown."""


def explain_error(error: BaseException) -> str:
    """Return the reason why a file can't be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if type(error) is ValueError:  # from Polars, about an argument, so without content
        return " ".join(str(error).split())[:200]
    return next((reason for kind, reason in REASONS if isinstance(error, kind)), type(error).__name__)
